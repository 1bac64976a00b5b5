"""What gRPC's core is told through the environment, which it reads once: when it is imported.

* Processes that are started from here run another program at once, and need no gRPC that survives a fork; its handlers would only
  write to standard error, before the line that says that a service is ready.
* From grpcio 1.80 on, sockets are served by the "EventEngine", a pool of threads beside the one that Python waits for. Each
  call then wakes more threads: 28 % more CPU per GetTask, measured with 1.85. Up to 1.79 Python had it switched off, and still
  can, by the switch that gRPC's authors name for whoever has trouble with it. It will go one day, and a release without it would
  only complain about the name; so it is used for releases that are known to have it. See
  https://github.com/grpc/grpc/pull/41432 and https://github.com/grpc/grpc/pull/42150.

What an operator has set wins. Programs that agents start have a gRPC of their own and inherit nothing of the second.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Final

SWITCH: Final = "GRPC_EXPERIMENTS"
OFF: Final = "-event_engine_client,-event_engine_listener"
_LAST_WITH_SWITCH: Final = (1, 85)


def import_service() -> None:
    """Import the service and gRPC with it, as a service wants it; without effect where gRPC is imported already."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    is_chosen = SWITCH in os.environ or sys.platform != "linux" or not _has_switch(version("grpcio"))
    if not is_chosen:
        os.environ[SWITCH] = OFF
    try:
        import outboard.service.serving  # noqa: F401, PLC0415 - this is when gRPC reads the environment
    finally:
        if not is_chosen:
            del os.environ[SWITCH]


def _has_switch(release: str) -> bool:
    """Tell whether this release of grpcio knows the switch.

    >>> _has_switch("1.85.1"), _has_switch("1.86.0rc1"), _has_switch("2.0")
    (True, False, False)
    """
    major, minor = release.split(".")[:2]
    return (int(major), int(minor)) <= _LAST_WITH_SWITCH
