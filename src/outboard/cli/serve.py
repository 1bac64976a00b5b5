"""`outboard serve`: an agent service on this machine.

This path imports neither rich nor the engine: a service's cold start and idle memory count.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from outboard.cli.grpc_environment import import_service
from outboard.cli.isolating import divide
from outboard.cli.light_imports import without
from outboard.cli.serve_options import ServeOptions
from outboard.domain.secret_refs import redact_forms
from outboard.local.notes import write_note
from outboard.local.settings_files import AgentChoice, open_host

if TYPE_CHECKING:
    from outboard.service.settings import ServiceSettings
    from outboard.service.supervision.child import ChildSpec

EXAMPLES: Final = (
    "outboard serve --port 8000",
    "outboard serve --host 0.0.0.0 --platforms embedded,bigquery --metrics-port 9090",
    "outboard serve --agents my_package.agents:MyPlatform --settings outboard.yaml",
    "outboard serve --agents my_package.agents:MyPlatform --isolate my_package.agents:MyPlatform",
    "outboard serve --flytekit --isolate flytekit",
    "outboard serve --host 0.0.0.0 --processes 4 --metrics-port 9090",
    "outboard serve --host 0.0.0.0 --tls-certificate tls.crt --tls-key tls.key --tls-client-ca ca.crt",
)


def command(*, options: ServeOptions) -> int:
    """Serve agents over gRPC until SIGTERM or Ctrl-C, which drain: what is in flight is finished.

    One line on standard error says when it is ready, and on which port.
    """
    choice = options.choice()
    level, form = options.log_level or choice.log.level, options.log_format or choice.log.format
    for name in choice.unknown:
        write_note(f"warning: variable {name} is none of Outboard's settings; `outboard config --show` lists them")
    settings = options.service_settings(choice)
    if settings.processes > 1:  # an account's quota is shared out among them
        choice = replace(choice, host={**choice.host, "processes": settings.processes})
    own, specs = divide(choice, settings.isolate, settings, level)
    if settings.processes > 1:
        from outboard.cli.workers import serve_workers  # noqa: PLC0415 - for those who serve with several

        return serve_workers(own, settings, specs, log_level=level, log_format=form)
    return _serve_here(own, settings, specs, log_level=level, log_format=form)


def _serve_here(
    choice: AgentChoice, settings: ServiceSettings, isolated: Sequence[ChildSpec], *, log_level: str, log_format: str
) -> int:
    """Serve with this process; see `workers.serve_workers`."""
    with without("rich"):
        import_service()
        from outboard.cli.log_output import configure_logs, redact_prints, tell_notes, trace_fields  # noqa: PLC0415 - settings are checked before the heavy imports
        from outboard.service import serve  # noqa: PLC0415 - same

    async def opened() -> Any:
        redact_prints(redact_forms)  # agents' code may print, or take hold of a stream, when it is imported
        served = open_host(choice, is_local=False)
        configure_logs(served.redact, level=log_level, form=log_format, extra=trace_fields(served.tracing))
        redact_prints(served.redact)
        tell_notes(served.registry.notes)
        # What is alive now lives as long as the process; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        return served

    return serve(opened, settings, isolated=isolated)
