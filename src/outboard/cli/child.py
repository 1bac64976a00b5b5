"""The process of a child: what `serve` starts for each isolated platform, and with `--processes` for each worker.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from outboard.cli.exits import exit_code
from outboard.cli.grpc_environment import import_service
from outboard.cli.light_imports import without
from outboard.domain.secret_refs import redact_forms
from outboard.errors import OutboardError
from outboard.local.settings_files import AgentChoice, open_host, read_service_settings

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
    try:
        return _serve(document, hello)
    except OutboardError as error:
        if hello.closed:
            raise
        from outboard.service.supervision.hello import Hello  # noqa: PLC0415 - only here

        hello.write(Hello.refusing(error.message).encode())
        hello.close()
        return exit_code(error)


def _serve(document: Mapping[str, Any], hello: Any) -> int:
    with without("rich"):
        import_service()
        from outboard.cli.log_output import configure_logs, redact_prints, tell_notes, trace_fields  # noqa: PLC0415 - the parent is watched before the heavy imports
        from outboard.service import serve  # noqa: PLC0415 - same
        from outboard.service.supervision.child import ChildSpec  # noqa: PLC0415 - same
        from outboard.service.supervision.childhood import answer_parent, sibling_teller  # noqa: PLC0415 - same
    choice = AgentChoice(**{**document["choice"], "directory": Path(document["directory"])})

    async def opened() -> Any:
        redact_prints(redact_forms)  # as in `serve`
        host = open_host(choice, is_local=False)
        configure_logs(host.redact, level=document["log_level"], form="json", extra=trace_fields(host.tracing))
        redact_prints(host.redact)
        tell_notes(host.registry.notes)
        gc.collect()
        gc.freeze()
        return host

    def greet(service: Any) -> None:
        answer_parent(service, document["control"])
        if "siblings" in document:
            service.on_called_back = sibling_teller(document["siblings"], document["name"])
        is_idle = document["ends_when_idle"] and not list(service.host.registry)
        hello.write(_hello(service, is_idle=is_idle).encode())
        hello.close()
        if is_idle:
            os._exit(NOTHING_TO_SERVE)

    service = {"host": document["socket"], "port": 0, **document["service"]}
    specs = [ChildSpec(**each) for each in document["isolated"]]
    return serve(opened, read_service_settings(AgentChoice(service=service)), isolated=specs, on_ready=greet)


def _take_streams() -> tuple[Any, Any]:
    """Return the settings' stream and the hello's, and leave agents' code harmless ones in their places."""
    settings, hello = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return os.fdopen(settings, "rb"), os.fdopen(hello, "wb")


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - only here

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before the kernel was asked
        os._exit(_PARENT_GONE)


def _watch_parent(settings: Any) -> None:
    settings.read()
    os._exit(_PARENT_GONE)


def _hello(service: Any, *, is_idle: bool) -> Any:
    from outboard.service.supervision.hello import Hello  # noqa: PLC0415 - only here

    registry = service.host.registry
    return Hello(
        target="" if is_idle else service.address,
        agents=service.listed,
        names=[name for agent in registry for name in (agent.name, *agent.aliases)],
        failures=service.not_loaded,
        natives=registry.natives,
    )


if __name__ == "__main__":
    sys.exit(main())
