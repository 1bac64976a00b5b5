"""Access tokens: had off the event loop, renewed before they end, one renewal at a time.

google-auth blocks, so it runs in a thread, from the first look for credentials to every refresh. When tokens are renewed is said
in `outboard.agent.renewal`.

Acting as another service account takes a second step: the token of who logged in buys one at the IAM Credentials API, which lasts
an hour (`projects.serviceAccounts.generateAccessToken`,
https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken).

A key that comes as a secret must be a service account's and name the token address of the settings: keys of other kinds make
google-auth read files, run commands and ask addresses that whoever wrote the key chose.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from outboard.agent import Http
from outboard.agent.renewal import LEAST_S, Renewed
from outboard.errors import AgentError, Forbidden, Sent, Unauthorized, Unavailable

SCOPE: Final = "https://www.googleapis.com/auth/bigquery"
IAM_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_LIFETIME_S: Final = 3600

Fetched = tuple[str, float]
"""A token, and how many seconds it lasts."""


class Tokens(Protocol):
    """Where access tokens come from."""

    async def token(self) -> str:
        """Return one that is valid now; empty where none is needed."""
        ...

    async def close(self) -> None:
        """Stop renewing."""
        ...


class FixedToken:
    """One token for ever: somebody else renews it, and a new secret opens a new client."""

    def __init__(self, value: str = "") -> None:
        self._value = value

    async def token(self) -> str:
        """Return it."""
        return self._value

    async def close(self) -> None:
        """Do nothing."""


class RenewedToken(Renewed[str]):
    """A token that is renewed before it ends."""

    async def token(self) -> str:
        """Return a valid one; raises what fetching it raises where there is none."""
        return await self.value()


def key_info(key: str, token_uri: str) -> Mapping[str, Any]:
    """Return a service account's key as google-auth takes it.

    Raises:
        Unauthorized: It is none, or names another token address.
    """
    try:
        info = json.loads(key)
    except ValueError:
        info = None
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise Unauthorized(
            "the secret for BigQuery is no service account's JSON key; store the key file's content in it"
        )
    if info.get("token_uri") != token_uri:
        raise Unauthorized(
            f"the service account's key names another token_uri than {token_uri}; use Google's key file as it is, "
            "or let the operator set platforms.bigquery.token_uri"
        )
    return info


def google_tokens(info: Mapping[str, Any] | None, scope: str) -> RenewedToken:
    """Return tokens of a service account's key, or of what the machine offers when there is none."""
    held: list[Any] = []

    def refresh() -> Fetched:
        import google.auth  # noqa: PLC0415 - an extra, and slow to load: only where BigQuery is used, and off the loop
        from google.auth.transport.requests import Request  # noqa: PLC0415 - same
        from google.oauth2.service_account import Credentials  # noqa: PLC0415 - same

        is_new = not held
        if is_new and info is not None:
            held.append(Credentials.from_service_account_info(dict(info), scopes=[scope]))  # type: ignore[no-untyped-call]
        elif is_new:
            held.append(google.auth.default(scopes=[scope], request=_asks_no_project(Request()))[0])
        credentials = held[0]
        if not (is_new and credentials.valid):  # looking for a workload's identity has fetched a token already
            credentials.refresh(Request())
        return str(credentials.token), _left_s(credentials.expiry)

    async def fetch() -> Fetched:
        try:
            return await asyncio.to_thread(refresh)
        except ImportError as error:
            raise Unauthorized(f"BigQuery needs {error.name}; install outboard[bigquery]") from error
        except Exception as error:
            raise _refusal(error) from error

    return RenewedToken(fetch)


def impersonated_tokens(source: Tokens, email: str, http: Http, iam_api: str) -> RenewedToken:
    """Return tokens of a service account that the source may act as."""
    url = f"{iam_api}/v1/projects/-/serviceAccounts/{email}:generateAccessToken"

    async def fetch() -> Fetched:
        headers = {"Authorization": f"Bearer {await source.token()}"}
        body = {"scope": [SCOPE], "lifetime": f"{_LIFETIME_S}s"}
        try:
            answer = await http.post(url, method="iam.generateAccessToken", json_body=body, headers=headers)
        except Forbidden as error:
            words = f"{error.message} (acting as {email} needs roles/iam.serviceAccountTokenCreator on it)"
            raise Forbidden(words, code=error.platform_code, sent=Sent.NO) from None
        except AgentError as error:
            error.sent = Sent.NO  # no job was sent, whatever became of the token
            raise
        content = answer.json()
        token = content.get("accessToken") if isinstance(content, dict) else None
        if not isinstance(token, str) or not token:
            raise Unavailable("the IAM Credentials API answered no access token", sent=Sent.NO)
        return token, _lifetime_s(content.get("expireTime"))

    return RenewedToken(fetch)


def _asks_no_project(transport: Any) -> Any:
    """Return a transport that leaves Resource Manager alone, which google-auth asks for the project of a workload.

    Tasks say their projects. The question needs a permission of its own, and an address that private networks do not reach.
    """

    def ask(url: str, *arguments: Any, **options: Any) -> Any:
        if (urlsplit(url).hostname or "").startswith("cloudresourcemanager."):
            return SimpleNamespace(status=404, headers={}, data=b"{}")
        return transport(url, *arguments, **options)

    return ask


def _lifetime_s(expires: object) -> float:
    """Return how long a token lasts; a minute at least, since our clock may be ahead of Google's."""
    try:
        return max(LEAST_S, _left_s(datetime.fromisoformat(str(expires).replace("Z", "+00:00")[:32])))
    except ValueError:
        return float(_LIFETIME_S)


def _left_s(expiry: datetime | None) -> float:
    if expiry is None:
        return float(_LIFETIME_S)
    aware = expiry if expiry.tzinfo is not None else expiry.replace(tzinfo=timezone.utc)
    return max(0.0, aware.timestamp() - time.time())


def _refusal(error: Exception) -> AgentError:
    from google.auth.exceptions import DefaultCredentialsError, TransportError  # noqa: PLC0415 - see `google_tokens`

    if isinstance(error, DefaultCredentialsError):
        return Unauthorized(
            "this machine has no Google credentials; use workload identity, or let the operator set platforms.bigquery.secret"
        )
    if isinstance(error, TransportError) or getattr(error, "retryable", False):
        return Unavailable(f"no access token could be had ({type(error).__name__})", sent=Sent.NO)
    words = str(error.args[0]) if error.args else ""
    return Unauthorized(f"Google gives no access token ({type(error).__name__}: {words[:200]}); check the credentials")
