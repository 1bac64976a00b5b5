"""A small HTTP server in a thread of its own, for pages that must answer while the service itself does not.

Anybody on the network may write to it, so all of it is bounded: a connection brings one request, within `READING_S`, with a
head and a body of a few kilobytes, and is over after `LONGEST_S`, whether its answer was read or not. There are at most
`MOST_CONNECTIONS`; one more takes the place of the oldest that has not brought its request yet, so that a probe gets through
however many others only sit there. Connections are events and not threads; pages that work for their answer (metrics that other
processes are asked for) do it in `MOST_WORKING` daemon threads, which nobody waits for at the end.

Standard library alone: `http.server` has a thread per connection and no limit on how long one may take, and aiohttp's server
costs a service that needs it for nothing else its start and some megabytes. The parser of headers is `http.client`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import Final
from urllib.parse import parse_qs

from outboard.errors import InvalidSettings
from outboard.host.logs import TaskLog

READING_S: Final = 5.0
"""For all of a request; kubelet and Prometheus send theirs at once."""
LONGEST_S: Final = 20.0
MOST_CONNECTIONS: Final = 128
MOST_WORKING: Final = 4
MOST_HEAD_BYTES: Final = 8 * 1024
MOST_BODY_BYTES: Final = 4 * 1024
MOST_HEADERS: Final = 100
TEXT: Final = "text/plain; charset=utf-8"
JSON: Final = "application/json"
_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asks.

    Attributes:
        method: `GET` also where it was `HEAD`.
        query: What stands behind the question mark.
        headers: By lower-case name; of several with one name the last.
        peer: The address that it came from.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What answers a path.

    Attributes:
        by_method: Returns the answer, by method.
        is_quick: Whether it is answered from memory; else in a thread.
    """

    by_method: Mapping[str, Callable[[Request], Answer]]
    is_quick: bool = False


def plain(status: int, words: str, **headers: str) -> Answer:
    """Return an answer of one line."""
    return Answer(status=status, body=f"{words}\n".encode(), headers=headers)


class HttpServer:
    """Answers pages on a port, from its making until `close`.

    Args:
        host: Name or address to listen on.
        port: 0 lets the system choose; `port` tells which.
        pages: By path; `""` answers every other one.
        setting: Which setting the port is, for errors.
        ssl_context: For TLS; every handshake takes it as it is then.

    Raises:
        InvalidSettings: It cannot listen there.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pages: Mapping[str, Page],
        *,
        setting: str,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._pages = pages
        self._ssl_context = ssl_context
        self._socket = _listen(host, port, setting)
        self.port: int = self._socket.getsockname()[1]
        self.loop = asyncio.SelectorEventLoop()
        self._connections: dict[_Connection, None] = {}
        self._working = asyncio.Semaphore(MOST_WORKING)
        self._thread = threading.Thread(target=self._serve, name=f"outboard-{setting}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port and all connections."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(READING_S)

    def _serve(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        opening = loop.create_task(loop.create_server(lambda: _Connection(self), sock=self._socket))
        try:
            loop.run_forever()
        finally:
            if opening.done():
                opening.result().close()
            else:
                self._socket.close()  # whoever opened it closed it at once, since something else failed
            for connection in list(self._connections):
                connection.cut_off()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    def admit(self, connection: _Connection) -> bool:
        """Take a connection in, if need be in place of another; tell whether there was room."""
        if len(self._connections) >= MOST_CONNECTIONS:
            idle = next((each for each in self._connections if not each.is_answering), None)
            if idle is None:
                return False
            self.forget(idle)
            idle.cut_off()
        self._connections[connection] = None
        return True

    def forget(self, connection: _Connection) -> None:
        """Give a connection's place free."""
        self._connections.pop(connection, None)

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """For TLS."""
        return self._ssl_context

    def find(self, request: Request) -> Callable[[Request], Answer] | Answer:
        """Return what answers a request: a function that may take its time, or the answer."""
        page = self._pages.get(request.path) or self._pages.get("")
        if page is None:
            return plain(404, "not here; there is " + ", ".join(sorted(self._pages)))
        answer = page.by_method.get(request.method)
        if answer is None:
            return plain(405, "not this method", Allow=", ".join(sorted({*page.by_method, "HEAD"})))
        return _safely(answer, request) if page.is_quick else answer

    async def work(self, answer: Callable[[Request], Answer], request: Request) -> Answer:
        """Have an answer made in a thread."""
        await self._working.acquire()
        made: asyncio.Future[Answer] = self.loop.create_future()

        def finish(found: Answer) -> None:
            self._working.release()  # by the thread, which may outlive who asked
            if not made.done():
                made.set_result(found)

        def run() -> None:
            found = _safely(answer, request)
            with contextlib.suppress(RuntimeError):  # the port is closed
                self.loop.call_soon_threadsafe(finish, found)

        try:
            threading.Thread(target=run, name="outboard-page", daemon=True).start()
        except RuntimeError:  # no thread is to be had
            finish(plain(503, "not now"))
        return await made


