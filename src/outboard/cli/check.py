"""`outboard check`: whether agents keep the promise, and what their authors must change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import AsJson, Quiet, SettingsFile
from outboard.cli.exits import Exit
from outboard.cli.json_values import dumps
from outboard.cli.printing import write_result
from outboard.errors import OutboardError
from outboard.local.notes import write_note
from outboard.local.settings_files import read_choice, search_in

if TYPE_CHECKING:
    from outboard.testing.conformance.findings import AgentReport
    from outboard.testing.conformance.selection import Selection, Subject

EXAMPLES: Final = (
    "outboard check my_package.agents:MyAgent",
    "outboard check my_package.cases:CASE --only started-once",
    "outboard check --all --strict --report build/check.json",
)


def command(  # noqa: PLR0913 - each is an option
    *,
    subjects: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE:NAME...", help="An agent class, a platform or a case.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every agent of every installed platform.")] = False,
    cases: Annotated[
        list[str] | None,
        typer.Option("--case", metavar="MODULE:CASE", help="A case that no installed package names; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CHECK", help="Only checks whose names start so; repeatable."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Checks that could not be run count as failed.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the JSON document into a file.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Cases at once; as many as suit this machine by default.")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Check agents against the promise: started once, found, adopted, cancelled, never killed by our faults, no secret told.

    The exit code is 1 where a check failed. Without a case only what a class declares is checked.
    """
    if not subjects and not everything and not cases:
        raise typer.BadParameter("name what to check, or say --all", param_hint="MODULE:NAME")
    choice = read_choice(settings, platforms=None, modules=None)
    search_in(Path.cwd())
    from outboard.testing.conformance.findings import document  # noqa: PLC0415 - the kit is for those who use it
    from outboard.testing.conformance.side_by_side import Wanted, check_each, jobs_for  # noqa: PLC0415 - same

    named = [*(subjects or ()), *((cases or ()) if not subjects and not everything else ())]
    wanted = Wanted(specs=named, cases=cases or (), settings=choice.settings, is_all=everything, only=tuple(only or ()))
    selection = wanted.select()
    made = check_each(wanted, selection, jobs=jobs or jobs_for(selection))
    reports = [next(made) for _ in _progress(selection, quiet=quiet or as_json)]
    found = dumps(document(reports, selection.failures), indent=2)
    if report is not None:
        _write(report, found)
    if as_json:
        write_result(found)
    else:
        _print(reports, selection)
    return _exit(reports, selection, is_strict=strict)


def _progress(selection: Selection, *, quiet: bool) -> Iterator[Subject]:
    for number, subject in enumerate(selection.subjects, start=1):
        if not quiet:
            how = "" if subject.case is not None else ", without a case"
            write_note(f"checking {subject.agent.name} ({number} of {len(selection.subjects)}{how})")
        yield subject


def _exit(reports: Sequence[AgentReport], selection: Selection, *, is_strict: bool) -> Exit:
    from outboard.testing.conformance.findings import Outcome  # noqa: PLC0415 - as above

    bad = {Outcome.FAILED, Outcome.NOT_RUN} if is_strict else {Outcome.FAILED}
    is_bad = any(finding.outcome in bad for report in reports for finding in report.findings)
    return Exit.FAILED if is_bad or selection.failures else Exit.SUCCESS


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "unwritable").lower()
        raise OutboardError(f"{path} cannot be written ({reason}): name another file") from None


def _print(reports: Sequence[AgentReport], selection: Selection) -> None:
    from outboard.cli.tables import Column, render  # noqa: PLC0415 - rich is for people only
    from outboard.testing.conformance.findings import Outcome  # noqa: PLC0415 - as above

    outcomes = list(Outcome)
    columns = [Column("AGENT"), *(Column(outcome.value.upper()) for outcome in outcomes), Column("SECONDS")]
    named = {id(report): _name(report, reports) for report in reports}
    rows = [
        (
            named[id(report)],
            *(str(len(report.having(outcome)) or "") for outcome in outcomes),
            f"{sum(finding.seconds for finding in report.findings):.1f}",
        )
        for report in reports
    ]
    write_result(render(columns, rows, empty="nothing was checked"))
    for report in reports:
        for finding in report.having(Outcome.FAILED):
            write_result(f"\n{named[id(report)]} {finding.check}: FAILED\n  seen:   {finding.message}")
            write_result(f"  change: {finding.remedy}")
        _print_not_run(named[id(report)], report.having(Outcome.NOT_RUN))
    for failure in selection.failures:
        write_note(f"not loaded: {failure['source']}: {failure['reason']}")


def _name(report: AgentReport, reports: Sequence[AgentReport]) -> str:
    """Return the agent's name, with its case's where it has several."""
    has_several = sum(report.agent == other.agent for other in reports) > 1
    return f"{report.agent} ({report.case})" if has_several and report.case else report.agent


def _print_not_run(agent: str, findings: Sequence[Any]) -> None:
    by_remedy: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        by_remedy.setdefault((finding.message, finding.remedy), []).append(finding.check)
    for (message, remedy), checks in by_remedy.items():
        write_result(f"\n{agent}: not run, {message}: {', '.join(checks)}\n  to run them: {remedy}")
