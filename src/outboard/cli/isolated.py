"""The process of an isolated platform: what `serve --isolate` starts for each.

Standard input brings one line of JSON: the settings, which hold secrets and so stand neither among the arguments nor in the
environment. It stays open, and its end means that the parent is gone: then this process ends at once, as the parent's own
work did. On Linux the kernel sees to that too, for code that never lets a thread run. Standard output is kept for the hello;
what agents print goes to standard error, and from there into the parent's log.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

from outboard.cli.light_imports import without
from outboard.cli.settings_files import AgentChoice, open_host, read_service_settings

NOTHING_TO_SERVE: Final = 2
_PARENT_GONE: Final = 1
_SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def main() -> int:
    """Serve what standard input says until the parent says otherwise; return the exit code."""
    settings, hello = _take_streams()
    faulthandler.enable()
    document = json.loads(settings.readline())
    _die_with_parent(document["parent"])
    threading.Thread(target=_watch_parent, args=(settings,), name="outboard-parent", daemon=True).start()
    with without("rich"):
        from outboard.cli.log_output import configure_logs  # noqa: PLC0415 - the parent is watched before the heavy imports
        from outboard.service import serve  # noqa: PLC0415 - same
    choice = AgentChoice(**{**document["choice"], "directory": Path(document["directory"])})
    host = None

    async def opened() -> Any:
        nonlocal host
        host = open_host(choice, is_local=False)
        configure_logs(host.redact, level=document["log_level"], form="json")
        gc.collect()
        gc.freeze()
        return host

    def greet(service: Any) -> None:
        os.write(hello, _hello(service).encode())
        os.close(hello)
        if not list(service.host.registry):
            os._exit(NOTHING_TO_SERVE)

    options = {"host": document["socket"], "port": 0, "max_connection_age_s": 0.0, "linger_s": 0.0}
    service = {name: value for name, value in choice.service.items() if name not in ("metrics_port", "isolate")}
    return serve(opened, read_service_settings(AgentChoice(service=service), **options), on_ready=greet)


def _take_streams() -> tuple[Any, int]:
    """Return the settings' stream and where the hello goes, and leave agents' code harmless ones in their places."""
    settings, hello = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return os.fdopen(settings, "rb"), hello


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only here

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the kernel was asked
        os._exit(_PARENT_GONE)


def _watch_parent(settings: Any) -> None:
    settings.read()
    os._exit(_PARENT_GONE)


def _hello(service: Any) -> Any:
    from outboard.service.isolation import Hello  # noqa: PLC0415 - only here

    registry = service.host.registry
    return Hello(
        target=service.address,
        agents=service.listed,
        names=[name for agent in registry for name in (agent.name, *agent.aliases)],
        failures=registry.failures,
    )


if __name__ == "__main__":
    sys.exit(main())
