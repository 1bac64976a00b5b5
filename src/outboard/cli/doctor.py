"""`outboard doctor`: what keeps a service from doing its work, found before its users find it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import (
    Agents,
    AsJson,
    CalledService,
    Flytekit,
    FlytekitModules,
    Installation,
    Platforms,
    SettingsFile,
)
from outboard.cli.exits import Exit, exit_code
from outboard.cli.handle_files import read_handle
from outboard.cli.json_values import dumps
from outboard.cli.loops import end_threads, run_loop
from outboard.cli.printing import write_result
from outboard.errors import InvalidSettings, OutboardError
from outboard.local.notes import one_line, write_note
from outboard.local.settings_files import AgentChoice, names, names_in, read_choice

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What is examined, apart from the service; see `option_groups`."""

    project: Annotated[str, typer.Option("--project", metavar="NAME", help="Look for this project's secrets.")] = ""
    domain: Annotated[str, typer.Option("--domain", metavar="NAME", help="And this domain's.")] = ""
    handle: Annotated[
        bytes | None,
        typer.Option(
            "--handle",
            metavar="FILE",
            parser=read_handle,
            help="A handle of another replica, raw or base64: can it be read here?",
        ),
    ] = None
    output_prefix: Annotated[
        str, typer.Option("--output-prefix", metavar="URI", help="Try records here, where host.records names no place.")
    ] = ""
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="URL", help="The service's metrics: what is throttled now.")
    ] = ""
    limit: Annotated[
        float, typer.Option("--limit", min=0.1, metavar="SECONDS", help="How long any one question may take.")
    ] = 10.0
    platforms: Platforms = None
    agents: Agents = None
    flytekit: Flytekit = None
    flytekit_modules: FlytekitModules = None
    installation: Installation = None
    settings: SettingsFile = None

    def subject(self, service: CalledService) -> Subject:
        """Return it; settings that cannot be read are something to be told about an installation.

        Raises:
            OutboardError: They cannot be read, and a service is to be examined, about which nothing here can tell then.
        """
        from outboard.domain.identity import Scope  # noqa: PLC0415 - what a checkup needs is for those who want one
        from outboard.local.checkup.subject import Subject  # noqa: PLC0415 - same
        from outboard.local.connections import address_of  # noqa: PLC0415 - same

        subject = Subject(
            choice=None,
            file=self.settings,
            modules=names_in(self.agents) or None,
            wanted=frozenset(names(self.platforms) or ()),
            scope=Scope(project=self.project, domain=self.domain),
            metrics_url=self.metrics,
            output_prefix=self.output_prefix,
            handle=self.handle,
            limit_s=self.limit,
        )
        try:
            subject.choice = self._choice(service)
            if service.endpoint:
                subject.service = address_of(service.target_with(subject.choice), service.endpoint)
        except OutboardError as error:
            if service.endpoint:
                raise
            subject.unreadable = error
        return subject

    def _choice(self, service: CalledService) -> AgentChoice:
        return read_choice(
            self.settings,
            platforms=self.platforms,
            modules=self.agents,
            installation=self.installation,
            flytekit=self.flytekit,
            flytekit_modules=self.flytekit_modules,
            client=service.client,
        )


def command(
    *,
    service: CalledService,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="Only this check; repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as problems.")] = False,
    examined: Examined,
    as_json: AsJson = False,
) -> int:
    """Check an installation, or a running service: settings, secrets, platforms, clock, records, handles, ports, limits.

    It starts nothing, touches no job and shows no secret. The exit code is that of the worst finding: 0 where there is no
    problem (with --strict, no warning either).
    """
    checks = _checks(only, is_of_service=bool(service.endpoint))
    return run_loop(_examine(examined.subject(service), checks, is_strict=strict, as_json=as_json))


def _checks(only: Sequence[str] | None, *, is_of_service: bool) -> Sequence[str]:
    from outboard.local.checkup.checkup import HERE, THERE  # noqa: PLC0415 - what a checkup needs is for those who want one

    chosen, known = names_in(only), THERE if is_of_service else HERE
    for name in chosen:
        if name not in known:
            whose = "a running service" if is_of_service else "an installation"
            words = f"--only {name}: there is no such check of {whose}; known: {', '.join(known)}"
            raise InvalidSettings(words, field="only")
    return chosen


async def _examine(subject: Subject, only: Sequence[str], *, is_strict: bool, as_json: bool) -> Exit:
    from outboard.cli.log_output import prints_aside  # noqa: PLC0415 - as above

    # What platforms' code prints is no part of the answer.
    with prints_aside(subject.redact):
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
