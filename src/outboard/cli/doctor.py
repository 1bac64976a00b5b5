"""`outboard doctor`: what keeps a service from doing its work, found before its users find it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import (
    Agents,
    AsJson,
    EndpointAddress,
    Flytekit,
    FlytekitModules,
    Insecure,
    Installation,
    Platforms,
    SettingsFile,
    TlsCa,
    TlsCertificate,
    TlsKey,
    TlsServerName,
    TokenFile,
)
from outboard.cli.exits import Exit, exit_code
from outboard.cli.handle_files import read_handle
from outboard.cli.json_values import dumps
from outboard.cli.loops import end_threads, run_loop
from outboard.cli.printing import write_result
from outboard.errors import InvalidSettings, OutboardError
from outboard.local.notes import one_line, write_note
from outboard.local.settings_files import client_options, names, read_choice

if TYPE_CHECKING:
    from outboard.local.checkup.findings import Finding
    from outboard.local.checkup.subject import Subject

EXAMPLES: Final = (
    "outboard doctor",
    "outboard doctor --settings outboard.yaml --project shop --domain production",
    "outboard doctor --only secrets --only platforms --json",
    "outboard doctor --settings outboard.yaml --output-prefix s3://bucket/outboard",
    "outboard doctor --endpoint localhost:8000 --metrics http://localhost:9090/metrics",
)
_CLOSING_S: Final = 5.0


def command(  # noqa: PLR0913 - the options of the command
    *,
    endpoint: EndpointAddress = None,
    insecure: Insecure = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = None,
    token_file: TokenFile = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Only this check; repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as problems.")] = False,
    project: Annotated[str, typer.Option("--project", metavar="NAME", help="Look for this project's secrets.")] = "",
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help="And this domain's.")] = "",
    handle: Annotated[
        str | None,
        typer.Option(
            "--handle", metavar="FILE", help="A handle of another replica, raw or base64: can it be read here?"
        ),
    ] = None,
    output_prefix: Annotated[
        str, typer.Option("--output-prefix", metavar="URI", help="Try records here, where host.records names no place.")
    ] = "",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="URL", help="The service's metrics: what is throttled now.")
    ] = "",
    limit: Annotated[
        float, typer.Option("--limit", min=0.1, metavar="SECONDS", help="How long any one question may take.")
    ] = 10.0,
    platforms: Platforms = None,
    agents: Agents = None,
    flytekit: Flytekit = None,
    flytekit_modules: FlytekitModules = None,
    installation: Installation = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """Check an installation, or a running service: settings, secrets, platforms, clock, records, handles, ports, limits.

    It starts nothing, touches no job and shows no secret. The exit code is that of the worst finding: 0 where there is no
    problem (with --strict, no warning either).
    """
    from outboard.domain.identity import Scope  # noqa: PLC0415 - what a checkup needs is for those who want one
    from outboard.local.checkup.checkup import HERE, THERE  # noqa: PLC0415 - same
    from outboard.local.checkup.subject import Subject  # noqa: PLC0415 - same
    from outboard.local.connections import address_of  # noqa: PLC0415 - same
    from outboard.local.targets import Target  # noqa: PLC0415 - same

    chosen = [name for each in only or () for name in names(each) or ()]
    known = THERE if endpoint else HERE
    unknown = [name for name in chosen if name not in known]
    if unknown:
        whose = "a running service" if endpoint else "an installation"
        words = f"--only {unknown[0]}: there is no such check of {whose}; known: {', '.join(known)}"
        raise InvalidSettings(words, field="only")
    subject = Subject(
        choice=None,
        file=settings,
        modules=[name for each in agents or () for name in names(each) or ()] or None,
        wanted=frozenset(names(platforms) or ()),
        scope=Scope(project=project, domain=domain),
        metrics_url=metrics,
        output_prefix=output_prefix,
        handle=read_handle(handle) if handle is not None else None,
        limit_s=limit,
    )
    try:
        subject.choice = read_choice(
            settings,
            platforms=platforms,
            modules=agents,
            installation=installation,
            flytekit=flytekit,
            flytekit_modules=flytekit_modules,
            client=client_options(
                ca=tls_ca, certificate=tls_certificate, key=tls_key, server_name=tls_server_name, token_file=token_file
            ),
        )
        if endpoint:
            subject.service = address_of(Target(endpoint=endpoint, insecure=insecure, choice=subject.choice), endpoint)
    except OutboardError as error:
        if endpoint:
            raise  # of a service nothing here is examined that could tell it
        subject.unreadable = error
    return run_loop(_examine(subject, chosen, is_strict=strict, as_json=as_json))


async def _examine(subject: Subject, only: Sequence[str], *, is_strict: bool, as_json: bool) -> Exit:
    from outboard.cli.log_output import prints_redacted  # noqa: PLC0415 - as above

    # What platforms' code prints is no part of the answer.
    with prints_redacted(subject.redact), redirect_stdout(sys.stderr):
        findings = await _findings(subject, only)
    if as_json:
        write_result(dumps(_document(findings), indent=2))
    else:
        _print(findings)
    code = _exit(findings, is_strict=is_strict)
    await end_threads(code)
    return code


async def _findings(subject: Subject, only: Sequence[str]) -> Sequence[Finding]:
    from outboard.cli.log_output import configure_logs  # noqa: PLC0415 - as above
    from outboard.local.checkup.checkup import examine  # noqa: PLC0415 - same
    from outboard.local.settings_files import open_host  # noqa: PLC0415 - same

    if subject.choice is not None and subject.service is None:
        try:
            subject.host = open_host(subject.choice, is_local=False)
        except OutboardError as error:
            subject.unreadable = error
    configure_logs(subject.redact, level="error", form="pretty")  # what matters is told as a finding
    try:
        return await examine(subject, only)
    finally:
        if subject.host is not None:
            await asyncio.wait({asyncio.ensure_future(subject.host.close())}, timeout=_CLOSING_S)


def _exit(findings: Sequence[Finding], *, is_strict: bool) -> Exit:
    from outboard.local.checkup.findings import Mark  # noqa: PLC0415 - as above

    bad = {Mark.PROBLEM, Mark.WARNING} if is_strict else {Mark.PROBLEM}
    codes = {_code(finding) for finding in findings if finding.mark in bad}
    if not codes:
        return Exit.SUCCESS
    return codes.pop() if len(codes) == 1 else Exit.FAILED


def _code(finding: Finding) -> Exit:
    return Exit.FAILED if finding.error is None else exit_code(finding.error)


def _print(findings: Sequence[Finding]) -> None:
    marks = max((len(each.mark.value) for each in findings), default=0)
    checks = max((len(each.check) for each in findings), default=0)
    for each in findings:
        words = one_line(f"{each.found}; {each.remedy}" if each.remedy else each.found)
        write_result(f"{each.mark.value.ljust(marks)}  {each.check.ljust(checks)}  {words}")
    counts = Counter(each.mark.value for each in findings)
    write_note(", ".join(f"{counts[mark]} {mark}" for mark in ("problem", "warning", "ok", "skipped") if counts[mark]))


def _document(findings: Sequence[Finding]) -> dict[str, Any]:
    from outboard.local.checkup.findings import worst  # noqa: PLC0415 - as above

    counts = Counter(each.mark.value for each in findings)
    return {
        "version": 1,
        "worst": worst(findings).value,
        "counts": dict(counts),
        "findings": [
            {
                "check": each.check,
                "mark": each.mark.value,
                "about": each.about,
                "found": each.found,
                "remedy": each.remedy,
                "error": type(each.error).__name__ if each.error is not None else None,
                "seconds": each.seconds,
            }
            for each in findings
        ],
    }
