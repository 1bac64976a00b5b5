"""Logins: what goes into the Authorization header, and when it is renewed.

An access token is sent as it is. A service principal's secret, or a workload's own token, is exchanged for one that lasts
an hour at the workspace's token endpoint (OAuth 2.0: RFC 6749 4.4, RFC 8693), and exchanged again five minutes before that
ends, or halfway where it lasts less than ten. Calls that come meanwhile wait for the one exchange.

Source: https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m and .../oauth-federation (read 2026-11-22).
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from outboard.agent import Http, Secrets
from outboard.errors import AgentError, Sent, Throttled, Unauthorized, Unavailable
from outboard.platforms.databricks.connections import DatabricksConnection
from outboard.platforms.databricks.quotas import LOGIN

_EARLY_S: Final = 300.0
_LIFETIME_S: Final = 3_600.0
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_TIMEOUT_S: Final = 15.0


class Login(Protocol):
    """Who we are.

    Attributes:
        remedy: What to do where Databricks does not take the header.
    """

    remedy: str

    async def header(self) -> str:
        """Return the Authorization header for a call that is made now."""
        ...


class TokenLogin:
    """An access token.

    Args:
        token: The token.
        name: Of the secret that holds it.
    """

    def __init__(self, token: str, name: str) -> None:
        self.remedy = f"renew the access token in the secret {name}"
        self._header = f"Bearer {token}"

    async def header(self) -> str:
        """Return the Authorization header."""
        return self._header


class ExchangedLogin:
    """A token that is had in exchange for something lasting, and renewed before it ends.

    Args:
        http: The session.
        url: The workspace's address.
        connection: As whom.
        secrets: Where what is exchanged lies; it is read anew at each exchange.
    """

    def __init__(self, http: Http, url: str, connection: DatabricksConnection, secrets: Secrets) -> None:
        self._http = http
        self.remedy = f"see that {connection.client_id} may use this workspace"
        self._url = f"{url}/oidc/v1/token"
        self._connection = connection
        self._secrets = secrets
        self._header = ""
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def header(self) -> str:
        """Return the Authorization header; `Unauthorized` where the exchange is refused."""
        if time.monotonic() >= self._renew_at:
            async with self._lock:
                if time.monotonic() >= self._renew_at:
                    await self._renew()
        return self._header

    async def _renew(self) -> None:
        form, headers = self._request()
        began_at = time.monotonic()
        try:
            answer = await self._http.post(
                self._url,
                method=LOGIN,
                data=urlencode(form).encode(),
                headers={**headers, "Content-Type": "application/x-www-form-urlencoded"},
                timeout_s=_TIMEOUT_S,
            )
        except (Throttled, Unavailable) as error:
            error.sent = Sent.NO  # the token was asked for, and nothing else
            raise
        except AgentError as error:
            raise Unauthorized(f"Databricks refuses the login: {error.message}", code=error.platform_code) from None
        content = answer.json()
        token = content.get("access_token") if isinstance(content, dict) else None
        if not isinstance(token, str) or not token:
            raise Unavailable("the login was answered without an access token", sent=Sent.NO)
        lifetime_s = _seconds(content.get("expires_in"))
        self._header = f"Bearer {token}"
        self._renew_at = began_at + max(lifetime_s - _EARLY_S, lifetime_s / 2)

    def _request(self) -> tuple[dict[str, str], dict[str, str]]:
        connection = self._connection
        if connection.client_secret is not None:
            secret = self._secrets[connection.client_secret].get_secret_value()
            pair = base64.b64encode(f"{connection.client_id}:{secret}".encode()).decode()
            return {"grant_type": "client_credentials", "scope": "all-apis"}, {"Authorization": f"Basic {pair}"}
        if connection.subject is None:
            raise Unauthorized("the handle names no credentials; start the task again")
        form = {
            "grant_type": _EXCHANGE,
            "subject_token": self._secrets[connection.subject].get_secret_value(),
            "subject_token_type": _JWT,
            "client_id": connection.client_id,
            "scope": "all-apis",
        }
        return form, {}


def login_of(http: Http, url: str, connection: DatabricksConnection, secrets: Secrets) -> Login:
    """Return the login of a connection; `MissingSecret` where its access token is nowhere."""
    if connection.token is not None:
        return TokenLogin(secrets[connection.token].get_secret_value(), connection.token.key)
    return ExchangedLogin(http, url, connection, secrets)


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and value > 0 else _LIFETIME_S
