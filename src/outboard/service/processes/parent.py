"""The parent of workers: what `serve --processes N` runs.

It holds the port, starts the workers, and says that it is ready when all of them are. SIGTERM and SIGINT, also before that, go on
to all workers at once, which drain side by side as any service does (see `serving`); the parent ends with 0 when each of them
has ended in order, and with 1 when one had to be killed. A second signal ends the parent where it stands, and the kernel then
ends the workers, as it does when the parent is killed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from outboard.agent.registry import LoadFailure
from outboard.host.logs import TaskLog
from outboard.service import event_loops
from outboard.service.ending import WORKER_MARGIN_S, LastResort, grace_s
from outboard.service.openness import tell_if_open
from outboard.service.processes.metrics import ParentMetrics
from outboard.service.processes.ports import reserved
from outboard.service.processes.workers import Workers
from outboard.service.readiness import readiness_line
from outboard.service.settings import ServiceSettings
from outboard.service.signals import told_to_end, unless_told
from outboard.service.supervision.child import ChildSpec
from outboard.service.supervision.hello import Hello
from outboard.service.supervision.totals import Totals


def serve_processes(
    spec: Callable[[int, ServiceSettings], ChildSpec],
    settings: ServiceSettings,
    *,
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Serve with several processes until told to end; return the exit code.

    Args:
        spec: Returns how to start the worker of a number, from 1, which serves with these settings: its ports are known.
        settings: What the operator decided.
        on_ready: Called once with the readiness line; without one, it is written to stderr.

    Raises:
        InvalidSettings: The port is taken, the system cannot share it, or workers cannot serve with these settings.
        OperatorError: Workers do not come up.
    """
    with ExitStack() as held:
        theirs: dict[str, int | None] = {"metrics_port": None, "admin_port": None}
        theirs["port"] = held.enter_context(reserved(settings.host, settings.port))
        if settings.callbacks_port is not None:
            port = held.enter_context(reserved(settings.host, settings.callbacks_port, field="callbacks_port"))
            theirs["callbacks_port"] = port
        shared = settings.model_copy(update=theirs)
        tell_if_open(shared)
        specs = [spec(number, shared) for number in range(1, settings.processes + 1)]
        last_resort = LastResort(grace_s(settings))
        code = event_loops.run(_run(specs, settings, shared.address, on_ready or _announce, last_resort))
        last_resort.finished(code)
        return code


async def _run(
    specs: list[ChildSpec],
    settings: ServiceSettings,
    address: str,
    on_ready: Callable[[str], None],
    last_resort: LastResort,
) -> int:
    workers = Workers(specs)
    server = admin = None
    totals = Totals(ParentMetrics(lambda: workers.all), lambda: workers.all, "parent")
    try:
        if settings.admin_port is not None:
            from outboard.service.admin.admin import Admin  # noqa: PLC0415 - only who asks for the port pays for it

            admin = Admin(settings)
        if settings.metrics_port is not None:
            from outboard.service.metrics import MetricsServer  # noqa: PLC0415 - only who asks for the port pays for it

            server = MetricsServer(settings.host, settings.metrics_port, totals)
        with told_to_end(last_resort) as told:
            hello = await unless_told(told, workers.start())
            if hello is not None:
                names = [agent.name for agent in hello.agents]
                count = f"{settings.processes} processes"
                if admin is not None:
                    admin.ready(_Subject(workers, totals, hello))
                on_ready(readiness_line(address, names, hello.failures, processes=count))
            name = await told
            if admin is not None:
                admin.draining()
            TaskLog().info("draining", signal=name, linger_s=settings.linger_s, processes=settings.processes)
            is_clean = await workers.stop(settings.linger_s + settings.drain_s + WORKER_MARGIN_S)
    except BaseException:
        await workers.stop(0)
        raise
    finally:
        for each in (server, admin):
            if each is not None:
                each.close()
    return 0 if is_clean else 1


class _Subject:
    """What the admin port tells of workers: they all serve the same, and each has accounts of its own."""

    def __init__(self, workers: Workers, metrics: Totals, hello: Hello) -> None:
        self.metrics = metrics
        self._workers = workers
        self._hello = hello

    @property
    def agent_count(self) -> int:
        return len(self._hello.agents) if any(worker.is_up for worker in self._workers.all) else 0

    @property
    def not_loaded(self) -> Sequence[LoadFailure]:
        return self._hello.failures

    async def description(self) -> Mapping[str, Any]:
        from outboard.service.admin import descriptions  # noqa: PLC0415 - only who is asked pays for it

        return {
            "agents": descriptions.described_agents(self._hello.agents),
            "not_loaded": descriptions.described_failures(self._hello.failures),
            "processes": await descriptions.described_children(self._workers.all),
        }

    def levels(self, level: str | None) -> Mapping[str, Any]:
        from outboard.service.admin.levels import levels, set_levels  # noqa: PLC0415 - only who is asked pays for it

        return levels(self._workers.all) if level is None else set_levels(level, self._workers.all)


def _announce(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
