"""Access keys: had off the event loop, renewed before they end, one renewal at a time.

botocore knows AWS's ways to get keys (environment, shared profiles, web identity, container and instance metadata), and blocks;
so it runs in a thread, from the first look to every renewal. When keys are renewed is said in `outboard.agent.renewal`.

Acting as a role takes a second step: STS gives keys for an hour for those of who logged in.

No key is ever in a message; those that botocore finds are told to whoever redacts logs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final, Protocol

from outboard.agent.renewal import Renewed
from outboard.errors import AgentError, Forbidden, Sent, Unauthorized, Unavailable

_ROLE_S: Final = 3600
_NAMES: Final = (
    ("AccessKeyId", "aws_access_key_id", "access_key_id"),
    ("SecretAccessKey", "aws_secret_access_key", "secret_access_key"),
    ("SessionToken", "aws_session_token", "session_token"),
)


@dataclass(frozen=True, slots=True)
class Keys:
    """Access keys; shown without what is secret.

    Attributes:
        key_id: Not secret; AWS logs it.
        secret: The secret access key.
        token: The session token of keys that end; else empty.
        lifetime_s: How long they last from when they were had; None for ever.
    """

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    lifetime_s: float | None = None


class KeySource(Protocol):
    """Where access keys come from."""

    async def keys(self) -> Keys:
        """Return keys that are valid now."""
        ...

    async def close(self) -> None:
        """Stop renewing."""
        ...


class FixedKeys:
    """The same keys for ever: somebody else renews them, and a new secret opens a new client."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def keys(self) -> Keys:
        """Return them."""
        return self._keys

    async def close(self) -> None:
        """Do nothing."""


class RenewedKeys(Renewed[Keys]):
    """Keys that are renewed before they end.

    Args:
        fetch: Gets new ones; its errors are those of a call that was not sent.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Keys]]) -> None:
        async def timed() -> tuple[Keys, float | None]:
            keys = await fetch()
            return keys, keys.lifetime_s

        super().__init__(timed)

    async def keys(self) -> Keys:
        """Return valid keys; raises what `fetch` raises where there are none."""
        return await self.value()


def keys_of(secret: str, key_id: str = "") -> Keys:
    """Return the keys in a secret: the JSON that `aws iam create-access-key` and `aws sts assume-role` print, or its inner part.

    Args:
        secret: The secret; with a `key_id` the secret access key alone.
        key_id: The access key id.

    Raises:
        Unauthorized: It holds none.
    """
    if key_id:
        return Keys(key_id, secret.strip())
    try:
        content = json.loads(secret)
    except ValueError:
        content = None
    for outer in ("AccessKey", "Credentials"):
        if isinstance(content, dict) and isinstance(content.get(outer), dict):
            content = content[outer]
    if not isinstance(content, dict):
        content = {}
    found_id, key, token = (next((str(content[name]) for name in names if content.get(name)), "") for names in _NAMES)
    if not found_id or not key:
        raise Unauthorized(
            'the secret for Athena holds no access keys; store {"AccessKeyId": ..., "SecretAccessKey": ...} in it as JSON'
        )
    return Keys(found_id, key, token)


def chain_keys(profile: str, learn: Callable[[str], None]) -> RenewedKeys:
    """Return the keys that this machine offers, in AWS's own order.

    Args:
        profile: The shared profile to read; empty is the default one.
        learn: Is told each secret that is found.
    """
    found: list[Any] = []

    def fetch() -> Keys:
        from botocore.session import Session  # noqa: PLC0415 - an extra, and slow to load: off the loop, where it is used

        if not found or not hasattr(found[0], "refresh_needed"):
            # Keys without an end are looked for anew, since the file or variable they came from may have changed.
            found[:] = [Session(profile=profile or None).get_credentials()]
        credentials = found[0]
        if credentials is None:
            raise Unauthorized(
                "this machine has no AWS credentials; use a role (IRSA, task or instance role), or let the operator set "
                "platforms.athena.login: keys with a secret"
            )
        frozen = credentials.get_frozen_credentials()
        return _told(Keys(frozen.access_key, frozen.secret_key, frozen.token or "", _left_s(credentials)), learn)

    return RenewedKeys(lambda: _in_thread(fetch))


def role_keys(
    source: KeySource, role: str, region: str, *, endpoint: str, external_id: str, learn: Callable[[str], None]
) -> RenewedKeys:
    """Return keys of a role that the source may act as.

    Args:
        source: Whose keys ask for them.
        role: The role's ARN.
        region: Whose STS is asked.
        endpoint: Where it is; empty is AWS's own.
        external_id: Sent along where it is not empty.
        learn: Is told each secret that is had.
    """

    def assume(own: Keys) -> Keys:
        from botocore.config import Config  # noqa: PLC0415 - see `chain_keys`
        from botocore.session import Session  # noqa: PLC0415 - same

        client = Session().create_client(
            "sts",
            region_name=region,
            endpoint_url=endpoint or None,
            aws_access_key_id=own.key_id,
            aws_secret_access_key=own.secret,
            aws_session_token=own.token or None,
            config=Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 2}),
        )
        more = {"ExternalId": external_id} if external_id else {}
        try:
            answer = client.assume_role(RoleArn=role, RoleSessionName="outboard", DurationSeconds=_ROLE_S, **more)
        finally:
            client.close()
        got = answer["Credentials"]
        lifetime_s = (got["Expiration"] - datetime.now(timezone.utc)).total_seconds()
        return _told(Keys(got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"], lifetime_s), learn)

    async def fetch() -> Keys:
        own = await source.keys()
        return await _in_thread(lambda: assume(own), role=role)

    return RenewedKeys(fetch)


def _told(keys: Keys, learn: Callable[[str], None]) -> Keys:
    learn(keys.secret)
    if keys.token:
        learn(keys.token)
    return keys


async def _in_thread(fetch: Callable[[], Keys], role: str = "") -> Keys:
    try:
        return await asyncio.to_thread(fetch)
    except ImportError as error:
        raise Unauthorized(f"Athena needs {error.name}; install outboard[athena]") from error
    except AgentError:
        raise
    except Exception as error:  # botocore's errors share no useful base
        raise _refusal(error, role) from error


def _left_s(credentials: Any) -> float | None:
    expiry = getattr(credentials, "_expiry_time", None)
    if not isinstance(expiry, datetime):
        return None
    return max(0.0, (expiry - datetime.now(timezone.utc)).total_seconds())


def _refusal(error: Exception, role: str) -> AgentError:
    from botocore.exceptions import ClientError, HTTPClientError, MetadataRetrievalError  # noqa: PLC0415 - see `chain_keys`

    if isinstance(error, ClientError):
        told = error.response.get("Error") or {}
        code, words = str(told.get("Code") or ""), str(told.get("Message") or "")[:300]
        status = int((error.response.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
        if status >= 500 or "Throttl" in code:
            return Unavailable(f"STS gives no keys just now ({code})", code=code, sent=Sent.NO)
        if code == "AccessDenied" and role:
            words = f"{words} (acting as {role} needs sts:AssumeRole for us, and a trust policy that names us)"
            return Forbidden(words, code=code, sent=Sent.NO)
        return Unauthorized(f"{words} (STS gives no keys; check the credentials)", code=code, sent=Sent.NO)
    if isinstance(error, (HTTPClientError, MetadataRetrievalError)):
        return Unavailable(f"no access keys could be had ({type(error).__name__})", sent=Sent.NO)
    return Unauthorized(f"AWS gives no access keys ({type(error).__name__}); check the credentials", sent=Sent.NO)
