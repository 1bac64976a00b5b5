"""Options that several commands share, spelled once: which agents, which endpoint, which journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
EndpointAddress = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        "-e",
        metavar="HOST:PORT",
        envvar="OUTBOARD_ENDPOINT",
        help="An agent service instead of this process.",
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
Insecure = Annotated[
    bool | None,
    typer.Option("--insecure/--tls", help="Plain text or TLS; by default plain text on loopback and TLS elsewhere."),
]
TlsCa = Annotated[
    str | None,
    typer.Option(
        "--tls-ca",
        metavar="FILE",
        envvar="OUTBOARD_TLS_CA",
        help="Authorities that vouch for the service; the system's by default.",
    ),
]
TlsCertificate = Annotated[
    str | None,
    typer.Option(
        "--tls-certificate",
        metavar="FILE",
        envvar="OUTBOARD_TLS_CERTIFICATE",
        help="Your certificate, for a service that requires one.",
    ),
]
TlsKey = Annotated[
    str | None,
    typer.Option("--tls-key", metavar="FILE", envvar="OUTBOARD_TLS_KEY", help="Its key; one file may hold both."),
]
TlsServerName = Annotated[
    str | None,
    typer.Option(
        "--tls-server-name",
        metavar="NAME",
        envvar="OUTBOARD_TLS_SERVER_NAME",
        help="The name in the service's certificate, where the address is another.",
    ),
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        envvar="OUTBOARD_TOKEN_FILE",
        help="A file with a bearer token that goes with each call; it is read anew when it changes.",
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
