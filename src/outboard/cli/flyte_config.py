"""`outboard flyte-config`: the engine's side of an agent service, printed with reasons, or checked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import Agents, AsJson, CalledService, Platforms, SettingsFile
from outboard.cli.exits import Exit
from outboard.cli.json_values import dumps
from outboard.cli.loops import run_loop
from outboard.cli.printing import write_result
from outboard.domain.endpoints import AgentInfo
from outboard.errors import EndpointUnreachable, InvalidSettings
from outboard.local.documents import STDIN
from outboard.local.notes import write_note
from outboard.local.settings_files import read_choice

if TYPE_CHECKING:
    from outboard.engine.propeller.findings import Finding
    from outboard.local.targets import Target

EXAMPLES: Final = (
    "outboard flyte-config --endpoint localhost:8000 --address dns:///outboard-headless.flyte.svc.cluster.local:8000",
    "outboard flyte-config --flyte 2 --live-jobs 5000 --format helm > outboard-values.yaml",
    "outboard flyte-config --check values.yaml --live-jobs 5000",
    "kubectl get configmap flyte-propeller-config -o yaml | outboard flyte-config --check -",
)
_PATIENCE_S: Final = 10.0
_ASSUMED: Final = "dns:///outboard-headless.flyte.svc.cluster.local:8000"
_LIVE_JOBS: Final = 1000


class Flyte(str, Enum):
    """Which Flyte, and which of its plugins."""

    ONE = "1"
    TWO = "2"
    AGENT_SERVICE = "agent-service"
    CONNECTOR_SERVICE = "connector-service"
    ALL = "all"


class Format(str, Enum):
    """How the configuration is wrapped."""

    YAML = "yaml"
    HELM = "helm"
    HELM_CORE = "helm-core"
    CONFIGMAP = "configmap"


WhichFlyte = Annotated[
    Flyte | None,
    typer.Option(
        "--flyte",
        help="1 is its plugin connector-service (from 1.15 on), agent-service the one before; a check finds out by itself.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="dns:///NAME:PORT", help="The service as the engine will reach it."),
]
LiveJobs = Annotated[
    int | None,
    typer.Option("--live-jobs", metavar="N", help=f"Jobs that are live at a time; {_LIVE_JOBS} by default."),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="ID", help="The service's name among several; without it, it is the default one."),
]
AsFormat = Annotated[
    Format,
    typer.Option("--format", help="A plain file, values of flyte-binary or flyte-core, or a ConfigMap."),
]
Checked = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="FILE",
        help="Say what is wrong with an existing configuration, which this file is a part of; - is standard input; "
        "repeatable, in the engine's order.",
    ),
]
_ABOUT_TLS: Final = {"ca", "certificate", "server_name"}
Strict = Annotated[bool, typer.Option("--strict", help="In a check, warnings count as errors.")]


def command(  # noqa: PLR0913 - each is an option
    *,
    service: CalledService,
    platforms: Platforms = None,
    agents: Agents = None,
    settings: SettingsFile = None,
    flyte: WhichFlyte = None,
    address: Address = None,
    live_jobs: LiveJobs = None,
    name: Name = None,
    form: AsFormat = Format.YAML,
    check: Checked = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> int:
    """Print the configuration of Flyte's engine that suits an agent service, each line explained; or check an existing one.

    Without --endpoint it is for the agents of this installation. A check compares with what is served only where --endpoint,
    --platforms or --agents names it; its exit code is 1 where it found an error.
    """
    choice = read_choice(settings, platforms=platforms, modules=agents, flytekit=None, client=service.client)
    target = service.target_with(choice)
    if check:
        is_named = bool(service.endpoint or platforms is not None or choice.modules)
        served = run_loop(_served(target)) if is_named else None
        return _check(check, flyte, served, name, live_jobs, is_strict=strict, as_json=as_json)
    served = run_loop(_served(target))
    found = _address(address, target)
    is_plain = _is_plain(target, is_address_given=address is not None)
    many = _LIVE_JOBS if live_jobs is None else live_jobs
    texts = _drafts(flyte or Flyte.ONE, served, found, is_plain, many, name, form)
    write_result("\n---\n".join(text.rstrip("\n") for text in texts))
    return Exit.SUCCESS


async def _served(target: Target) -> Sequence[AgentInfo]:
    """Ask what is served."""
    from outboard.cli.connections import find  # noqa: PLC0415 - the engine is for those who use it

    async with find(target) as found, found.endpoints() as endpoints:
        ((name, endpoint),) = endpoints.items()
        for failure in found.failures:
            write_note(f"not loaded: {failure.source}: {found.redact(failure.reason)}")
        try:
            return await asyncio.wait_for(endpoint.list_agents(), _PATIENCE_S)
        except (asyncio.TimeoutError, TimeoutError):
            words = f"{name} did not answer within {_PATIENCE_S:g} s: is it an agent service, and well?"
            raise EndpointUnreachable(words) from None


def _address(written: str | None, target: Target) -> str:
    """Return the service's address for the engine, balanced over replicas where that can be."""
    from outboard.engine.addresses import ServiceAddress  # noqa: PLC0415 - as above

    if written is not None:
        ServiceAddress.at(written, name="--address")
        if "://" in written or written.startswith(("unix:", "dns:")):
            return written
        return f"dns:///{written}"
    if target.endpoint and not _is_loopback(target.endpoint):
        return target.endpoint if "://" in target.endpoint else f"dns:///{target.endpoint}"
    write_note(f"note: --address is not given, so {_ASSUMED} stands for the service; write its own")
    return _ASSUMED


