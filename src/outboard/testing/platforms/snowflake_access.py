"""Who may call a Snowflake account of the test kit: tokens by kind, and JWTs whose signatures are verified for real.

A JWT is checked as Snowflake's page on key pairs describes it: RS256; `iss` is ACCOUNT.USER.SHA256:fingerprint and `sub`
ACCOUNT.USER in capitals; the fingerprint is that of the public key which the user has; it lasts an hour at most, and now is
within.

Source: https://docs.snowflake.com/en/developer-guide/sql-api/authenticating (read 2026-11-22).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import Refusal

_LONGEST_S: Final = 3_600
_SKEW_S: Final = 60


def refusal(
    status: int,
    code: str,
    words: str,
    *,
    sql_state: str = "",
    handle: str = "",
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """Return an error as Snowflake writes it: code, words, SQL state, and which statement it is about."""
    body = {"code": code, "message": words, "sqlState": sql_state, "statementHandle": handle}
    told = {name: value for name, value in body.items() if value}
    return Refusal(web.json_response(told, status=status, headers=headers))


@dataclass(slots=True)
class Access:
    """Who may call.

    Attributes:
        account: As tokens name it.
        keys: The users' public keys, as `cryptography` has them.
        tokens: Kinds (`OAUTH`, `PROGRAMMATIC_ACCESS_TOKEN`) of tokens that are good now.
        expired: Tokens that were good once.
        prefix: OAuth tokens that begin so are good too; empty is none.
        seen: Every Authorization header that came, in order.
    """

    account: str = "MYORG-CHECKS"
    keys: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    prefix: str = ""
    seen: list[str] = field(default_factory=list)

    def check(self, request: web.Request) -> None:
        """Refuse a request without good credentials."""
        header = request.headers.get("Authorization", "")
        self.seen.append(header)
        token, kind = header.removeprefix("Bearer "), request.headers.get("X-Snowflake-Authorization-Token-Type", "")
        if kind == "KEYPAIR_JWT":
            self._check_jwt(token)
        elif token in self.expired:
            raise refusal(401, "390318", "OAuth access token expired. [0ce9eb56-821d-4ca9-a774-04ae89a0cf5a]")
        elif self.tokens.get(token) != (kind or "OAUTH") and not (self.prefix and token.startswith(self.prefix)):
            code = "394400" if kind == "PROGRAMMATIC_ACCESS_TOKEN" else "390303"
            raise refusal(
                401,
                code,
                "Invalid OAuth access token." if code == "390303" else "Programmatic access token is invalid.",
            )

    def _check_jwt(self, token: str) -> None:
        try:
            signed, _, signature = token.rpartition(".")
            head, claims = (json.loads(_decoded(part)) for part in signed.split("."))
            account, user, fingerprint = str(claims["iss"]).split(".", 2)
            began, ends = int(claims["iat"]), int(claims["exp"])
        except (ValueError, KeyError, TypeError):
            raise _invalid() from None
        key = self.keys.get(user)
        now = platform_time()
        is_right = (
            head == {"alg": "RS256", "typ": "JWT"}
            and (account, claims.get("sub")) == (self.account, f"{self.account}.{user}")
            and key is not None
            and fingerprint == fingerprint_of(key)
            and began <= now + _SKEW_S
            and now < ends <= began + _LONGEST_S
        )
        if not is_right or not _is_signed(key, signed, signature):
            raise _invalid()


def fingerprint_of(key: Any) -> str:
    """Return the fingerprint of a public key, as DESCRIBE USER shows it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415 - an extra

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"SHA256:{base64.b64encode(hashlib.sha256(der).digest()).decode()}"


def _is_signed(key: Any, signed: str, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415 - same
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - same

    try:
        key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _invalid() -> Refusal:
    return refusal(401, "390144", "JWT token is invalid. [b63e07fd-2a4c-4d57-8f4c-e5cd52e4e0b5]")


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
