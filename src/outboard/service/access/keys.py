"""The keys of one issuer of tokens: fetched beside the calls, never in their way.

Known keys are used whatever becomes of the issuer; they are asked for again every five minutes, behind the calls, also where
all of these bring tokens that are remembered: a key that the issuer withdrew must not go on. A token that is
signed with an unknown key makes the keys be asked for, at most every two seconds however many such tokens come. Its call waits
for that, up to 500 calls at once, and is told to ask again where no answer comes. Only an answer of the issuer that was asked
for since, and that lacks the key, makes the token a wrong one.

Keys come over https and no redirect is followed. What a token's own header says about where keys are (`jku`, `x5u`, `jwk`) is
not looked at.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from outboard.files import read_small
from outboard.host.logs import TaskLog
from outboard.service.access.refusals import TALLIES
from outboard.service.access.settings import KUBERNETES, IssuerSettings
from outboard.service.access.watched_files import WatchedFile

PAUSE_S: Final = 2.0
_MOST_WAITING: Final = 500
"""Calls hold memory and count as running: a flood of tokens with made-up keys must not take all room."""
_TIMEOUT_S: Final = 5.0
_MOST_BYTES: Final = 1024 * 1024
_MOST_KEYS: Final = 200
_DISCOVERY: Final = "/.well-known/openid-configuration"
_POD: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CLUSTER_KEYS: Final = f"{KUBERNETES}/openid/v1/jwks"

Jwk = Mapping[str, Any]


class Fetch(Protocol):
    """Fetches a JSON object from a URL; raises `OSError` or `ValueError` with words."""

    async def __call__(self, url: str) -> Mapping[str, Any]:
        """Return what the URL answers."""
        ...


class KeysUnknown(Exception):
    """Whether there is such a key cannot be said now.

    Attributes:
        wait_s: When to ask again.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self.wait_s = wait_s


