"""`outboard serve`: an agent service on this machine.

This path imports neither rich nor the engine: a service's cold start and idle memory count.

The variables are not called OUTBOARD_HOST and OUTBOARD_PORT, because Kubernetes sets `OUTBOARD_PORT=tcp://...` in every pod
beside a Service called `outboard`.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import Agents, Flytekit, FlytekitModules, Installation, Platforms, SettingsFile
from outboard.cli.grpc_environment import import_service
from outboard.cli.isolating import divide
from outboard.cli.light_imports import without
from outboard.cli.workers import serve_workers
from outboard.local.notes import write_note
from outboard.local.settings_files import AgentChoice, names, open_host, read_choice, read_service_settings, tls_options

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

ListenHost = Annotated[
    str | None,
    typer.Option(
        metavar="HOST", envvar="OUTBOARD_LISTEN_HOST", help="Name or address to listen on; 127.0.0.1 by default."
    ),
]
ListenPort = Annotated[
    int | None,
    typer.Option(metavar="PORT", envvar="OUTBOARD_LISTEN_PORT", help="8000 by default; 0 lets the system choose."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(metavar="PORT", envvar="OUTBOARD_LISTEN_METRICS_PORT", help="Where Prometheus may scrape."),
]
CallbacksPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        envvar="OUTBOARD_LISTEN_CALLBACKS_PORT",
        help="Where platforms may call when a job changes (POST /callbacks/AGENT).",
    ),
]
Isolate = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLATFORM",
        envvar="OUTBOARD_ISOLATE",
        help="Run the agents of this platform in a process of their own; repeatable.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        envvar="OUTBOARD_PROCESSES",
        help="Serve with N processes on the one port, for more than one core; 1 by default.",
    ),
]
TlsCertificate = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        envvar="OUTBOARD_LISTEN_TLS_CERTIFICATE",
        help="Speak TLS, with this certificate (PEM); it may be replaced while the service serves.",
    ),
]
TlsKey = Annotated[
    str | None,
    typer.Option(metavar="FILE", envvar="OUTBOARD_LISTEN_TLS_KEY", help="The key of the certificate."),
]
TlsClientCa = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        envvar="OUTBOARD_LISTEN_TLS_CLIENT_CA",
        help="Take only clients that show a certificate of these authorities.",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", envvar="OUTBOARD_LOG_LEVEL", help="debug, info, warning or error; info by default."),
]
LogFormat = Annotated[
    str | None,
    typer.Option(metavar="FORMAT", envvar="OUTBOARD_LOG_FORMAT", help="json, pretty, or auto: pretty on a terminal."),
]
AdminPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        envvar="OUTBOARD_LISTEN_ADMIN_PORT",
        help="Where probes and operators may ask: /healthz, /readyz, /metrics, /agents, /loglevel.",
    ),
]


def command(  # noqa: PLR0913 - the options of the command
    *,
    host: ListenHost = None,
    port: ListenPort = None,
    metrics_port: MetricsPort = None,
    admin_port: AdminPort = None,
    callbacks_port: CallbacksPort = None,
    platforms: Platforms = None,
    agents: Agents = None,
    flytekit: Flytekit = None,
    flytekit_modules: FlytekitModules = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    isolate: Isolate = None,
    processes: Processes = None,
    installation: Installation = None,
    settings: SettingsFile = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> int:
    """Serve agents over gRPC until SIGTERM or Ctrl-C, which drain: what is in flight is finished.

    One line on standard error says when it is ready, and on which port.
    """
    choice = read_choice(
        settings,
        platforms=platforms,
        modules=agents,
        installation=installation,
        flytekit=flytekit,
        flytekit_modules=flytekit_modules,
    )
    level, form = log_level or choice.log.level, log_format or choice.log.format
    for name in choice.unknown:
        write_note(f"warning: variable {name} is none of Outboard's settings; `outboard config --show` lists them")
    isolated = [name for each in isolate or () for name in names(each) or ()] or None
    service_settings = read_service_settings(
        choice,
        host=host,
        port=port,
        metrics_port=metrics_port,
        admin_port=admin_port,
        callbacks_port=callbacks_port,
        isolate=isolated,
        processes=processes,
        tls=tls_options(choice, certificate=tls_certificate, key=tls_key, client_ca=tls_client_ca),
    )
    if service_settings.processes > 1:  # an account's quota is shared out among them
        choice = replace(choice, host={**choice.host, "processes": service_settings.processes})
    own, specs = divide(choice, service_settings.isolate, service_settings, level)
    if service_settings.processes > 1:
        return serve_workers(own, service_settings, specs, log_level=level, log_format=form)
    return _serve_here(own, service_settings, specs, log_level=level, log_format=form)


def _serve_here(
    choice: AgentChoice, settings: ServiceSettings, isolated: Sequence[ChildSpec], *, log_level: str, log_format: str
) -> int:
    """Serve with this process; see `workers.serve_workers`."""
    with without("rich"):
        import_service()
        from outboard.cli.log_output import configure_logs, redact_prints, tell_notes, trace_fields  # noqa: PLC0415 - settings are checked before the heavy imports
        from outboard.service import serve  # noqa: PLC0415 - same

    async def opened() -> Any:
        served = open_host(choice, is_local=False)
        configure_logs(served.redact, level=log_level, form=log_format, extra=trace_fields(served.tracing))
        redact_prints(served.redact)
        tell_notes(served.registry.notes)
        # What is alive now lives as long as the process; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        return served

    return serve(opened, settings, isolated=isolated)
