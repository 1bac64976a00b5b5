"""Logins: what goes into the Authorization header, and when it is renewed.

An access token is sent as it is. With a key pair a token (JWT, RS256) is signed here, which Snowflake takes for an hour at
most: it is signed anew after 50 minutes, and at once when Snowflake says that it is none any more. Reading a key and
signing take milliseconds of pure computation (an encrypted key tens of them), so both happen in a thread. Tokens begin a
minute in the past, for clocks that do not agree.

Source: https://docs.snowflake.com/en/developer-guide/sql-api/authenticating (read 2026-11-22).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from typing import Any, Final, Protocol

from outboard.agent import Secrets
from outboard.errors import Unauthorized
from outboard.platforms.snowflake.accounts import token_name_of
from outboard.platforms.snowflake.connections import SnowflakeConnection

_LIFETIME_S: Final = 3_540.0
_BEFORE_S: Final = 60.0
_RENEW_AFTER_S: Final = 3_000.0
_TYPES: Final = {"oauth": "OAUTH", "pat": "PROGRAMMATIC_ACCESS_TOKEN"}
_TYPE_HEADER: Final = "X-Snowflake-Authorization-Token-Type"


class Login(Protocol):
    """Who we are."""

    async def headers(self) -> dict[str, str]:
        """Return the headers for a call that is made now."""
        ...

    def forget(self) -> None:
        """Take note that the last ones were refused."""
        ...


class TokenLogin:
    """An access token that somebody else renews; a new secret opens a new client.

    Args:
        token: The token.
        kind: What Snowflake calls its kind.
    """

    def __init__(self, token: str, kind: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}", _TYPE_HEADER: kind}

    async def headers(self) -> dict[str, str]:
        """Return the headers."""
        return dict(self._headers)

    def forget(self) -> None:
        """Do nothing."""


class KeyPairLogin:
    """Tokens signed with a user's private key.

    Args:
        account: The account identifier.
        user: Whose key it is.
        key: In PEM.
        passphrase: The key's; empty where it is not encrypted.
    """

    def __init__(self, account: str, user: str, key: str, passphrase: str = "") -> None:
        self._subject = f"{token_name_of(account)}.{user.upper()}"
        self._key = key
        self._passphrase = passphrase
        self._signer: tuple[Any, str] | None = None
        self._token = ""
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """Return the headers; `Unauthorized` where the key is none."""
        if not self._token or time.monotonic() >= self._renew_at:
            async with self._lock:
                if not self._token or time.monotonic() >= self._renew_at:
                    self._token = await asyncio.to_thread(self._sign, time.time())
                    self._renew_at = time.monotonic() + _RENEW_AFTER_S
        return {"Authorization": f"Bearer {self._token}", _TYPE_HEADER: "KEYPAIR_JWT"}

    def forget(self) -> None:
        """Sign a new token for the next call."""
        self._token = ""

    def _sign(self, now: float) -> str:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415 - an extra, and slow to load
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - same

        if self._signer is None:
            self._signer = read_key(self._key, self._passphrase)
        key, fingerprint = self._signer
        began = int(now - _BEFORE_S)
        claims = {
            "iss": f"{self._subject}.{fingerprint}",
            "sub": self._subject,
            "iat": began,
            "exp": began + int(_LIFETIME_S),
        }
        signed = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return f"{signed}.{_base64(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def read_key(pem: str, passphrase: str) -> tuple[Any, str]:
    """Return a private key and its public key's fingerprint, as Snowflake writes it.

    Raises:
        Unauthorized: It is no RSA key in PEM, or the passphrase is not its own.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra, and slow to load
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - same
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415 - same
    except ImportError:
        raise Unauthorized(
            "key pairs need the package cryptography; install outboard[snowflake] where the service runs"
        ) from None
    try:
        key = serialization.load_pem_private_key(pem.strip().encode(), passphrase.encode() or None)
    except TypeError:
        raise Unauthorized(
            "the private key is encrypted and there is no passphrase for it, or the other way round; "
            "set platforms.snowflake.passphrase_secret, or snowflake_private_key_passphrase in the task"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unauthorized(
            "the private key cannot be read: store an RSA key in PEM (PKCS#8), and its own passphrase where it is encrypted"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise Unauthorized("the private key is no RSA key, and Snowflake takes no other for a key pair")
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key, f"SHA256:{base64.b64encode(hashlib.sha256(public).digest()).decode()}"


def login_of(connection: SnowflakeConnection, secrets: Secrets) -> Login:
    """Return the login of a connection; `MissingSecret` where its key or token is nowhere."""
    if connection.token is not None:
        kind = _TYPES.get(connection.login, "OAUTH")
        return TokenLogin(secrets[connection.token].get_secret_value().strip(), kind)
    if connection.private_key is None:
        raise Unauthorized("the handle names no credentials; start the task again")
    passphrase = secrets[connection.passphrase].get_secret_value() if connection.passphrase is not None else ""
    key = secrets[connection.private_key].get_secret_value()
    return KeyPairLogin(connection.account, connection.user, key, passphrase.strip())


def _encoded(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
