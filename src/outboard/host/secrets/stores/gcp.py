"""Google Secret Manager: `versions/latest:access` by REST, with Google's own library for the login, in threads.

https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access. The library finds credentials by
itself (workload identity, a file) and renews them.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import google.auth
import requests
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.auth.transport.requests import AuthorizedSession

from outboard.domain.secret_names import NamePattern, values_of
from outboard.domain.secret_refs import SecretRef
from outboard.errors import Forbidden, SecretsUnavailable, Unauthorized
from outboard.host.secrets.ports import Document, Place, Reader
from outboard.host.secrets.stores.asking import Answer, asked_pause, read_bytes, refusal
from outboard.host.store_settings import GcpStore

_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_THREADS: Final = 4


class GcpSecrets:
    """Secret Manager.

    Args:
        settings: Where.
        learn: Takes our own credentials, which must not leave either.
    """

    def __init__(self, settings: GcpStore, learn: Callable[[str], None]) -> None:
        self._settings = settings
        self._learn = learn
        self._project = NamePattern(settings.project)
        self._secret = NamePattern(settings.secret, "__")
        self._key = NamePattern(settings.field) if settings.field else None
        self._timeout_s = settings.timeout.total_seconds()
        self._local = threading.local()
        self._sessions: list[Any] = []
        self._login: Any = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="outboard-secrets-gcp")

    @property
    def is_scoped(self) -> bool:
        """Whether each project has secrets of its own."""
        patterns = (self._project, self._secret, self._key)
        return any(each.is_scoped for each in patterns if each is not None)

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return where a reference is: `projects/p/secrets/s/versions/v#field`."""
        values = values_of(ref, reader.scope)
        secret = self._secret.render(values)
        version = ref.version if ref.version and "version" not in self._secret.names else "latest"
        name = f"projects/{self._project.render(values)}/secrets/{secret}/versions/{version}"
        return [Place(name, self._key.render(values) if self._key else "")]

    async def fetch(self, document: str, *, is_refused: bool = False) -> Document | None:  # noqa: ARG002 - nothing to renew here
        """Return a secret."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._get, document)

    async def close(self) -> None:
        """End the threads; calls have their own time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for session in self._sessions:
            session.close()

    def _get(self, document: str) -> Document | None:
        try:
            answer = self._session().get(
                f"{self._settings.endpoint}/v1/{document}:access",
                timeout=self._timeout_s,
                max_allowed_time=self._timeout_s,
                allow_redirects=False,
            )
        except (DefaultCredentialsError, ValueError):
            raise Unauthorized("Google's library finds no credentials, or cannot read them") from None
        except RefreshError as error:
            if error.retryable:
                raise SecretsUnavailable("Google's login cannot be renewed now") from None
            raise Unauthorized("Google refuses to renew our login") from None
        except (requests.RequestException, GoogleAuthError, OSError) as error:
            raise SecretsUnavailable(f"it cannot be reached ({type(error).__name__})") from None
        if isinstance(self._login.token, str):
            self._learn(self._login.token)
        return _read(answer)

    def _session(self) -> Any:
        session = getattr(self._local, "session", None)
        if session is None:
            with self._lock:
                self._login = self._login or self._found()
            session = self._local.session = AuthorizedSession(self._login)  # type: ignore[no-untyped-call]
            self._sessions.append(session)
        return session

    def _found(self) -> Any:
        if self._settings.credentials_file is None:
            return google.auth.default(scopes=[_SCOPE])[0]
        info = json.loads(read_bytes(self._settings.credentials_file, "credentials_file"))
        kinds = {"service_account": _of_service_account, "external_account": _of_workload}
        if info.get("type") not in kinds:
            raise Unauthorized("credentials_file holds no service account's key and no workload identity; leave it out")
        return kinds[info["type"]](info)


def _of_service_account(info: Mapping[str, Any]) -> Any:
    from google.oauth2.service_account import Credentials  # noqa: PLC0415 - one of two

    return Credentials.from_service_account_info(info, scopes=[_SCOPE])  # type: ignore[no-untyped-call]


def _of_workload(info: Mapping[str, Any]) -> Any:
    from google.auth.identity_pool import Credentials  # noqa: PLC0415 - one of two

    return Credentials.from_info(info, scopes=[_SCOPE])  # type: ignore[no-untyped-call]


def _read(answer: requests.Response) -> Document | None:
    if answer.status_code == 404:
        return None
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.status_code != 200 or not isinstance(content, dict):
        error = content.get("error") if isinstance(content, dict) else None
        words = str(error.get("message", "")) if isinstance(error, dict) else ""
        if answer.status_code == 400:  # a version that is disabled or destroyed
            raise Forbidden(words[:200] or "it answered HTTP 400")
        pause = asked_pause(answer.headers.get("Retry-After"))
        raise refusal(Answer(status=answer.status_code, retry_after=pause, content=None), words)
    payload = content.get("payload")
    try:
        data = base64.b64decode(payload["data"] if isinstance(payload, dict) else "").decode()
    except (binascii.Error, UnicodeDecodeError, KeyError, TypeError):
        raise SecretsUnavailable("it answered no text") from None
    return Document(whole=data, version=str(content.get("name", "")).rpartition("/")[2])
