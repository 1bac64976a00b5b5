"""HTTP to stores: one session, redirects not followed, answers of a bounded size, and what a refusal means.

A certificate authority is read again when its file changed, since clusters rotate theirs.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import aiohttp

from outboard.agent.error_facts import retry_after
from outboard.errors import AgentError, Forbidden, InvalidSettings, SecretsUnavailable, Throttled, Unauthorized
from outboard.files import read_small

_LARGEST_BYTES: Final = 4 * 1024 * 1024
_LONGEST_PAUSE: Final = timedelta(minutes=5)
_WORDS_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a store answered.

    Attributes:
        retry_after: What it asked for, if anything.
        content: The JSON of the body; None where it is none.
    """

    status: int
    retry_after: timedelta | None
    content: Any


class Asking:
    """An HTTP session for one store.

    Args:
        ca_file: The certificate authority; the system's own where it is None.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._trusts: bytes | None = None
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        verb: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Answer:
        """Make one call; the caller limits its time.

        Raises:
            SecretsUnavailable: Nothing that is an answer came back.
        """
        session = await self._opened()
        try:
            async with session.request(
                verb, url, headers=headers, params=params, json=body, allow_redirects=False
            ) as answer:
                return Answer(
                    status=answer.status,
                    retry_after=asked_pause(answer.headers.get("Retry-After")),
                    content=_parsed(await _read(answer.content)),
                )
        except aiohttp.ClientConnectorCertificateError:
            raise SecretsUnavailable("its certificate is not trusted; check the address and ca_file") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise SecretsUnavailable(f"it cannot be reached ({type(error).__name__})") from None

    async def close(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(self) -> aiohttp.ClientSession:
        trusts = read_bytes(self._ca_file, "ca_file") if self._ca_file is not None else b""
        if self._session is not None and (trusts != self._trusts or self._session.closed):
            await self.close()
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=_context(trusts) if trusts else True)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
            self._trusts = trusts
        return self._session


def asked_pause(text: str | None) -> timedelta | None:
    """Return what `Retry-After` asks for, five minutes at most."""
    asked = retry_after(text, datetime.now(timezone.utc))
    return None if asked is None else min(asked, _LONGEST_PAUSE)


def refusal(answer: Answer, words: str) -> AgentError:
    """Return what an answer that is no success means."""
    said = f"{words[:_WORDS_CHARACTERS]} (HTTP {answer.status})" if words else f"it answered HTTP {answer.status}"
    if answer.status == 401:
        return Unauthorized(f"it refuses our login: {said}")
    if answer.status == 403:
        return Forbidden(f"our login may not read it: {said}")
    if answer.status == 429:
        return Throttled(said, retry_after=answer.retry_after)
    return SecretsUnavailable(said, retry_after=answer.retry_after)


def read_bytes(path: Path, field: str) -> bytes:
    """Return what a file of the settings holds now; `SecretsUnavailable` where it cannot be read."""
    try:
        return read_small(path)
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise SecretsUnavailable(f"{field} {path} cannot be read ({reason})") from None
    except ValueError as error:
        raise SecretsUnavailable(f"{field} {path} cannot be read ({error})") from None


def read_credential(path: Path, field: str, learn: Callable[[str], None]) -> str:
    """Return a token or the like from its file, unknown to whoever reads our logs."""
    text = read_bytes(path, field).decode("utf-8", "replace").strip()
    if not text or not text.isascii() or not text.isprintable():
        raise SecretsUnavailable(f"{field} {path} holds no credential")
    learn(text)
    return text


def _context(trusts: bytes) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=trusts.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise SecretsUnavailable("ca_file holds no certificates in PEM form") from None


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return a whole body; it comes in pieces, as the network has them."""
    data = bytearray()
    async for piece in content.iter_any():
        data += piece
        if len(data) > _LARGEST_BYTES:
            raise SecretsUnavailable("its answer is too large to be a secret")
    return bytes(data)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def setting_error(field: str, words: str) -> InvalidSettings:
    """Return the error of a store's setting."""
    return InvalidSettings(f"host.secrets.stores: {field}: {words}", field=f"host.secrets.stores.{field}")
