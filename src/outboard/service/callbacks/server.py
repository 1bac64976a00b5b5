"""The port that platforms call: HTTP, one request per connection, and little of everything.

Anybody on the network may write to it, so all of it is bounded: how many connections there are, how long one may last (from its
first byte to its last, however slowly they come), how large headers and bodies are, and how many requests a second are read at
all. Who is over a bound is answered 413 or 429, or cut off. Answers are constants: they tell a forger nothing, and a platform
whether to send it again. Bodies are taken as they came: nothing is decompressed, since signatures are over what was sent.

The parser is aiohttp's. TLS ends here where the service has a certificate, else at the ingress that makes this port reachable
at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from outboard.agent.callbacks import Callback
from outboard.errors import InvalidSettings
from outboard.host.budgets.buckets import Meter
from outboard.host.logs import TaskLog

PREFIX: Final = "/callbacks/"
MOST_BYTES: Final = 1024 * 1024
MOST_CONNECTIONS: Final = 256
LONGEST_S: Final = 15.0
"""For all of a request. Platforms send some kilobytes at once and give up after 5 to 30 s themselves."""
_LINGERING_S: Final = 2.0
_HANDSHAKE_S: Final = 5.0
"""For the TLS handshake, before the time above begins."""
_LONGEST_NAME: Final = 200
_MOST_HEADERS: Final = 100
PER_SECOND: Final = 500.0
BURST: Final = 2000
"""Requests that are read at all: some 0.3 ms each beside the calls of engines, which must not wait for strangers."""
_PHRASES: Final = MappingProxyType(
    {
        200: "taken\n",
        400: "not a request\n",
        401: "not verified\n",
        404: "not here\n",
        405: "POST only\n",
        413: "too large\n",
        429: "too many\n",
        500: "not taken\n",
        503: "not now\n",
    }
)
_SERVER: Final = MappingProxyType({"Server": "outboard"})
"""In place of aiohttp's, which tells strangers its version and Python's."""
_HEADERS: Final = MappingProxyType(
    {
        # Who sends Basic credentials only when it is asked for them (SNS does) must be asked.
        401: {"WWW-Authenticate": 'Basic realm="callbacks"'},
        405: {"Allow": "POST"},
        429: {"Retry-After": "10"},
        503: {"Retry-After": "10"},
    }
)

Answer = Callable[[str, Callback], Awaitable[int]]
"""Takes the agent's name and the callback, and returns the status to answer."""


class CallbackServer:
    """Listens for callbacks.

    Args:
        host: Name or address to listen on.
        port: 0 lets the system choose; `port` tells which.
        answer: What is done with a callback.
        refused: Told the status of every request that never became a callback.
        is_shared: Whether sibling processes listen on the same port, and the system shares connections out.
        tls: What to speak TLS with; None is plain HTTP.
    """

    def __init__(
        self,
        host: str,
        port: int,
        answer: Answer,
        refused: Callable[[int], None],
        *,
        is_shared: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = port
        self._host = host.strip("[]")
        self._answer = answer
        self._refused = refused
        self._is_shared = is_shared
        self._tls = tls
        self._rate = Meter(PER_SECOND, BURST, time.monotonic())
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; `InvalidSettings` where that is not possible."""
        if self._host.startswith("unix:"):
            raise InvalidSettings(
                "callbacks need a host and a port, and this service listens on a Unix socket; leave callbacks_port out",
                field="callbacks_port",
            )
        loop = asyncio.get_running_loop()
        served = web.Server(self._handle)
        try:
            self._listener = await loop.create_server(
                lambda: _Connection(served, self._refused),
                self._host,
                self.port,
                reuse_port=self._is_shared or None,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_S if self._tls is not None else None,
            )
        except OSError as error:
            # asyncio puts the address into the words; errors of names have no number that `strerror` knows.
            words = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            reason = (words or "not possible").lower()
            raise InvalidSettings(
                f"cannot take callbacks on {self._host} port {self.port} ({reason}); choose another port",
                field="callbacks_port",
            ) from None
        self._web = served
        self.port = self._listener.sockets[0].getsockname()[1]

    async def close(self, grace_s: float) -> None:
        """Take no further connections, and give those that there are this long."""
        listener, self._listener = self._listener, None
        served, self._web = self._web, None
        if listener is not None:
            listener.close()
        if served is not None:
            served.pre_shutdown()
            await served.shutdown(min(grace_s, LONGEST_S))
        if listener is not None:
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(listener.wait_closed(), 1.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            status = await self._status(request)
        except (RequestPayloadError, web.HTTPRequestEntityTooLarge, ValueError) as error:
            status = 413 if isinstance(error, web.HTTPRequestEntityTooLarge) else 400
            self._refused(status)
        return _response(status)

    async def _status(self, request: web.BaseRequest) -> int:
        name = request.path.removeprefix(PREFIX)
        if name == request.path or not 0 < len(name) <= _LONGEST_NAME:
            status = 404
        elif request.method != "POST":
            status = 405
        elif not self._may_be_read():
            status = 429
        elif (request.content_length or 0) > MOST_BYTES:
            status = 413
        else:
            return await self._answer(name, await _callback(request))
        self._refused(status)
        return status

    def _may_be_read(self) -> bool:
        """Take one of the requests that may be read now; tell whether there was one."""
        now = time.monotonic()
        if self._rate.free_at(now) > now:
            return False
        self._rate.take(now)
        return True


async def _callback(request: web.BaseRequest) -> Callback:
    body = await request.read()
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        name = name.lower()  # noqa: PLW2901 - the same name, as we spell it
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Callback(body=body, headers=headers, query=dict(request.query))


class _Connection(RequestHandler):
    """A connection that lasts for one request and a bounded time, and never tells what went wrong."""

    def __init__(self, served: web.Server, refused: Callable[[int], None]) -> None:
        super().__init__(
            served,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # documented: "None disables"
            max_headers=_MOST_HEADERS,
            lingering_time=_LINGERING_S,
            auto_decompress=False,
        )
        self._served = served
        self._told_refused = refused
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        is_one_too_many = len(self._served.connections) >= MOST_CONNECTIONS
        super().connection_made(transport)
        if is_one_too_many:
            self._told_refused(429)
        limit_s = 0.0 if is_one_too_many else LONGEST_S
        self._limit = asyncio.get_running_loop().call_later(limit_s, self._cut_off)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def _cut_off(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and what we did not foresee, in constant words."""
        del request, message
        if status == 400 or isinstance(exc, ConnectionError):  # strangers break off as often as they like
            self._told_refused(400)
        else:
            TaskLog().error("callback not answered", error=type(exc).__name__)
        return _response(400 if status == 400 else 500)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Write no traceback: connections break, and what they brought is nobody's to read."""


def _response(status: int) -> web.Response:
    response = web.Response(status=status, text=_PHRASES[status], headers={**_SERVER, **_HEADERS.get(status, {})})
    response.force_close()
    return response
