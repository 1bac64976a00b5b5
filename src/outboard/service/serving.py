"""Serving: the socket, what answers at it, and the end.

The end has three steps. On SIGTERM or SIGINT health turns NOT_SERVING at once, while calls are still answered for `linger_s`,
so that a load balancer has time to notice. Then no call is taken any more (clients get GOAWAY and go to another replica), and
those in flight have `drain_s` to finish. Then the host ends its background work and releases its clients. All of it is bounded
(see `ending`); `running` is what begins and ends it.

Isolated platforms have a child each (see `isolation`): up before the first call is taken, and drained beside the host.

With `processes` above one, a `Service` is one of several on a port, and a parent has started them (see `processes`).

gRPC's own server is used bare: no interceptors, one table of handlers by method.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
from prometheus_client import REGISTRY
from prometheus_client.registry import Collector
from typing_extensions import Self

from outboard.agent.registry import LoadFailure
from outboard.domain.endpoints import AgentInfo
from outboard.host.logs import TaskLog
from outboard.service import grpc_threads
from outboard.service.closing import bounded, close_host
from outboard.service.departure import stop_listening
from outboard.service.dialects import SERVICES
from outboard.service.edge import Edge
from outboard.service.ending import CLOSING_S
from outboard.service.flyte2 import LateHandlers
from outboard.service.handlers import Handlers
from outboard.service.health import HEALTH_SERVICE, Health
from outboard.service.listening import Listening, listen
from outboard.service.methods import Methods
from outboard.service.metrics import CallMetrics, MetricsServer
from outboard.service.openness import tell_if_open
from outboard.service.readiness import readiness_line
from outboard.service.reflection import Reflection
from outboard.service.served_host import ServedHost
from outboard.service.settings import ServiceSettings, address
from outboard.service.sync_calls import SyncCalls
from outboard.service.watchdog import Watchdog

if TYPE_CHECKING:
    from outboard.service.access.access import Access
    from outboard.service.callbacks.point import CallbackPoint
    from outboard.service.isolation import Isolation
    from outboard.service.supervision.child import ChildSpec
    from outboard.service.tls.keeper import TlsKeeper


_STOPPING_S: Final = 2.0
"""What gRPC may need to let go of calls whose time is over."""


class Service:
    """A gRPC server around a host, for as long as the `async with` block lasts.

    Args:
        host: What is served. It stays open at the end; whoever made it closes it.
        settings: What the operator decided.
        isolated: Platforms that run in a process of their own each.

    Attributes:
        listed: The agents that are served.
        metrics: What Prometheus may read, isolated platforms' processes included.
        on_called_back: Called with an agent's name and ids of jobs that a callback was about: siblings may follow them too.

    Raises:
        InvalidSettings: The port is taken, or the host name is none of this machine's.
    """

    def __init__(
        self, host: ServedHost, settings: ServiceSettings | None = None, *, isolated: Sequence[ChildSpec] = ()
    ) -> None:
        self.host = host
        self._isolated = isolated
        self._isolation: Isolation | None = None
        self.settings = settings if settings is not None else ServiceSettings()
        self._listening = Listening()
        self.listed: Sequence[AgentInfo] = ()
        self._log = TaskLog()
        self._health: Health | None = None
        self._reflection: Reflection | None = None
        self._server: grpc.aio.Server | None = None
        self._watchdog: Watchdog | None = None
        self._metrics_server: MetricsServer | None = None
        self._callbacks: CallbackPoint | None = None
        self._tls: TlsKeeper | None = None
        self._access: Access | None = None
        self.on_called_back: Callable[[str, Sequence[str]], None] | None = None
        self.metrics: Collector = REGISTRY

    @property
    def _is_worker(self) -> bool:
        return self.settings.processes > 1

    @property
    def port(self) -> int:
        """Where it listens, once it does."""
        return self._listening.port

    @property
    def address(self) -> str:
        """Where it answers."""
        return address(self.settings.host, self.port)

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of the agents that are served."""
        return tuple(sorted(agent.name for agent in self.listed))

    @property
    def metrics_port(self) -> int | None:
        """Where Prometheus may scrape; None when nobody asked for it."""
        return self._metrics_server.port if self._metrics_server else None

    @property
    def callbacks_port(self) -> int | None:
        """Where platforms may call; None when nobody asked for it."""
        return self._callbacks.port if self._callbacks else None

    async def __aenter__(self) -> Self:
        self._access = self._controlled()
        with grpc_threads.patient():
            server = grpc.aio.server(options=self.settings.channel_options())
        try:
            self._keep_tls()
            if not self._is_worker:
                self._listening = listen(server, self.settings, self._tls)  # before anything is started for nothing
            await self._open(server)
        except BaseException:
            await self.__aexit__()
            raise
        for failure in self.host.failures:
            self._log.warning("platform not loaded", source=failure.source, reason=failure.reason)
        return self

    async def _open(self, server: grpc.aio.Server) -> None:
        own = await self.host.list_agents()
        isolation = await self._isolate(own)
        self._health = Health((agent.name for agent in own), self.host.failures, self.host.accounts)
        edge = Edge(self.host, CallMetrics(()), self.settings.max_calls, self._access)
        self._reflection = Reflection((*SERVICES, HEALTH_SERVICE), partial(edge.guard, operation="reflection"))
        common = (edge, self.settings, None if isolation is None else isolation.forwarder)
        self._learn(own, edge)
        if isolation is not None:
            isolation.on_change = lambda: self._learn(own, edge)
        parts = (self._health, self._reflection)
        table = {name: handler for part in parts for name, handler in part.by_method().items()}
        for calls in (Handlers(*common), SyncCalls(*common)):
            table.update(self._traced(calls.by_method()))
        late = LateHandlers(lambda dialect: self._traced(Handlers(*common, dialect).by_method()))
        if self.settings.host.startswith("unix:"):  # as children of a service listen
            from outboard.service.callbacks.relay import internal_methods  # noqa: PLC0415 - children only

            table.update(internal_methods(self.host.callbacks, self.host.hasten))
        server.add_generic_rpc_handlers((Methods(table, late, self.settings.max_metadata_bytes),))
        if self.settings.metrics_port is not None:
            self._metrics_server = MetricsServer(self.settings.host, self.settings.metrics_port, self.metrics)
        await self._take_callbacks()
        if self._is_worker:
            # No sooner: from now on it has its part of all new connections.
            self._listening = listen(server, self.settings, self._tls)
        await server.start()
        self._server = server
        if self._access is not None:
            self._access.start()
        self._watchdog = Watchdog()
        self._watchdog.start()

    def _keep_tls(self) -> None:
        if self.settings.tls is not None:
            from outboard.service.tls.keeper import TlsKeeper  # noqa: PLC0415 - only who wants TLS pays for it

            self._tls = TlsKeeper(self.settings.tls)
            self._tls.start()

    def _controlled(self) -> Access | None:
        """Return who may call, where the operator says so; tell it where everybody may who reaches the port."""
        if not self._is_worker:
            tell_if_open(self.settings)
        if self.settings.access is None:
            return None
        from outboard.service.access.access import Access  # noqa: PLC0415 - only who has rules pays for it

        return Access(self.settings.access, self.host.codec)

    async def _take_callbacks(self) -> None:
        """Open the port for callbacks, where the operator wants it."""
        if self.settings.callbacks_port is None:
            return
        from outboard.service.callbacks.point import CallbackPoint  # noqa: PLC0415 - only who asks for the port pays for it

        named = None if self._isolation is None else self._isolation.forwarder.children.named
        has_tls = self._tls is not None and self._tls.settings.callbacks
        tls = self._tls.http_context() if self._tls is not None and has_tls else None
        self._callbacks = CallbackPoint(self.host, self.settings, named, self._called_back, tls)
        await self._callbacks.start()
        self._log.info("callbacks are taken", port=self._callbacks.port)

    def _called_back(self, agent: str, job_ids: Sequence[str]) -> None:
        if self.on_called_back is not None:
            self.on_called_back(agent, job_ids)

    async def hasten(self, agent: str, job_ids: Sequence[str]) -> int:
        """Ask about jobs at once, since their platform called back, here or to a sibling.

        Args:
            agent: The agent's name; it may be isolated.
            job_ids: Its jobs (`JobRef.id`).

        Returns:
            How many of them are alive in this process and its children.
        """
        live = self.host.hasten(agent, job_ids)
        if not live and self._isolation is not None:
            from outboard.service.callbacks.relay import Relay  # noqa: PLC0415 - only who isolates pays for it

            live = await Relay(self._isolation.forwarder.children.named).hasten(agent, job_ids)
        return live

    async def _isolate(self, own: Sequence[AgentInfo]) -> Isolation | None:
        if not self._isolated:
            return None
        from outboard.service.isolation import Isolation  # noqa: PLC0415 - only who isolates pays for it
        from outboard.service.supervision.totals import Totals  # noqa: PLC0415 - same

        self._isolation = isolation = Isolation(self._isolated, self.host.codec, self.host.reads, self.host.tracing)
        self.metrics = Totals(REGISTRY, lambda: isolation.all)
        await self._isolation.start(own)
        return self._isolation

    def _learn(self, own: Sequence[AgentInfo], edge: Edge) -> None:
        """Take up what is served: the host's agents, and those of children, which may be late and may be down."""
        agents = list(own)
        if self._isolation is not None and self._health is not None:
            agents += self._isolation.agents
            self._health.tell(self._isolation.health)
        self.listed = agents
        edge.metrics = CallMetrics({task_type.name for agent in agents for task_type in agent.task_types})

    def _traced(self, handlers: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.host.tracing is None:
            return handlers
        from outboard.service.traced_calls import traced  # noqa: PLC0415 - for services that trace

        return traced(handlers, self.host.tracing)

    async def __aexit__(self, *_: object) -> None:
        await self._stop(0)
        await self.end_isolated(0)

    async def drain(self) -> None:
        """Turn NOT_SERVING, linger, and let the calls in flight finish."""
        if self._health is not None:
            self._health.drain()
        if self._reflection is not None:
            self._reflection.drain()
        await asyncio.sleep(self.settings.linger_s / 2)
        if self.settings.linger_s:
            # Whoever reconnects in the other half goes elsewhere, see `departure`.
            self._leave()
            await asyncio.sleep(self.settings.linger_s / 2)
        await self._stop(self.settings.drain_s)

    async def end(self, why: str) -> None:
        """Drain, and close the host and isolated platforms, in a bounded time; see `ending`.

        Args:
            why: The signal's name, for the log.
        """
        settings = self.settings
        ends_at = time.monotonic() + settings.linger_s + settings.drain_s
        self._log.info("draining", signal=why, linger_s=settings.linger_s)
        await self.drain()
        limit_s = max(ends_at - time.monotonic(), CLOSING_S)
        isolated = asyncio.ensure_future(self.end_isolated(limit_s))
        try:
            await close_host(self.host, limit_s)
        finally:
            await isolated

    async def end_isolated(self, grace_s: float) -> None:
        """End the processes of isolated platforms; what is left after `grace_s` is killed."""
        isolation, self._isolation = self._isolation, None
        if isolation is not None:
            await isolation.stop(grace_s)

    @property
    def failures(self) -> Sequence[LoadFailure]:
        """What is not served: what could not be loaded, and isolated platforms whose process has not come up so far."""
        unseen = () if self._isolation is None else self._isolation.unseen
        reason = "its process does not come up; see the log"
        return [*self.host.failures, *(LoadFailure(source=source, reason=reason) for source in unseen)]

    def describe(self) -> str:
        """Return one line for people: where, what, and what could not be loaded."""
        return readiness_line(self.address, self.agents, self.failures)

    @property
    def agent_count(self) -> int:
        """How many agents are served."""
        return len(self.listed)

    @property
    def not_loaded(self) -> Sequence[LoadFailure]:
        """What is not served, in words without secrets."""
        redact = self.host.redact
        return [LoadFailure(source=each.source, reason=redact(each.reason)) for each in self.failures]

    async def description(self) -> Mapping[str, Any]:
        """Return what is served, what could not be loaded, and which accounts answer; see `admin.descriptions`."""
        from outboard.service.admin import descriptions  # noqa: PLC0415 - only who is asked pays for it

        isolated = () if self._isolation is None else self._isolation.all
        return {
            "agents": descriptions.described_agents(self.listed),
            "not_loaded": descriptions.described_failures(self.not_loaded),
            "accounts": descriptions.described_accounts(self.host.accounts),
            **({"isolated": await descriptions.described_children(isolated)} if isolated else {}),
        }

    def levels(self, level: str | None = None) -> Mapping[str, Any]:
        """Set the log level here and in isolated platforms, or None of them, and return what each has. In a thread."""
        from outboard.service.admin.levels import levels, set_levels  # noqa: PLC0415 - only who is asked pays for it

        isolated = () if self._isolation is None else self._isolation.all
        return levels(isolated) if level is None else set_levels(level, isolated)

    def _leave(self) -> None:
        if self._tls is not None:
            self._tls.leaves()
        stop_listening(self._listening.sockets)

    async def _stop(self, grace_s: float) -> None:
        if self._tls is not None:
            self._tls.leaves()
        callbacks, self._callbacks = self._callbacks, None
        server, self._server = self._server, None
        ending: list[Awaitable[None]] = [] if callbacks is None else [callbacks.close(grace_s)]
        if server is not None:
            ending.append(server.stop(grace_s))
        await bounded(ending, grace_s + _STOPPING_S)
        if self._access is not None:
            await self._access.close()
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        if self._metrics_server is not None:
            self._metrics_server.close()
            self._metrics_server = None
        if self._tls is not None:
            self._tls.close()
            self._tls = None
