"""A platform over HTTP: the ledger behind a real socket, with every fault of the plan on the wire.

The reference API is small and honest::

    POST /jobs                       {"name"?, "labels"?, "course"?, "output_prefix"?}, header Idempotency-Key?
    GET  /jobs/{id}
    GET  /jobs?ids=a,b               {"jobs": [...]}; those that are known
    GET  /jobs?label=name=value      {"jobs": [...]}; late where the ledger's rules say so
    POST /jobs/{id}/cancel
    GET  /jobs/{id}/outputs          {"outputs": {...}}
    GET  /jobs/{id}/logs             {"lines": [[unix time, text], ...]}

Authors fake their own platform with the same machinery: pass routes, or subclass and override `routes`, and mark each
handler with `operation("create")`. One middleware counts every call of a marked handler, asks the plan about it and acts the
fault around it; unmarked handlers are left alone. A handler's work is the effect, its answer the reply. What comes before the
work of any handler, who calls and whether there is room for one more call, belongs into `admit`. Whatever is not to be
answered as asked raises a `Refusal`.

The server runs in the caller's event loop (`async with`) or, for SDKs that block, in a thread of its own (`with`). It
listens on the loopback interface, on a port that the system chose and that stays reserved while it is in an outage.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from email.utils import formatdate
from types import TracebackType
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import ValidationError
from typing_extensions import Self

from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Course, Ledger, NameTaken, NoSuchJob
from outboard.testing.ledger_files import JobFiles, Writes
from outboard.testing.meters import Meter
from outboard.testing.wire_faults import Handler, meet, refuse

HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[web.StreamResponse]])
T = TypeVar("T")
Told = str | Callable[[web.Request], str]

_HOST: Final = "127.0.0.1"
_STOPPING_S: Final = 0.1
_STEPS_OF_ACCEPTANCE: Final = 3
_LARGEST_BODY_BYTES: Final = 64 * 1024 * 1024
_MARK: Final = "outboard_operation"


class Refusal(Exception):
    """Raised by `admit` or by a marked handler: the call is answered so, and nothing more is done.

    Args:
        answer: The error as the platform writes it.
    """

    def __init__(self, answer: web.Response) -> None:
        super().__init__(answer.text)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a handler is called: by the fault plan, and by the platform."""

    operation: Told
    method: Told

    def of(self, request: web.Request) -> tuple[str, str]:
        operation, method = (told if isinstance(told, str) else told(request) for told in (self.operation, self.method))
        return operation, method


def operation(name: Told, *, method: Told | None = None) -> Callable[[HandlerT], HandlerT]:
    """Mark a handler as an operation of the fault plan.

    Args:
        name: The operation, or a function that tells it from the request, where one address serves several.
        method: The platform's own word for such a call, by which calls are counted and metered; the operation when None.
    """

    def mark(handler: HandlerT) -> HandlerT:
        setattr(handler, _MARK, _Mark(name, name if method is None else method))
        return handler

    return mark


