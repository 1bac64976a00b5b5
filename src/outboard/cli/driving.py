"""Driving tasks: journal, endpoints, engine and view put together, and what Ctrl-C does to them.

What can be known to be wrong before anything is started is found first: a journal that cannot be written, a service that does
not answer, a task type that nobody serves. Then everything is the engine's; here its events are only shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outboard.cli.connections import Found, Target, find
from outboard.cli.documents import read_model
from outboard.cli.exits import Exit
from outboard.cli.home import outputs_base
from outboard.cli.interrupts import interrupts
from outboard.cli.journals import open_journal
from outboard.cli.printing import write_note
from outboard.cli.reports import report
from outboard.cli.specs import NamedTask
from outboard.cli.views import open_view
from outboard.engine.engine import Engine
from outboard.engine.journal import Journal
from outboard.engine.outcomes import TaskEvent, TaskOutcome
from outboard.engine.routing import IN_PROCESS, Routes
from outboard.engine.settings import EngineSettings
from outboard.errors import InvalidSettings, OutboardError

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

    def engine_settings(self) -> EngineSettings:
        """Return the engine's settings: options over the settings file over the user's own folder."""
        values: dict[str, Any] = {"output_base": outputs_base(), **self.target.choice.engine}
        if self.output_base is not None:
            values["output_base"] = self.output_base
        if self.max_live is not None:
            values["max_live"] = self.max_live
        return read_model(EngineSettings, values, InvalidSettings, where=self.target.choice.where, path="engine")


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
        )

    async with open_journal(drive.journal) as journal, find(drive.target) as found:
        return await drive_to_end(drive, found, journal, work, name=lambda event: event.task_id)


async def cancel_run(drive: Drive, journal: Journal, run_id: str, *, force: bool) -> list[TaskOutcome]:
    """Take up a run whose engine is gone, only to cancel what is open, and return the outcomes."""
    recorded = await _recorded(journal, [run_id])
    async with find(drive.target, recorded) as found, _engine(drive, found, journal, on_event=None) as engine:
        return await engine.resume(run_id, force=force, cancel=True)


async def resume_runs(drive: Drive, journal: Journal, run_ids: Sequence[str], *, force: bool) -> Exit:
    """Take up runs whose engines are gone, drive them to their ends, print the results and return the exit code."""

    async def work(engine: Engine) -> Sequence[TaskOutcome]:
        taken = [engine.resume(run_id, force=force) for run_id in run_ids]
        results = await asyncio.gather(*taken, return_exceptions=True)
        outcomes = [outcome for result in results if not isinstance(result, BaseException) for outcome in result]
        for result in results:
            if isinstance(result, OutboardError) and outcomes:
                write_note(f"error: {result.message}")  # the others' results must not be lost for it
            elif isinstance(result, BaseException):
                raise result
        return outcomes

    def name(event: TaskEvent) -> str:
        return f"{event.run_id}/{event.task_id}" if len(run_ids) > 1 else event.task_id

    async with find(drive.target, await _recorded(journal, run_ids)) as found:
        return await drive_to_end(drive, found, journal, work, name=name)


async def drive_to_end(
    drive: Drive, found: Found, journal: Journal, work: Work, *, name: Callable[[TaskEvent], str]
) -> Exit:
    """Let an engine work, show it, obey interrupts, print the results and return the exit code.

    Args:
        drive: The options.
        found: Whom the engine talks to.
        journal: Where it records.
        work: What it does; returns the outcomes.
        name: What a task is called in the view.
    """
    with open_view(is_quiet=drive.is_quiet) as view:
        engine = _engine(drive, found, journal, lambda event: view.show(name(event), event))

        def cancel() -> None:
            view.say("cancelling; Ctrl-C again stops waiting for the confirmation")
            engine.interrupt()

        async with engine:
            with interrupts(cancel, engine.interrupt) as seen:
                outcomes = await work(engine)
    code = report(outcomes, as_json=drive.as_json)
    if seen.count > 1 or code is Exit.LEFT_RUNNING:
        return Exit.LEFT_RUNNING
    return seen.exit_code if seen.count else code


def _engine(drive: Drive, found: Found, journal: Journal, on_event: Callable[[TaskEvent], None] | None) -> Engine:
    settings = drive.engine_settings()
    host = {} if found.host is None else {IN_PROCESS: found.host}
    names = (*host, *found.addresses)
    if found.config is not None and set(found.addresses) == set(found.config.addresses):
        routes = Routes.of(found.config)
        if "listing_interval" not in settings.model_fields_set:
            settings = settings.model_copy(update={"listing_interval": found.config.listing_interval})
    else:
        routes = Routes(order=names, default=next(iter(found.addresses), None))
    return Engine(
        {**host, **found.addresses},
        routes=routes,
        journal=journal,
        settings=settings,
        on_event=on_event,
        stores=None if found.host is None else found.host.stores,
    )


async def _recorded(journal: Journal, run_ids: Iterable[str]) -> list[str]:
    """Return the endpoints that the unfinished tasks of runs were sent to."""
    unfinished = [each.record for run_id in run_ids for each in await journal.unfinished(run_id)]
    return [record.endpoint for record in unfinished if record.endpoint]
