"""Azure Key Vault: the newest version of a secret, by Azure's own library, in threads.

https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret. Its library finds credentials by itself (workload identity,
managed identity) and renews them. Names have letters, digits and dashes alone, in which upper and lower case are one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any, Final

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

from outboard.domain.secret_names import NamePattern, UnfitName, values_of
from outboard.domain.secret_refs import SecretRef
from outboard.errors import AgentError, Forbidden, SecretsUnavailable, Throttled, Unauthorized
from outboard.host.secrets.ports import Document, Place, Reader
from outboard.host.secrets.stores.asking import asked_pause
from outboard.host.store_settings import AzureStore

_NAME: Final = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VERSION: Final = "?version="
_THREADS: Final = 4


class AzureSecrets:
    """A key vault.

    Args:
        settings: Where.
        learn: Takes our own credentials, which must not leave either.
        options: Of Azure's client, beside what the settings say: another credential, another transport.
    """

    def __init__(self, settings: AzureStore, learn: Callable[[str], None], **options: Any) -> None:
        self._secret = NamePattern(settings.secret, "--")
        self._key = NamePattern(settings.field) if settings.field else None
        limit_s = settings.timeout.total_seconds()
        credential = _Told(options.pop("credential", None) or DefaultAzureCredential(), learn)
        self._client: Any = SecretClient(
            vault_url=settings.vault,
            credential=credential,
            **{"retry_total": 0, "connection_timeout": limit_s, "read_timeout": limit_s, **options},
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="outboard-secrets-azure")

    @property
    def is_scoped(self) -> bool:
        """Whether each project has secrets of its own."""
        return self._secret.is_scoped or bool(self._key and self._key.is_scoped)

    def places(self, ref: SecretRef, reader: Reader) -> Sequence[Place]:
        """Return where a reference is: `name#field`."""
        values = values_of(ref, reader.scope)
        spelled = {name: re.sub("[_.]", "-", value) for name, value in values.items()}
        name = self._secret.render(spelled)
        if not _NAME.fullmatch(name):
            raise UnfitName("Azure's names have letters, digits and dashes, 127 at most")
        if ref.version and "version" not in self._secret.names:
            name += f"{_VERSION}{ref.version}"
        return [Place(name, self._key.render(values) if self._key else "")]

    async def fetch(self, document: str, *, is_refused: bool = False) -> Document | None:  # noqa: ARG002 - nothing to renew here
        """Return a secret."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._get, document)

    async def close(self) -> None:
        """End the threads; calls have their own time limit."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _get(self, document: str) -> Document | None:
        name, _, version = document.partition(_VERSION)
        try:
            found = self._client.get_secret(name, version or None)
        except ResourceNotFoundError:
            return None
        except ClientAuthenticationError:
            raise Unauthorized("Azure refuses our credentials, or its library finds none") from None
        except HttpResponseError as error:
            raise _refusal(error) from None
        except AzureError as error:
            raise SecretsUnavailable(f"it cannot be reached ({type(error).__name__})") from None
        ends = found.properties.expires_on
        lifetime_s = (ends - datetime.now(timezone.utc)).total_seconds() if ends is not None else None
        return Document(whole=found.value or "", version=found.properties.version or "", lifetime_s=lifetime_s)


class _Told:
    """A credential whose tokens are told to the redactor."""

    def __init__(self, credential: Any, learn: Callable[[str], None]) -> None:
        self._credential = credential
        self._learn = learn

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return a token."""
        token = self._credential.get_token(*scopes, **options)
        self._learn(token.token)
        return token

    def close(self) -> None:
        """Close the credential."""
        self._credential.close()


def _refusal(error: HttpResponseError) -> AgentError:
    said = f"it answered HTTP {error.status_code}"
    if error.status_code == 403:
        return Forbidden(f"our identity may not read it: {said}")
    if error.status_code == 429:
        headers: Any = getattr(error.response, "headers", {})
        return Throttled(said, retry_after=asked_pause(headers.get("Retry-After")))
    return SecretsUnavailable(said)