class PlatformServer:
    """Serves a ledger over HTTP, with faults; subclass it to fake another platform.

    Args:
        ledger: The platform's jobs; a new one when None.
        faults: Which call meets which fault.
        routes: Served beside the server's own.
        stores: Where jobs write whose course says `writes_files`.
        meter: How often it lets itself be called; as often as anybody likes when None.

    Attributes:
        calls: How often each method was called.
        throttled: How often a method was refused since it was called too often.

    >>> with PlatformServer() as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        ledger: Ledger | None = None,
        faults: FaultPlan | None = None,
        *,
        routes: Iterable[web.RouteDef] = (),
        stores: Writes | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.ledger = ledger if ledger is not None else Ledger()
        self.faults = faults if faults is not None else FaultPlan()
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self._meter = meter
        self._more_routes = tuple(routes)
        self._files = JobFiles(self.ledger, stores) if stores is not None else None
        self._reserved: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.SockSite | None = None
        self._thread: _ServingThread | None = None

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what is served: the reference API. Override it to fake another platform."""
        return (
            web.post("/jobs", self._create),
            web.get("/jobs", self._list),
            web.get("/jobs/{id}", self._get),
            web.post("/jobs/{id}/cancel", self._cancel),
            web.get("/jobs/{id}/outputs", self._fetch),
            web.get("/jobs/{id}/logs", self._logs),
        )

    def admit(self, request: web.Request, method: str) -> None:
        """Let a call of a marked handler in, or raise a `Refusal`. Override it where it matters who calls, or how often."""

    def has_room(self, method: str) -> bool:
        """Say whether one more call of a method is served; one that is not counts as throttled."""
        if self._meter is None or self._meter.takes(method):
            return True
        self.throttled[method] += 1
        return False

    async def answer(self, request: web.Request, method: str, handler: Handler) -> web.StreamResponse:
        """Answer a call: let it in, and do what it asks for."""
        try:
            self.admit(request, method)
            return await handler(request)
        except Refusal as refusal:
            return refusal.answer

    @property
    def port(self) -> int:
        """The port; the same over outages."""
        if self._reserved is None:
            raise RuntimeError("the server is not running; enter it with `async with` or `with`")
        port: int = self._reserved.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"http://{_HOST}:{self.port}"

    def outage(self) -> Outage:
        """Return a context manager in which connections are refused, and existing ones are reset.

        Enter it with `async with` in the server's own event loop, with `with` where the server runs in a thread.
        """
        return Outage(self)

    async def start(self) -> None:
        """Start to serve, in this event loop."""
        self._reserved = _bound_socket(0)
        self._closing = asyncio.Event()
        app = web.Application(middlewares=[self._meet_faults], client_max_size=_LARGEST_BODY_BYTES)
        app.router.add_routes([*self.routes(), *self._more_routes])
        app.on_response_prepare.append(self._set_date)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=_STOPPING_S)
        await self._runner.setup()
        await self._listen()

    async def stop(self) -> None:
        """Stop to serve; what hangs is ended."""
        self._closing.set()
        await self._deafen()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._reserved is not None:
            self._reserved.close()
        self._runner = self._site = self._reserved = None

    async def disconnect(self) -> None:
        """Refuse connections from now on, and reset those that exist."""
        if self._runner is None or self._runner.server is None:
            return
        await self._deafen()
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def reconnect(self) -> None:
        """Accept connections again, at the same port."""
        if self._site is None:
            await self._listen()

    def run_in_thread(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something in the event loop of a server that serves in a thread, and return its result."""
        if self._thread is None:
            coroutine.close()
            raise RuntimeError("the server does not run in a thread; enter it with `with`")
        return self._thread.run(coroutine)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self._thread = _ServingThread()
        self._thread.run(self.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run_in_thread(self.stop())
        if self._thread is not None:
            self._thread.end()
        self._thread = None

    async def _listen(self) -> None:
        if self._runner is None:
            raise RuntimeError("the server is not running; enter it with `async with` or `with`")
        self._listener = _bound_socket(self.port)
        self._site = web.SockSite(self._runner, self._listener)
        await self._site.start()

    async def _deafen(self) -> None:
        """Accept no more connections; those that were accepted a moment ago are made first."""
        if self._site is None:
            return
        # asyncio forgets a connection whose server closes between its acceptance and its making, and leaks its socket.
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        for _ in range(_STEPS_OF_ACCEPTANCE):
            await asyncio.sleep(0)
        await self._site.stop()
        self._site = None

    async def _set_date(self, request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG002 - aiohttp's signal
        response.headers["Date"] = formatdate(self.ledger.now, usegmt=True)

    @web.middleware
    async def _meet_faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        mark: _Mark | None = getattr(request.match_info.handler, _MARK, None)
        if mark is None:
            return await handler(request)
        body = await request.read()
        name, method = mark.of(request)
        self.calls[method] += 1

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self.answer(request, method, handler)

        fault = self.faults.strike(
            name, lambda: f"{request.raw_path}\n{_header_text(request)}\n{body.decode('utf-8', 'replace')}"
        )
        if fault is None:
            return await answer(request)
        return await meet(fault, request, answer, self._closing)

    @operation("create")
    async def _create(self, request: web.Request) -> web.Response:
        token = request.headers.get("Idempotency-Key", "")
        try:
            asked = await request.json()
            course = Course.model_validate(asked.get("course", {}))
            labels = {str(name): str(value) for name, value in asked.get("labels", {}).items()}
            name, prefix = str(asked.get("name", "")), str(asked.get("output_prefix", ""))
        except (ValueError, AttributeError, ValidationError):
            return refuse(400, "INVALID_ARGUMENT", "the body is no job; see the API")
        try:
            view = self.ledger.create(token=token, name=name, labels=labels, course=course, output_prefix=prefix)
        except NameTaken as error:
            return refuse(409, "ALREADY_EXISTS", str(error))
        return web.json_response(view.to_json(), status=201)

    @operation(lambda request: "find" if "label" in request.query else "get_many")
    async def _list(self, request: web.Request) -> web.Response:
        label, _, value = request.query.get("label", "").partition("=")
        ids = [each for each in request.query.get("ids", "").split(",") if each]
        views = self.ledger.find(label, value) if label else self.ledger.get_many(ids)
        return web.json_response({"jobs": [view.to_json() for view in views]})

    @operation("get")
    async def _get(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        if self._files is not None:
            await self._files.write(job_id)
        view = self.ledger.get(job_id)
        return _no_job(job_id) if view is None else web.json_response(view.to_json())

    @operation("cancel")
    async def _cancel(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        try:
            self.ledger.cancel(job_id)
        except NoSuchJob:
            return _no_job(job_id)
        return web.json_response({}, status=202)

    @operation("fetch")
    async def _fetch(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        try:
            return web.json_response({"outputs": dict(self.ledger.fetch(job_id))})
        except NoSuchJob:
            return _no_job(job_id)

    @operation("logs")
    async def _logs(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        try:
            return web.json_response({"lines": self.ledger.logs(job_id)})
        except NoSuchJob:
            return _no_job(job_id)


class Outage(AbstractAsyncContextManager[None], AbstractContextManager[None]):
    """While it is entered, connections to a server are refused."""

    def __init__(self, server: PlatformServer) -> None:
        self._server = server

    async def __aenter__(self) -> None:
        await self._server.disconnect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.reconnect()

    def __enter__(self) -> None:
        self._server.run_in_thread(self._server.disconnect())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.run_in_thread(self._server.reconnect())


class _ServingThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="platform server", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _bound_socket(port: int) -> socket.socket:
    # SO_REUSEPORT lets the listener and the socket that reserves the port share it; only one of them listens.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((_HOST, port))
    return bound


def _header_text(request: web.Request) -> str:
    return "\n".join(f"{name}: {value}" for name, value in request.headers.items())


def _no_job(job_id: str) -> web.Response:
    return refuse(404, "NOT_FOUND", f"there is no job {job_id}")
