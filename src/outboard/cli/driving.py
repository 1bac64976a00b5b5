"""Driving tasks: journal, endpoints, engine and view put together, and what Ctrl-C does to them.

What can be known to be wrong before anything is started is found first: a journal that cannot be written, a service that does
not answer, a task type that nobody serves. Then everything is the engine's; here its events are only shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path

from outboard.cli.connections import find
from outboard.cli.exits import Exit
from outboard.cli.interrupts import interrupts
from outboard.cli.journals import open_journal
from outboard.cli.log_output import configure_logs
from outboard.cli.reports import report
from outboard.cli.specs import NamedTask
from outboard.engine.engine import Engine
from outboard.engine.journal import Journal
from outboard.engine.outcomes import TaskEvent, TaskOutcome
from outboard.engine.settings import EngineSettings
from outboard.errors import OutboardError
from outboard.local.connections import Found
from outboard.local.engines import engine_over, engine_settings
from outboard.local.notes import write_note
from outboard.local.targets import Target, describe, kept_target, target_of
from outboard.local.views import View, open_view

Work = Callable[[Engine], Awaitable[Sequence[TaskOutcome]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """What the options say about driving tasks."""

    target: Target = field(default_factory=Target)
    journal: Path | None = None
    output_base: str | None = None
    max_live: int | None = None
    fail_fast: bool = False
    is_quiet: bool = False
    as_json: bool = False
    cancel_wait_s: float | None = None

    def engine_settings(self) -> EngineSettings:
        """Return the engine's settings: options over the settings file over the user's own folder."""
        return engine_settings(
            self.target.choice, output_base=self.output_base, max_live=self.max_live, cancel_wait=self.cancel_wait_s
        )


async def run_tasks(drive: Drive, title: str, tasks: Sequence[NamedTask]) -> Exit:
    """Run tasks to their ends, print the results and return the exit code."""

    async def work(engine: Engine) -> Sequence[TaskOutcome]:
        for task_type in dict.fromkeys(each.task.task_type for each in tasks):
            await engine.directory.route(task_type)
        return await engine.run_many(
            [each.task for each in tasks],
            task_ids=[each.name for each in tasks],
            title=title,
            fail_fast=drive.fail_fast,
            target=kept_target(drive.target),
        )

    async with open_journal(drive.journal) as journal, find(drive.target) as found:
        crew = Crew(drive=drive, found=found, work=work)
        return await drive_to_end(drive, journal, [crew], name=lambda event: event.task_id)


async def cancel_run(
    drive: Drive, journal: Journal, run_id: str, *, force: bool, only: Collection[str] | None = None, wait_s: float
) -> list[TaskOutcome]:
    """Take up a run whose engine is gone, only to cancel what is open, and return the outcomes.

    Args:
        drive: The options.
        journal: Where the run is recorded.
        run_id: The run.
        force: Take it over although its owner cannot be asked.
        only: The ids of the tasks to cancel; None is all.
        wait_s: How long to wait for the confirmation.
    """
    drive = replace(drive, target=await target_of(journal, run_id, drive.target), cancel_wait_s=wait_s)
    async with (
        _found(drive, journal, [run_id]) as found,
        engine_over(found, drive.engine_settings(), journal) as engine,
    ):
        return await engine.resume(run_id, force=force, cancel=True, only=only)


async def resume_runs(drive: Drive, journal: Journal, run_ids: Sequence[str], *, force: bool) -> Exit:
    """Take up runs whose engines are gone, drive them to their ends, print the results and return the exit code."""

    def name(event: TaskEvent) -> str:
        return f"{event.run_id}/{event.task_id}" if len(run_ids) > 1 else event.task_id

    async with AsyncExitStack() as stack:
        crews = []
        for target, runs in await _by_target(drive, journal, run_ids):
            theirs = replace(drive, target=target)
            found = await stack.enter_async_context(_found(theirs, journal, runs))
            crews.append(Crew(drive=theirs, found=found, work=partial(_resume_all, runs, force)))
            if not drive.is_quiet:
                write_note(f"resuming {', '.join(runs)} {describe(target)}")
        hosts = [crew.found.redact for crew in crews]

        def redact(text: str) -> str:
            return reduce(lambda redacted, host: host(redacted), hosts, text)

        configure_logs(redact, level="error", form="pretty")
        return await drive_to_end(drive, journal, crews, name=name)


async def _resume_all(run_ids: Sequence[str], force: bool, engine: Engine) -> Sequence[TaskOutcome]:
    taken = [engine.resume(run_id, force=force) for run_id in run_ids]
    return _joined(await asyncio.gather(*taken, return_exceptions=True))


def _joined(results: Iterable[Sequence[TaskOutcome] | BaseException]) -> list[TaskOutcome]:
    """Return all outcomes there are; an error is raised only where there are none, or the others' results were lost."""
    results = list(results)
    outcomes = [outcome for result in results if not isinstance(result, BaseException) for outcome in result]
    for result in results:
        if isinstance(result, OutboardError) and outcomes:
            write_note(f"error: {result.message}")
        elif isinstance(result, BaseException):
            raise result
    return outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """An engine's part: the options it goes by, whom it talks to, and what it does."""

    drive: Drive
    found: Found
    work: Work


async def drive_to_end(
    drive: Drive, journal: Journal, crews: Sequence[Crew], *, name: Callable[[TaskEvent], str]
) -> Exit:
    """Let engines work, show it, obey interrupts, print the results and return the exit code.

    Args:
        drive: The options.
        journal: Where the engines record.
        crews: One engine each.
        name: What a task is called in the view.
    """
    with open_view(is_quiet=drive.is_quiet) as view:
        show = partial(_show, view, name)
        engines = [engine_over(crew.found, crew.drive.engine_settings(), journal, show) for crew in crews]

        def interrupt() -> None:
            for engine in engines:
                engine.interrupt()

        def cancel() -> None:
            view.say("cancelling; Ctrl-C again stops waiting for the confirmation")
            interrupt()

        async with AsyncExitStack() as stack:
            for engine in engines:
                await stack.enter_async_context(engine)
            with interrupts(cancel, interrupt) as seen:
                working = [crew.work(engine) for crew, engine in zip(crews, engines, strict=True)]
                outcomes = _joined(await asyncio.gather(*working, return_exceptions=True))
    code = report(outcomes, as_json=drive.as_json)
    if seen.count > 1 or code is Exit.LEFT_RUNNING:
        return Exit.LEFT_RUNNING
    return seen.exit_code if seen.count else code


def _show(view: View, name: Callable[[TaskEvent], str], event: TaskEvent) -> None:
    view.show(name(event), event)


@asynccontextmanager
async def _found(drive: Drive, journal: Journal, run_ids: Iterable[str]) -> AsyncIterator[Found]:
    """Give whom the open tasks of runs need: where they were sent, and where those go that never were."""
    names = [name for run_id in run_ids for name in await journal.open_endpoints(run_id)]
    async with find(drive.target, filter(None, names), with_unsent=None in names) as found:
        yield found


async def _by_target(drive: Drive, journal: Journal, run_ids: Iterable[str]) -> list[tuple[Target, list[str]]]:
    """Return runs by where they belong; runs with one target share one engine."""
    groups: list[tuple[Target, list[str]]] = []
    for run_id in run_ids:
        target = await target_of(journal, run_id, drive.target)
        same = [runs for known, runs in groups if known == target]
        if same:
            same[0].append(run_id)
        else:
            groups.append((target, [run_id]))
    return groups
