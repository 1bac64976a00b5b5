"""The options of `outboard serve`, which `outboard config` takes too.

The variables are not called OUTBOARD_HOST and OUTBOARD_PORT, because Kubernetes sets `OUTBOARD_PORT=tcp://...` in every pod
beside a Service called `outboard`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from outboard.cli.choices import Agents, Flytekit, FlytekitModules, Installation, Platforms, SettingsFile
from outboard.local.settings_files import AgentChoice, names_in, read_choice, read_service_settings, tls_options

if TYPE_CHECKING:
    from outboard.service.settings import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What is served and how, as far as options say; see `option_groups`."""

    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST", envvar="OUTBOARD_LISTEN_HOST", help="Name or address to listen on; 127.0.0.1 by default."
        ),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", envvar="OUTBOARD_LISTEN_PORT", help="8000 by default; 0 lets the system choose."),
    ] = None
    metrics_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", envvar="OUTBOARD_LISTEN_METRICS_PORT", help="Where Prometheus may scrape."),
    ] = None
    admin_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            envvar="OUTBOARD_LISTEN_ADMIN_PORT",
            help="Where probes and operators may ask: /healthz, /readyz, /metrics, /agents, /loglevel.",
        ),
    ] = None
    callbacks_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            envvar="OUTBOARD_LISTEN_CALLBACKS_PORT",
            help="Where platforms may call when a job changes (POST /callbacks/AGENT).",
        ),
    ] = None
    platforms: Platforms = None
    agents: Agents = None
    flytekit: Flytekit = None
    flytekit_modules: FlytekitModules = None
    tls_certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            envvar="OUTBOARD_LISTEN_TLS_CERTIFICATE",
            help="Speak TLS, with this certificate (PEM); it may be replaced while the service serves.",
        ),
    ] = None
    tls_key: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar="OUTBOARD_LISTEN_TLS_KEY", help="The key of the certificate."),
    ] = None
    tls_client_ca: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            envvar="OUTBOARD_LISTEN_TLS_CLIENT_CA",
            help="Take only clients that show a certificate of these authorities.",
        ),
    ] = None
    isolate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLATFORM",
            envvar="OUTBOARD_ISOLATE",
            help="Run the agents of this platform in a process of their own; repeatable.",
        ),
    ] = None
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            envvar="OUTBOARD_PROCESSES",
            help="Serve with N processes on the one port, for more than one core; 1 by default.",
        ),
    ] = None
    installation: Installation = None
    settings: SettingsFile = None
    log_level: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL", envvar="OUTBOARD_LOG_LEVEL", help="debug, info, warning or error; info by default."
        ),
    ] = None
    log_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", envvar="OUTBOARD_LOG_FORMAT", help="json, pretty, or auto: pretty on a terminal."
        ),
    ] = None

    def choice(self) -> AgentChoice:
        """Return which agents are served, with which settings.

        Raises:
            InvalidSettings: The settings file is wrong.
        """
        return read_choice(
            self.settings,
            platforms=self.platforms,
            modules=self.agents,
            installation=self.installation,
            flytekit=self.flytekit,
            flytekit_modules=self.flytekit_modules,
        )

    def service_settings(self, choice: AgentChoice) -> ServiceSettings:
        """Return how they are served: options over what the choice's file and variables say.

        Raises:
            InvalidSettings: A setting is wrong.
        """
        tls = tls_options(choice, certificate=self.tls_certificate, key=self.tls_key, client_ca=self.tls_client_ca)
        found: ServiceSettings = read_service_settings(
            choice,
            host=self.host,
            port=self.port,
            metrics_port=self.metrics_port,
            admin_port=self.admin_port,
            callbacks_port=self.callbacks_port,
            isolate=names_in(self.isolate) or None,
            processes=self.processes,
            tls=tls,
        )
        return found
