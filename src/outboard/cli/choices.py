"""Options that several commands share, spelled once: which agents, which endpoint, which journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outboard.local.settings_files import AgentChoice, client_options, read_choice

if TYPE_CHECKING:
    from outboard.local.targets import Target

Platforms = Annotated[
    str | None,
    typer.Option(
        "--platforms",
        metavar="NAME,...",
        envvar="OUTBOARD_PLATFORMS",
        help="Only these installed platforms; all by default.",
    ),
]
Agents = Annotated[
    list[str] | None,
    typer.Option(
        "--agents", metavar="MODULE:PLATFORM", envvar="OUTBOARD_AGENTS", help="A further platform; repeatable."
    ),
]
Installation = Annotated[
    str | None,
    typer.Option(
        "--installation",
        metavar="ID",
        envvar="OUTBOARD_INSTALLATION",
        help="Part of every submission key: equal on all replicas, unique among installations that share an account.",
    ),
]
SettingsFile = Annotated[
    str | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        envvar="OUTBOARD_SETTINGS",
        help="YAML with the sections host, service and platforms.",
    ),
]
Flytekit = Annotated[
    bool | None,
    typer.Option(
        "--flytekit/--no-flytekit",
        envvar="OUTBOARD_SERVE_FLYTEKIT",
        help="Serve the connectors of flytekit and of Flyte 2's SDK too, unmodified.",
        show_default=False,
    ),
]
FlytekitModules = Annotated[
    list[str] | None,
    typer.Option(
        "--flytekit-modules",
        metavar="MODULE",
        envvar="OUTBOARD_SERVE_FLYTEKIT_MODULES",
        help="A further module that registers connectors; repeatable.",
    ),
]
EngineConfig = Annotated[
    Path | None,
    typer.Option(
        "--engine-config",
        metavar="FILE",
        envvar="OUTBOARD_ENGINE_CONFIG",
        help="FlytePropeller's own configuration: routes tasks among several services.",
    ),
]
JournalFile = Annotated[
    Path | None,
    typer.Option(
        "--journal", metavar="FILE", envvar="OUTBOARD_JOURNAL", help="Where runs are remembered.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; results and errors only.")]
OutputBase = Annotated[
    str | None,
    typer.Option(
        "--output-base",
        metavar="URI",
        envvar="OUTBOARD_OUTPUT_BASE",
        help="Below it go inputs and outputs; a service elsewhere must reach it: s3://, gs://, az:// or a shared path.",
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Also where the engine that drove it cannot be seen from here; only if it is surely gone."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledService:
    """A service to call instead of this process, and how it is called; see `option_groups`."""

    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            "-e",
            metavar="HOST:PORT",
            envvar="OUTBOARD_ENDPOINT",
            help="An agent service instead of this process.",
        ),
    ] = None
    insecure: Annotated[
        bool | None,
        typer.Option(
            "--insecure/--tls", help="Plain text or TLS; by default plain text on loopback and TLS elsewhere."
        ),
    ] = None
    tls_ca: Annotated[
        str | None,
        typer.Option(
            "--tls-ca",
            metavar="FILE",
            envvar="OUTBOARD_TLS_CA",
            help="Authorities that vouch for the service; the system's by default.",
        ),
    ] = None
    tls_certificate: Annotated[
        str | None,
        typer.Option(
            "--tls-certificate",
            metavar="FILE",
            envvar="OUTBOARD_TLS_CERTIFICATE",
            help="Your certificate, for a service that requires one.",
        ),
    ] = None
    tls_key: Annotated[
        str | None,
        typer.Option("--tls-key", metavar="FILE", envvar="OUTBOARD_TLS_KEY", help="Its key; one file may hold both."),
    ] = None
    tls_server_name: Annotated[
        str | None,
        typer.Option(
            "--tls-server-name",
            metavar="NAME",
            envvar="OUTBOARD_TLS_SERVER_NAME",
            help="The name in the service's certificate, where the address is another.",
        ),
    ] = None
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            envvar="OUTBOARD_TOKEN_FILE",
            help="A file with a bearer token that goes with each call; it is read anew when it changes.",
        ),
    ] = None

    @property
    def client(self) -> Mapping[str, str]:
        """What goes before the section `client` of the settings."""
        return client_options(
            ca=self.tls_ca,
            certificate=self.tls_certificate,
            key=self.tls_key,
            server_name=self.tls_server_name,
            token_file=self.token_file,
        )

    def target_with(self, choice: AgentChoice, engine_config: Path | None = None) -> Target:
        """Return whom a command talks to: this service, those of a configuration, or the chosen agents.

        Raises:
            InvalidSettings: Service and configuration are both given.
        """
        from outboard.local.targets import Target  # noqa: PLC0415 - the engine is for those who use it

        return Target(endpoint=self.endpoint, insecure=self.insecure, engine_config=engine_config, choice=choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whom(CalledService):
    """Whom a command talks to: a service, several, or agents in this process; see `option_groups`."""

    engine_config: EngineConfig = None
    platforms: Platforms = None
    agents: Agents = None
    installation: Installation = None
    settings: SettingsFile = None

    def target(self, *, flytekit: bool | None = False, flytekit_modules: Sequence[str] | None = None) -> Target:
        """Return whom; connectors are hosted as `read_choice` says.

        Raises:
            InvalidSettings: The settings file is wrong, or service and configuration are both given.
        """
        choice = read_choice(
            self.settings,
            platforms=self.platforms,
            modules=self.agents,
            installation=self.installation,
            flytekit=flytekit,
            flytekit_modules=flytekit_modules,
            client=self.client,
        )
        return self.target_with(choice, self.engine_config)
