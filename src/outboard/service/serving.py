"""Serving: the socket, the signals and the end.

The end has three steps. On SIGTERM or SIGINT health turns NOT_SERVING at once, while calls are still answered for `linger_s`,
so that a load balancer has time to notice. Then no call is taken any more (clients get GOAWAY and go to another replica), and
those in flight have `drain_s` to finish. Then the host ends its background work and releases its clients. A second signal
ends the process where it stands, with the code that shells expect (128 + signal).

gRPC's own server is used bare: no interceptors, one table of handlers by method.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import grpc
from typing_extensions import Self

from outboard.errors import InvalidSettings
from outboard.host.logs import TaskLog
from outboard.service.edge import Edge, ServedHost
from outboard.service.handlers import SERVICES, Handlers
from outboard.service.health import HEALTH_SERVICE, Health
from outboard.service.metrics import CallMetrics, MetricsServer
from outboard.service.reflection import Reflection
from outboard.service.settings import ServiceSettings, address
from outboard.service.watchdog import Watchdog

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Service:
    """A gRPC server around a host, for as long as the `async with` block lasts.

    Args:
        host: What is served. It stays open at the end; whoever made it closes it.
        settings: What the operator decided.

    Raises:
        InvalidSettings: The port is taken, or the host name is none of this machine's.
    """

    def __init__(self, host: ServedHost, settings: ServiceSettings | None = None) -> None:
        self.host = host
        self.settings = settings if settings is not None else ServiceSettings()
        self.port = 0
        self.agents: tuple[str, ...] = ()
        self._log = TaskLog()
        self._health: Health | None = None
        self._reflection: Reflection | None = None
        self._server: grpc.aio.Server | None = None
        self._watchdog: Watchdog | None = None
        self._metrics_server: MetricsServer | None = None

    @property
    def address(self) -> str:
        """Where it answers."""
        return address(self.settings.host, self.port)

    @property
    def metrics_port(self) -> int | None:
        """Where Prometheus may scrape; None when nobody asked for it."""
        return self._metrics_server.port if self._metrics_server else None

    async def __aenter__(self) -> Self:
        agents = await self.host.list_agents()
        self.agents = tuple(sorted(agent.name for agent in agents))
        task_types = {task_type.name for agent in agents for task_type in agent.task_types}
        self._health = Health(self.agents, self.host.failures)
        edge = Edge(self.host, CallMetrics(task_types), self.settings.max_calls)
        handlers = Handlers(edge, self.settings).by_method()
        self._reflection = Reflection((*SERVICES, HEALTH_SERVICE))
        server = grpc.aio.server(options=self.settings.channel_options())
        server.add_generic_rpc_handlers(
            (_Table({**handlers, **self._health.by_method(), **self._reflection.by_method()}),)
        )
        self.port = _listen(server, self.settings)
        if self.settings.metrics_port is not None:
            self._metrics_server = MetricsServer(self.settings.host, self.settings.metrics_port)
        await server.start()
        self._server = server
        self._watchdog = Watchdog()
        self._watchdog.start()
        for failure in self.host.failures:
            self._log.warning("platform not loaded", source=failure.source, reason=failure.reason)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop(0)

    async def drain(self) -> None:
        """Turn NOT_SERVING, linger, and let the calls in flight finish."""
        if self._health is not None:
            self._health.drain()
        if self._reflection is not None:
            self._reflection.drain()
        await asyncio.sleep(self.settings.linger_s)
        await self._stop(self.settings.drain_s)

    def describe(self) -> str:
        """Return one line for people: where, what, and what could not be loaded."""
        count = len(self.agents)
        line = f"outboard serves {count} agent{'' if count == 1 else 's'} on {self.address}"
        if self.agents:
            line += f": {', '.join(self.agents)}"
        failures = [f"{failure.source} ({failure.reason})" for failure in self.host.failures]
        return f"{line}; not loaded: {'; '.join(failures)}" if failures else line

    async def _stop(self, grace_s: float) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s)
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        if self._metrics_server is not None:
            self._metrics_server.close()
            self._metrics_server = None


async def run_service(
    host: ServedHost, settings: ServiceSettings | None = None, *, on_ready: Callable[[Service], None] | None = None
) -> int:
    """Serve until SIGTERM or SIGINT, drain, close the host, and return the process's exit code, 0.

    Args:
        host: What is served; it is closed at the end.
        settings: What the operator decided.
        on_ready: Called once with the service when it answers; without one, a line is written to stderr.

    Raises:
        InvalidSettings: It cannot listen there.
    """
    try:
        async with Service(host, settings) as service:
            with _signals() as told_to_end:
                (on_ready or _announce)(service)
                name = await told_to_end
                service._log.info("draining", signal=name, linger_s=service.settings.linger_s)  # noqa: SLF001 - same module
                await service.drain()
                await _close(host, service)
    except BaseException:
        await host.close()
        raise
    return 0


def serve(open_host: Callable[[], Awaitable[ServedHost]], settings: ServiceSettings | None = None) -> int:
    """Serve on an event loop of its own (uvloop where there is one) until told to end; return the exit code.

    Args:
        open_host: Makes the host, inside the loop.
        settings: What the operator decided.
    """

    async def run() -> int:
        return await run_service(await open_host(), settings)

    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(run())
    return uvloop.run(run())


class _Table:
    """All handlers by full method name: one look-up per call. Has the shape of `grpc.GenericRpcHandler`."""

    def __init__(self, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def _listen(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    try:
        port: int = server.add_insecure_port(settings.address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise InvalidSettings(
            f"cannot listen on {settings.address} ({_obstacle(settings)}); choose another host or port", field="port"
        )
    return port


def _obstacle(settings: ServiceSettings) -> str:
    """Return why a port cannot be listened on; gRPC does not tell, the system does."""
    try:
        found = socket.getaddrinfo(settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, where in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(where)
                probe.listen()
    except OSError as error:
        return (error.strerror or "not possible").lower()
    return "not possible"


def _announce(service: Service) -> None:
    sys.stderr.write(service.describe() + "\n")
    sys.stderr.flush()


@contextlib.contextmanager
def _signals() -> Iterator[asyncio.Future[str]]:
    """Give a future that the first signal fulfils with its name; the second signal ends the process."""
    loop = asyncio.get_running_loop()
    told_to_end: asyncio.Future[str] = loop.create_future()

    def receive(number: signal.Signals) -> None:
        if told_to_end.done():
            sys.stderr.flush()
            os._exit(128 + number)
        told_to_end.set_result(number.name)

    for number in _SIGNALS:
        loop.add_signal_handler(number, receive, number)
    try:
        yield told_to_end
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _close(host: ServedHost, service: Service) -> None:
    """Close the host within `drain_s`; what takes longer is given up, and said."""
    try:
        await asyncio.wait_for(host.close(), max(service.settings.drain_s, 1.0))
    except asyncio.TimeoutError:
        TaskLog().error("background work did not end in time", drain_s=service.settings.drain_s)
