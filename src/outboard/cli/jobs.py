"""`outboard jobs`: what the journal knows of runs and their tasks, live ones first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import AsJson, JournalFile
from outboard.cli.exits import Exit
from outboard.cli.json_values import dumps, handle_text
from outboard.cli.loops import run_loop
from outboard.cli.printing import write_result
from outboard.errors import InvalidSettings
from outboard.local.notes import write_note

if TYPE_CHECKING:
    from outboard.engine.journal import RunRecord, TaskRecord
    from outboard.engine.journal_records import OwedRecord

EXAMPLES: Final = (
    "outboard jobs",
    "outboard jobs --all --json",
    "outboard jobs r1a2b3c4d5e",
    "outboard jobs --prune 30",
)
_SHOWN: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A run, those of its tasks that are shown, and the jobs of earlier attempts whose cancel is not confirmed."""

    run: RunRecord
    tasks: Sequence[TaskRecord]
    owed: Sequence[OwedRecord]

    @property
    def is_orphaned(self) -> bool:
        """Whether it has open tasks and no engine that is known to live."""
        from outboard.engine.leases import Life  # noqa: PLC0415 - the engine is for those who use it

        return self.run.is_open and self.run.owner_life is not Life.ALIVE


def command(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Only this run's tasks.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All tasks of all runs, not only the newest.")] = False,
    prune: Annotated[
        float | None,
        typer.Option("--prune", min=0, metavar="DAYS", help="Forget the runs that ended longer ago; list nothing."),
    ] = None,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> int:
    """List the tasks of the journal's runs: those under way first, then the newest."""
    from outboard.cli.journals import is_journal  # noqa: PLC0415 - the engine is for those who use it

    if prune is not None:
        if run or every:
            raise InvalidSettings("--prune is for all ended runs: leave out the run and --all", field="prune")
        return _tell_pruned(run_loop(_prune(journal, prune)) if is_journal(journal) else [], as_json=as_json)
    shown, hidden = run_loop(_read(journal, run, every=every)) if is_journal(journal) else ([], 0)
    if run and not shown:
        raise InvalidSettings(f"there is no run '{run}' in the journal: `outboard jobs --all` lists them", field="run")
    if as_json:
        write_result(dumps({"runs": [_document(each) for each in shown]}, indent=2))
        return Exit.SUCCESS
    _print(shown)
    if hidden:
        write_note(f"{hidden} more: `outboard jobs --all` shows them")
    for each in shown:
        for owed in each.owed:
            write_note(
                f"cancel not confirmed: attempt {owed.attempt + 1} of {each.run.run_id}/{owed.task_id} at {owed.endpoint}, "
                f"since {owed.owed_at:%Y-%m-%d %H:%M:%S} UTC"
            )
        if each.is_orphaned:
            write_note(f"nobody drives run {each.run.run_id}: `outboard resume {each.run.run_id}` finishes it")
    return Exit.SUCCESS


async def _prune(path: Path | None, days: float) -> list[str]:
    """Forget the runs that ended longer ago, and return their ids."""
    from outboard.cli.journals import open_journal  # noqa: PLC0415 - the engine is for those who use it

    now = datetime.now(timezone.utc)
    try:
        before = now - timedelta(days=days)
    except OverflowError:
        raise InvalidSettings(f"--prune {days:g} days ago is before all time: give fewer", field="prune") from None
    async with open_journal(path) as journal:
        return await journal.prune(before)


def _tell_pruned(run_ids: Sequence[str], *, as_json: bool) -> Exit:
    if as_json:
        write_result(dumps({"pruned": list(run_ids)}, indent=2))
    else:
        write_note(f"forgotten: {', '.join(run_ids)}" if run_ids else "nothing to forget")
    return Exit.SUCCESS


async def _read(path: Path | None, wanted: str | None, *, every: bool) -> tuple[list[_Shown], int]:
    """Return runs with tasks, and how many tasks are left out."""
    from outboard.cli.journals import find_run, open_journal  # noqa: PLC0415 - the engine is for those who use it

    async with open_journal(path) as journal:
        if wanted:
            found = await find_run(journal, wanted)
            runs = [found] if found else []
        else:
            runs = sorted(await journal.runs(), key=lambda run: not run.is_open)
        shown: list[_Shown] = []
        left = _SHOWN
        hidden = 0
        for run in runs:
            if left <= 0 and not every and not wanted:
                hidden += run.unfinished + sum(run.ended.values())
                continue
            count = run.unfinished + sum(run.ended.values())
            tasks = await journal.open_first(run.run_id, limit=count if every or wanted else left)
            hidden += max(0, count - len(tasks))
            left -= len(tasks)
            owed = await journal.owed(run.run_id) if run.owed else ()
            shown.append(_Shown(run=run, tasks=tasks, owed=owed))
        return shown, hidden


def _print(shown: Sequence[_Shown]) -> None:
    from outboard.cli.tables import Column, render  # noqa: PLC0415 - rich is for people only

    rows = [
        (
            each.run.run_id,
            task.task_id,
            _phase(task),
            "" if task.attempt is None else str(task.attempt + 1),
            elapsed(task.started_at or task.created_at, task.ended_at),
            task.endpoint or "",
            _words(task),
        )
        for each in shown
        for task in each.tasks
    ]
    titles = ("RUN", "TASK", "PHASE", "ATTEMPT", "TIME", "ENDPOINT")
    columns = [*(Column(title) for title in titles), Column("MESSAGE", is_flexible=True)]
    write_result(render(columns, rows, empty="the journal holds no runs"))


def elapsed(start: datetime, end: datetime | None) -> str:
    """Return the time between two moments, or since the first, as people read it.

    >>> elapsed(datetime(2024, 1, 1, tzinfo=timezone.utc), datetime(2024, 1, 1, 1, 2, 3, tzinfo=timezone.utc))
    '1:02:03'
    """
    seconds = max(0, int(((end or datetime.now(timezone.utc)) - start).total_seconds()))
    return str(timedelta(seconds=seconds))


def _phase(task: TaskRecord) -> str:
    return task.step.value if task.phase is None else task.phase.value


def _words(task: TaskRecord) -> str:
    words = task.message or str((task.error or {}).get("message", ""))
    if not task.cancel_requested_at or task.ended_at:
        return words
    wish = "cancel requested" if task.attempt is None else "cancel not confirmed"
    return f"{wish}; {words}".rstrip("; ")


def _document(each: _Shown) -> Mapping[str, Any]:
    run = each.run
    return {
        "run": run.run_id,
        "title": run.title,
        "created_at": run.created_at,
        "owner": None if run.owner is None else {"pid": run.owner.pid, "host": run.owner.host},
        "owner_life": run.owner_life,
        "unfinished": run.unfinished,
        "ended": {phase.value: count for phase, count in run.ended.items()},
        "tasks": [_task_document(task) for task in each.tasks],
        "owed_cancels": [_owed_document(owed) for owed in each.owed],
    }


def _owed_document(owed: OwedRecord) -> Mapping[str, Any]:
    return {
        "task": owed.task_id,
        "attempt": owed.attempt,
        "endpoint": owed.endpoint,
        "handle": handle_text(owed.handle),
        "owed_at": owed.owed_at,
    }


def _task_document(task: TaskRecord) -> Mapping[str, Any]:
    return {
        "task": task.task_id,
        "step": task.step,
        "phase": task.phase,
        "attempt": task.attempt,
        "endpoint": task.endpoint,
        "message": task.message,
        "links": list(task.links),
        "error": task.error,
        "handle": handle_text(task.handle),
        "created_at": task.created_at,
        "started_at": task.started_at,
        "attempt_started_at": task.attempt_started_at,
        "updated_at": task.updated_at,
        "ended_at": task.ended_at,
        "cancel_requested_at": task.cancel_requested_at,
    }