class IssuerKeys:
    """The keys of an issuer.

    Args:
        issuer: Its name, which is its URL too unless the settings say where its keys are.
        settings: How they are found.
        fetch: Fetches them; over HTTP when left out.
        clock: Monotonic.

    Attributes:
        changes: How often the keys have become others: what was concluded from the former ones is void.
    """

    def __init__(
        self,
        issuer: str,
        settings: IssuerSettings,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.changes = 0
        self._settings = _completed(issuer, settings)
        self._fetch = fetch if fetch is not None else _http(self._settings)
        self._clock = clock
        self._keys: tuple[Jwk, ...] = ()
        self._tried_at = self._answered_at = -1e9  # when the last question was asked, and the last that has an answer
        self._fetching: asyncio.Task[None] | None = None
        self._waiting = 0
        self._file: WatchedFile[tuple[Jwk, ...]] | None = None
        if self._settings.jwks_file is not None:
            field = f"service.access.issuers[{issuer}].jwks_file"
            self._file = WatchedFile(self._settings.jwks_file, field, lambda data: _keys_in(json.loads(data)))
            self._keys = self._file.value

    def look(self) -> None:
        """See to it that known keys do not grow too old; nothing waits for that."""
        if self._file is not None:
            if self._file.is_changed():
                self._take(self._file.value)
        elif self._keys:
            now = self._clock()
            if now - self._tried_at > self._settings.refresh_s:
                self._begin(now)

    def find(self, kid: str | None) -> tuple[Jwk, ...]:
        """Return the keys that may have signed a token; none where the issuer said that it has no such key.

        Args:
            kid: The key's id, as the token says; a token without one is tried with all.

        Raises:
            KeysUnknown: The issuer has to be asked first; see `ask`.
        """
        self.look()
        found = self._of(kid)
        if not found and self._file is None:
            raise KeysUnknown(PAUSE_S)
        return found

    async def ask(self, kid: str | None, patience_s: float) -> tuple[Jwk, ...]:
        """Return what `find` does once the issuer was asked; raise `KeysUnknown` where it does not answer in time.

        Args:
            kid: The key's id.
            patience_s: How long to wait for it.
        """
        now = self._clock()
        if self._fetching is None:
            self._begin(now)
        fetching = self._fetching
        if fetching is None or self._waiting >= _MOST_WAITING:
            raise KeysUnknown(PAUSE_S)
        self._waiting += 1
        try:
            await asyncio.wait({fetching}, timeout=patience_s)
        finally:
            self._waiting -= 1
        found = self._of(kid)
        if not found and self._answered_at < now:  # no answer, a bad one, or one to a question of before
            raise KeysUnknown(PAUSE_S)
        return found

    def begin(self) -> None:
        """Ask for the keys behind the calls; at the start, so that the first token need not wait."""
        if self._file is None:
            self._begin(self._clock())

    async def close(self) -> None:
        """Give up asking."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _of(self, kid: str | None) -> tuple[Jwk, ...]:
        return tuple(key for key in self._keys if kid is None or key.get("kid") == kid)

    def _begin(self, now: float) -> None:
        if self._fetching is None:
            pause_s = max(0.0, self._tried_at + PAUSE_S - now)
            self._tried_at = now + pause_s
            self._fetching = asyncio.ensure_future(self._refresh(pause_s))
            self._fetching.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _refresh(self, pause_s: float) -> None:
        if pause_s:
            await asyncio.sleep(pause_s)
        try:
            uri = self._settings.jwks_uri or await self._discover()
            keys = _keys_in(await self._fetch(uri))
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            was = TALLIES.reachable.get(self.issuer)
            TALLIES.reachable[self.issuer] = False
            if was is not False:
                reason = str(error)[:200] or "it does not answer"
                TaskLog().warning(
                    "keys of an issuer not read", issuer=self.issuer, known=len(self._keys), reason=reason
                )
            return
        if TALLIES.reachable.get(self.issuer) is False:
            TaskLog().info("keys of an issuer are read again", issuer=self.issuer, known=len(keys))
        TALLIES.reachable[self.issuer] = True
        self._answered_at = self._tried_at
        self._take(keys)

    async def _discover(self) -> str:
        found = await self._fetch(self.issuer.rstrip("/") + _DISCOVERY)
        if found.get("issuer") != self.issuer:
            raise ValueError("its discovery document is another issuer's")
        uri = str(found.get("jwks_uri", ""))
        return IssuerSettings(jwks_uri=uri).jwks_uri or ""  # a pydantic error is a ValueError

    def _take(self, keys: tuple[Jwk, ...]) -> None:
        if keys != self._keys:
            self._keys = keys
            self.changes += 1


def _completed(issuer: str, settings: IssuerSettings) -> IssuerSettings:
    """Return settings with what a cluster's own issuer needs."""
    is_cluster = settings.kubernetes or issuer.startswith(KUBERNETES)
    if not is_cluster or settings.jwks_file is not None:
        return settings
    return settings.model_copy(
        update={
            "jwks_uri": settings.jwks_uri or _CLUSTER_KEYS,
            "ca_file": settings.ca_file or _POD / "ca.crt",
            "token_file": settings.token_file or _POD / "token",
        }
    )


def _keys_in(document: Any) -> tuple[Jwk, ...]:
    """Return the public keys in a JWKS; those that are secret, or for other uses, are none."""
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise ValueError("it is no set of keys (JWKS)")
    keys = tuple(
        key
        for key in listed
        if isinstance(key, Mapping) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"
    )
    if not keys:
        raise ValueError("it holds no key that a signature could be checked with")
    return keys


def _http(settings: IssuerSettings) -> Fetch:
    async def fetch(url: str) -> Mapping[str, Any]:
        import aiohttp  # noqa: PLC0415 - only who takes tokens of an issuer pays for it

        headers = {"Accept": "application/json"}
        if settings.token_file is not None:
            headers["Authorization"] = f"Bearer {read_small(settings.token_file).decode().strip()}"
        is_plain = url.startswith("http:")
        ca_file = None if settings.ca_file is None else str(settings.ca_file)
        context = True if is_plain else ssl.create_default_context(cafile=ca_file)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=settings.token_file is None) as session,
                session.get(url, headers=headers, ssl=context, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise ValueError(f"it answers {response.status}")
                data = await response.content.read(_MOST_BYTES + 1)
                while len(data) <= _MOST_BYTES and (more := await response.content.read(_MOST_BYTES + 1)):
                    data += more
        except aiohttp.ClientError as error:
            raise OSError(f"it cannot be reached ({type(error).__name__})") from None
        if len(data) > _MOST_BYTES:
            raise ValueError(f"it answers more than {_MOST_BYTES} bytes")
        found = json.loads(data)
        if not isinstance(found, dict):
            raise ValueError("it answers no JSON object")  # noqa: TRY004 - what a server says, not what a caller passed
        return found

    return fetch
