"""AWS Secrets Manager: `GetSecretValue` of the version that is `AWSCURRENT`, by AWS's own library, in threads.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html. Its library finds credentials by itself
(web identity of a pod, instance, environment) and renews them. It looks for them over the network, so that is left to the first
question: a start waits for nobody.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from outboard.domain.secret_names import NamePattern, values_of
from outboard.domain.secret_refs import SecretRef
from outboard.errors import AgentError, Forbidden, SecretsUnavailable, Throttled, Unauthorized
from outboard.host.secrets.ports import Document, Place, Reader
from outboard.host.secrets.stores.asking import setting_error
from outboard.host.store_settings import AwsStore

_VERSION: Final = "?version="
_STAGE: Final = "AWS"
_ABSENT: Final = frozenset({"ResourceNotFoundException", "InvalidRequestException"})
"""The second: it is marked for deletion."""
_DENIED: Final = frozenset({"AccessDeniedException", "DecryptionFailure", "AccessDenied"})
_REFUSED: Final = frozenset(
    {
        *("ExpiredTokenException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredToken"),
        *("IncompleteSignature", "MissingAuthenticationTokenException", "InvalidClientTokenId", "OptInRequired"),
    }
)
_THROTTLED: Final = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"})
_THREADS: Final = 4


class AwsSecrets:
    """Secrets Manager of one region.

    Args:
        settings: Where.
        learn: Takes our own credentials, which must not leave either.
    """

    def __init__(self, settings: AwsStore, learn: Callable[[str], None]) -> None:
        self._field = settings.field
        self._learn = learn
        self._secret = NamePattern(settings.secret)
        self._key = NamePattern(settings.field) if settings.field else None
        self._session = botocore.session.Session()
        limit_s = settings.timeout.total_seconds()
        self._region = settings.region or self._session.get_config_variable("region")
        if not self._region:
            raise setting_error("region", "AWS's library knows no region; name one")
        self._endpoint = settings.endpoint or None
        self._config = Config(connect_timeout=limit_s, read_timeout=limit_s, retries={"total_max_attempts": 1})
        self._client: Any = None
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="outboard-secrets-aws")

    @property
    def is_scoped(self) -> bool:
        """Whether each project has secrets of its own."""
        return self._secret.is_scoped or bool(self._key and self._key.is_scoped)

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return where a reference is: `name#field`."""
        values = values_of(ref, reader.scope)
        name = self._secret.render(values)
        if ref.version and "version" not in self._secret.names:
            name += f"{_VERSION}{ref.version}"
        return [Place(name, self._key.render(values) if self._key else "")]

    async def fetch(self, document: str, *, is_refused: bool = False) -> Document | None:  # noqa: ARG002 - nothing to renew here
        """Return a secret."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._get, document)

    async def close(self) -> None:
        """End the threads; calls have their own time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _get(self, document: str) -> Document | None:
        name, _, version = document.partition(_VERSION)
        which = {"VersionStage": "AWSCURRENT"}
        if version:
            which = {"VersionStage": version} if version.startswith(_STAGE) else {"VersionId": version}
        try:
            self._learn_login()
            found = self._opened().get_secret_value(SecretId=name, **which)
        except ClientError as error:
            code, words = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
            if code in _ABSENT:
                return None
            raise _refusal(code, words) from None
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise Unauthorized(f"AWS's library finds no credentials ({type(error).__name__})") from None
        except BotoCoreError as error:
            raise SecretsUnavailable(f"it cannot be reached ({type(error).__name__})") from None
        text = found.get("SecretString")
        if text is None:
            text = bytes(found.get("SecretBinary", b"")).decode("utf-8", "replace")
        return Document(whole=text, version=found.get("VersionId", ""))

    def _opened(self) -> Any:
        """Return the client: one that is made without credentials would never look for them again."""
        with self._lock:
            if self._client is None:
                self._client = self._session.create_client(
                    "secretsmanager", self._region, endpoint_url=self._endpoint, config=self._config
                )
            return self._client

    def _learn_login(self) -> None:
        with self._lock:
            login = self._session.get_credentials()
        if login is None:
            raise NoCredentialsError
        frozen = login.get_frozen_credentials()
        for value in (frozen.secret_key, frozen.token):
            if value:
                self._learn(value)


def _refusal(code: str, words: str) -> AgentError:
    said = f"{code}: {words}"[:200]
    if code in _DENIED:
        return Forbidden(f"our role may not read it: {said}")
    if code in _REFUSED:
        return Unauthorized(f"it refuses our credentials: {said}")
    return Throttled(said) if code in _THROTTLED else SecretsUnavailable(said)
