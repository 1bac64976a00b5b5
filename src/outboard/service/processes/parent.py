"""The parent of workers: what `serve --processes N` runs.

It holds the port, starts the workers, and says that it is ready when all of them are. SIGTERM and SIGINT, also before that, go on
to all workers at once, which drain side by side as any service does (see `serving`); the parent ends with 0 when each of them
has ended in order, and with 1 when one had to be killed. A second signal ends the parent where it stands, and the kernel then
ends the workers, as it does when the parent is killed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from outboard.host.logs import TaskLog
from outboard.service import event_loops
from outboard.service.processes.metrics import ParentMetrics
from outboard.service.processes.ports import reserved
from outboard.service.processes.workers import Workers
from outboard.service.readiness import readiness_line
from outboard.service.settings import ServiceSettings
from outboard.service.signals import told_to_end, unless_told
from outboard.service.supervision.child import ChildSpec
from outboard.service.supervision.totals import Totals

_SPARE_S: Final = 5.0
"""What a worker may need beyond its own limits before it is killed."""


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
        specs = [spec(number, shared) for number in range(1, settings.processes + 1)]
        return event_loops.run(_run(specs, settings, shared.address, on_ready or _announce))


async def _run(specs: list[ChildSpec], settings: ServiceSettings, address: str, on_ready: Callable[[str], None]) -> int:
    workers = Workers(specs)
    server = None
    try:
        if settings.metrics_port is not None:
            from outboard.service.metrics import MetricsServer  # noqa: PLC0415 - only who asks for the port pays for it

            totals = Totals(ParentMetrics(lambda: workers.all), lambda: workers.all, "parent")
            server = MetricsServer(settings.host, settings.metrics_port, totals)
        with told_to_end() as told:
            hello = await unless_told(told, workers.start())
            if hello is not None:
                names = [agent.name for agent in hello.agents]
                count = f"{settings.processes} processes"
                on_ready(readiness_line(address, names, hello.failures, processes=count))
            name = await told
            TaskLog().info("draining", signal=name, linger_s=settings.linger_s, processes=settings.processes)
            is_clean = await workers.stop(_grace_s(settings))
    except BaseException:
        await workers.stop(0)
        raise
    finally:
        if server is not None:
            server.close()
    return 0 if is_clean else 1


def _grace_s(settings: ServiceSettings) -> float:
    """Return how long a worker may take to end: it lingers, drains its calls, then its host; see `serving`."""
    return settings.linger_s + settings.drain_s + max(settings.drain_s, 1.0) + _SPARE_S


def _announce(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