class _Connection(asyncio.Protocol):
    """A connection: one request, one answer, a bounded time."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._read = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._peer = ""
        self._is_secure = server.ssl_context is None
        self.is_answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio hands over
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._server.admit(self):
            transport.abort()
            return
        self._within(READING_S)
        if self._server.ssl_context is not None:
            transport.pause_reading()
            self._task = self._server.loop.create_task(self._secure(transport, self._server.ssl_context))

    async def _secure(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        try:
            self._transport = await self._server.loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=READING_S
            )
        except (OSError, asyncio.TimeoutError):  # strangers come without TLS, or break off
            transport.abort()
            self._leave()  # nobody else says that it is over
        else:
            self._is_secure = True
            self.data_received(b"")  # a request that came with the end of the handshake

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._leave()
        if self._task is not None:
            self._task.cancel()

    def _leave(self) -> None:
        self._server.forget(self)
        if self._limit is not None:
            self._limit.cancel()

    def eof_received(self) -> bool:
        return self.is_answering  # who says nothing more may still listen

    def data_received(self, data: bytes) -> None:
        if self.is_answering:
            return
        self._read += data
        if not self._is_secure:
            return  # answered by nobody until it can be answered in TLS
        head, end, body = self._read.partition(_END)
        if len(head) > MOST_HEAD_BYTES:
            self._answer(plain(431, "too long a head"))
        elif end:
            self._take(bytes(head), bytes(body))

    def cut_off(self) -> None:
        """End the connection where it stands."""
        if self._transport is not None:
            self._transport.abort()

    def _within(self, seconds: float) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self._server.loop.call_later(seconds, self.cut_off)

    def _take(self, head: bytes, body: bytes) -> None:
        try:
            method, target, headers = _parse(head)
            path, _, query = target.partition("?")
            asked = parse_qs(query, max_num_fields=100)
            length = int(headers.get("content-length", "0")) if headers.get("content-length", "0").isdecimal() else -1
        except (ValueError, HTTPException):
            self._answer(plain(400, "not a request"))
            return
        if length < 0 or "transfer-encoding" in headers:
            self._answer(plain(411, "give the length of the body"))
        elif length > MOST_BODY_BYTES:
            self._answer(plain(413, "too large"))
        elif len(body) >= length:
            request = Request(
                method="GET" if method == "HEAD" else method,
                path=path,
                query=asked,
                headers=headers,
                body=body[:length],
                peer=self._peer,
            )
            self._ask(request, has_body=method != "HEAD")

    def _ask(self, request: Request, *, has_body: bool) -> None:
        self.is_answering = True
        self._within(LONGEST_S)
        found = self._server.find(request)
        if isinstance(found, Answer):
            self._answer(found, has_body=has_body)
        else:
            self._task = self._server.loop.create_task(self._answer_later(found, request, has_body=has_body))

    async def _answer_later(self, answer: Callable[[Request], Answer], request: Request, *, has_body: bool) -> None:
        self._answer(await self._server.work(answer, request), has_body=has_body)

    def _answer(self, answer: Answer, *, has_body: bool = True) -> None:
        self.is_answering = True
        if self._transport is None:
            return
        self._transport.write(_head(answer) + (answer.body if has_body else b""))
        self._transport.close()


def _parse(head: bytes) -> tuple[str, str, Mapping[str, str]]:
    line, _, rest = head.partition(b"\r\n")
    method, target, version = line.decode("ascii").split(" ")
    if not version.startswith("HTTP/1.") or not target.startswith("/"):
        raise ValueError
    if rest.count(b"\r\n") >= MOST_HEADERS:  # `http.client` has a limit too, which libraries of agents raise for all
        raise ValueError
    found = parse_headers(io.BytesIO(rest + _END))
    return method, target, {name.lower(): str(value) for name, value in found.items()}


def _head(answer: Answer) -> bytes:
    fields = {
        "Content-Type": answer.content_type,
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        "Server": "outboard",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}", *(f"{k}: {v}" for k, v in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii", "replace")


def _safely(answer: Callable[[Request], Answer], request: Request) -> Answer:
    try:
        return answer(request)
    except Exception as error:  # noqa: BLE001 - a page that breaks must not take the port with it, nor tell why
        TaskLog().error("admin page failed", path=request.path[:100], error=type(error).__name__)
        return plain(500, "not answered; the log says why")


def _listen(host: str, port: int, setting: str) -> socket.socket:
    if host.startswith("unix:"):
        raise InvalidSettings(
            f"{setting} needs a host and a port, and this service listens on a Unix socket; leave it out", field=setting
        )
    try:
        family, _, _, _, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(MOST_CONNECTIONS)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        words = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise InvalidSettings(
            f"cannot serve {setting.removesuffix('_port')} on {host} port {port} ({words or 'not possible'}); "
            "choose another port",
            field=setting,
        ) from None
    listening.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return listening