def _is_loopback(endpoint: str) -> bool:
    from outboard.engine.addresses import ServiceAddress  # noqa: PLC0415 - as above

    return ServiceAddress.at(endpoint).insecure  # which is plain by itself on loopback alone


def _is_plain(target: Target, *, is_address_given: bool) -> bool:
    """Tell whether the engine is to speak plain text: as told, or as the endpoint that it shall reach too is called here."""
    if target.insecure is not None:
        return target.insecure
    if target.endpoint and {**target.choice.client, **target.choice.client_options}.keys() & _ABOUT_TLS:
        return False
    return is_address_given or not target.endpoint or _is_loopback(target.endpoint)


def _drafts(
    flyte: Flyte,
    agents: Sequence[AgentInfo],
    address: str,
    is_plain: bool,
    live_jobs: int,
    name: str | None,
    form: Format,
) -> list[str]:
    from outboard.engine.propeller.draft import Engine, Wanted, draft  # noqa: PLC0415 - as above
    from outboard.engine.propeller.packaging import Form, pack  # noqa: PLC0415 - same

    engines = {
        Flyte.ONE: [Engine.CONNECTOR_SERVICE],
        Flyte.CONNECTOR_SERVICE: [Engine.CONNECTOR_SERVICE],
        Flyte.AGENT_SERVICE: [Engine.AGENT_SERVICE],
        Flyte.TWO: [Engine.FLYTE_2],
        Flyte.ALL: [Engine.CONNECTOR_SERVICE, Engine.AGENT_SERVICE, Engine.FLYTE_2],
    }[flyte]
    if form is Format.HELM_CORE and Engine.FLYTE_2 in engines:
        raise InvalidSettings("--format helm-core: Flyte 2 has no such chart; write --format helm", field="format")
    return [
        pack(
            draft(
                Wanted(engine=engine, address=address, agents=agents, insecure=is_plain, live_jobs=live_jobs, name=name)
            ),
            Form(form.value),
            engine,
        )
        for engine in engines
    ]


def _check(
    sources: Sequence[str],
    flyte: Flyte | None,
    served: Sequence[AgentInfo] | None,
    name: str | None,
    live_jobs: int | None,
    *,
    is_strict: bool,
    as_json: bool,
) -> Exit:
    from outboard.engine.propeller.findings import Severity  # noqa: PLC0415 - as above
    from outboard.engine.propeller.inspection import inspect_engine  # noqa: PLC0415 - same
    from outboard.engine.propeller.layouts import read_engine_files  # noqa: PLC0415 - same

    if flyte is Flyte.ALL:
        raise InvalidSettings("--flyte all cannot be checked: say which Flyte the file is for", field="flyte")
    generation = None if flyte is None else 2 if flyte is Flyte.TWO else 1
    files = read_engine_files([_read(source) for source in sources], generation=generation)
    findings = inspect_engine(files, generation=generation, agents=served, service=name, live_jobs=live_jobs)
    if as_json:
        write_result(dumps({"findings": [_document(each) for each in findings]}, indent=2))
    else:
        _print(findings, generation or files.generation or 1)
    bad = {Severity.ERROR, Severity.WARNING} if is_strict else {Severity.ERROR}
    return Exit.FAILED if any(each.severity in bad for each in findings) else Exit.SUCCESS


def _read(source: str) -> tuple[str, str]:
    if source == STDIN:
        return "standard input", sys.stdin.read()
    try:
        return source, Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = (problem.strerror or "unreadable").lower() if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise InvalidSettings(
            f"{source} cannot be read ({reason}): give the path of a YAML file", field="check"
        ) from None


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "severity": finding.severity.value,
        "file": finding.place.file,
        "line": finding.place.line,
        "path": finding.place.path,
        "wrong": finding.wrong,
        "effect": finding.effect,
        "remedy": finding.remedy,
    }


def _print(findings: Sequence[Finding], generation: int) -> None:
    for each in findings:
        write_result(f"{each.place}: {each.severity.value}: {each.place.path or 'the whole'} [{each.name}]")
        write_result(f"  wrong:  {each.wrong}\n  effect: {each.effect}\n  remedy: {each.remedy}\n")
    errors = sum(each.severity.value == "error" for each in findings)
    counted = (
        f"{errors} error{'s' * (errors != 1)}, {len(findings) - errors} warning{'s' * (len(findings) - errors != 1)}"
    )
    write_note(f"checked as Flyte {generation}: {counted if findings else 'nothing is wrong'}")
