"""The HTTP session for addresses that a task chose: `http.outward`.

It differs from the platform's own session in what a stranger could use it for:

* it connects to public addresses only, unless the operator allows more by `host.egress` (see `domain.egress`). The check lies
  where a socket is made, on the very address that it is connected to: no spelling of a host and no second answer of a name's
  server gets around it;
* it sends none of the session's headers, where a platform's login would be, knows no login of ours, and keeps no cookies;
* it reads a bounded answer, also where that is compressed;
* a redirect is no answer, as for every platform; who asks for it (`takes_redirects`) has what it names checked when it is asked.

An address that is refused is the task's fault: `Rejected`, with nothing sent.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from outboard.agent.error_map import ErrorMap
from outboard.agent.http import Http
from outboard.agent.platform_calls import Fact, http_facts
from outboard.agent.spending import Budget
from outboard.domain.egress import Egress
from outboard.errors import Rejected, Sent

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MOST_BYTES: Final = 16 * 1024 * 1024
_PIECE: Final = 64 * 1024
_SHOWN: Final = 100
_SCHEMES: Final = ("http", "https")


class _Inside(PermissionError):
    """The address is not for tasks."""


class OutwardHttp(Http):
    """A session for addresses that tasks choose.

    Args:
        budget: Where calls are paid from.
        errors: The platform's error map.
        egress: What the operator allows.
    """

    def __init__(self, *, budget: Budget, errors: ErrorMap, egress: Egress) -> None:
        super().__init__(budget=budget, errors=errors, egress=egress)
        self._sessions: dict[bool, ClientSession] = {}

    @property
    def outward(self) -> Http:
        """This session."""
        return self

    async def close(self) -> None:
        """Close the session; it opens again when it is used again."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()
        await super().close()

    def _open_session(self, url: str) -> ClientSession:
        from aiohttp import ClientSession, DummyCookieJar, TCPConnector  # noqa: PLC0415 - services without HTTP platforms never load it

        is_trusted = self._egress.trusts(_host_of(url))
        session = self._sessions.get(is_trusted)
        if session is None or session.closed:
            connector = TCPConnector() if is_trusted else TCPConnector(socket_factory=self._socket)
            # One task's cookies are none of another's, who may ask the same host.
            session = self._sessions[is_trusted] = ClientSession(connector=connector, cookie_jar=DummyCookieJar())
        return session

    def _facts(self, verb: str, url: str) -> Mapping[str, Fact]:
        """Return a request's attributes: an address that a task chose is its input, so only the host of it is told."""
        return http_facts(verb, urlsplit(url)._replace(path="/").geturl())

    def _socket(self, where: Any) -> socket.socket:
        """Return a socket for an address that may be reached; aiohttp connects it to that address and no other."""
        family, kind, protocol, _, address = where
        if not self._egress.reaches(str(address[0])):
            raise _Inside("not for tasks")
        return socket.socket(family, kind, protocol)

    async def _read(self, answer: ClientResponse) -> bytes:
        """Return an answer's body; one that is too large is given up at once, whatever it says its size is."""
        pieces, size = [], 0
        async for piece in answer.content.iter_chunked(_PIECE):
            size += len(piece)
            if size > MOST_BYTES:
                answer.close()
                raise Rejected(
                    f"the address that the task names answered more than {MOST_BYTES:,} bytes; let it answer less",
                    sent=Sent.YES,
                )
            pieces.append(piece)
        return b"".join(pieces)

    def _transport_error(self, error: Exception) -> Exception:
        from aiohttp import ClientConnectorError, InvalidURL  # noqa: PLC0415 - see above

        if isinstance(error, InvalidURL):
            return _no_address()
        if isinstance(error, ClientConnectorError) and isinstance(error.os_error, _Inside):
            return Rejected(
                f"the address that the task names leads to {error.host[:_SHOWN]}, which is not for tasks (a private, loopback "
                "or link-local network); the operator allows it by host.egress.allow_hosts or allow_networks",
                sent=Sent.NO,
            )
        return super()._transport_error(error)


def _host_of(url: str) -> str:
    """Return the host that a URL leads to, as aiohttp reads it; `Rejected` where it is none that a task may name."""
    from yarl import URL  # noqa: PLC0415 - aiohttp's own, see above

    try:
        found = URL(url)
        host, is_bare = found.raw_host, found.raw_user is None and found.raw_password is None
    except (ValueError, TypeError):
        raise _no_address() from None
    if found.scheme not in _SCHEMES or not host or not is_bare:
        raise _no_address()
    return host


def _no_address() -> Rejected:
    return Rejected(
        "the address that the task names is none that can be asked; write https://host/path, without a user or password",
        sent=Sent.NO,
    )
