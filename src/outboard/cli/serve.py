"""`outboard serve`: an agent service on this machine.

This path imports neither rich nor the engine: a service's cold start and idle memory count.

The variables are not called OUTBOARD_HOST and OUTBOARD_PORT, because Kubernetes sets `OUTBOARD_PORT=tcp://...` in every pod
beside a Service called `outboard`.
"""

from __future__ import annotations

import gc
import os
from typing import Annotated, Any, Final

import typer

from outboard.cli.choices import Agents, Installation, Platforms, SettingsFile
from outboard.cli.isolating import divide
from outboard.cli.light_imports import without
from outboard.cli.settings_files import names, open_host, read_choice, read_service_settings

EXAMPLES: Final = (
    "outboard serve --port 8000",
    "outboard serve --host 0.0.0.0 --platforms duckdb,bigquery --metrics-port 9090",
    "outboard serve --agents my_package.agents:MyPlatform --settings outboard.yaml",
    "outboard serve --agents my_package.agents:MyPlatform --isolate my_package.agents:MyPlatform",
)


def command(  # noqa: PLR0913 - the options of the command
    *,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST", envvar="OUTBOARD_LISTEN_HOST", help="Name or address to listen on; 127.0.0.1 by default."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", envvar="OUTBOARD_LISTEN_PORT", help="8000 by default; 0 lets the system choose."),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", envvar="OUTBOARD_LISTEN_METRICS_PORT", help="Where Prometheus may scrape."),
    ] = None,
    platforms: Platforms = None,
    agents: Agents = None,
    isolate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLATFORM",
            envvar="OUTBOARD_ISOLATE",
            help="Run the agents of this platform in a process of their own; repeatable.",
        ),
    ] = None,
    installation: Installation = None,
    settings: SettingsFile = None,
    log_level: Annotated[
        str, typer.Option(metavar="LEVEL", envvar="OUTBOARD_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
    log_format: Annotated[
        str,
        typer.Option(
            metavar="FORMAT", envvar="OUTBOARD_LOG_FORMAT", help="json, pretty, or auto: pretty on a terminal."
        ),
    ] = "auto",
) -> int:
    """Serve agents over gRPC until SIGTERM or Ctrl-C, which drain: what is in flight is finished.

    One line on standard error says when it is ready, and on which port.
    """
    # Processes that are started from here run another program at once, and need no gRPC that survives a fork; its
    # handlers would only write to standard error, before the line that says we are ready. Read when gRPC is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    choice = read_choice(settings, platforms=platforms, modules=agents, installation=installation)
    isolated = [name for each in isolate or () for name in names(each) or ()] or None
    service_settings = read_service_settings(choice, host=host, port=port, metrics_port=metrics_port, isolate=isolated)
    own, specs = divide(choice, service_settings.isolate, service_settings, log_level)

    with without("rich"):
        from outboard.cli.log_output import configure_logs  # noqa: PLC0415 - settings are checked before the heavy imports
        from outboard.service import serve  # noqa: PLC0415 - same

    async def opened() -> Any:
        served = open_host(own, is_local=False)
        configure_logs(served.redact, level=log_level, form=log_format)
        # What is alive now lives as long as the process; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        return served

    return serve(opened, service_settings, isolated=specs)
