"""The journal, as commands use it: where it lies, and what a person means by a task or a run.

Tasks are meant by id, by the beginning of an id where that is enough, or as `run/task`. Ids are unique within a run only; of
equal ones the newest is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from outboard.cli.home import journal_path
from outboard.engine.journal import Journal, RunRecord, TaskRecord
from outboard.errors import InvalidSettings

_SHOWN: int = 5


def open_journal(path: Path | None) -> Journal:
    """Return the journal at a path, or at its usual place; `JournalUnwritable` when it cannot be used."""
    return Journal.open(path or journal_path())


def is_journal(path: Path | None) -> bool:
    """Tell whether there is a journal, so that reading commands need not make one."""
    return (path or journal_path()).exists()


async def find_task(journal: Journal, text: str) -> TaskRecord:
    """Return the task that a person means.

    Raises:
        InvalidSettings: There is none, or it could be several.
    """
    run_id, slash, task_id = text.partition("/")
    if slash:
        found = [task for task in await journal.tasks(run_id) if task.task_id.startswith(task_id)]
    else:
        found = await journal.find(text)
        task_id = text
    exact = [task for task in found if task.task_id == task_id]
    if exact:
        return exact[0]
    ids = list(dict.fromkeys(task.task_id for task in found))
    if not ids:
        raise InvalidSettings(
            f"there is no task '{text}' in the journal: `outboard jobs --all` lists them", field="task"
        )
    if len(ids) > 1:
        listed = ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
        raise InvalidSettings(f"'{text}' begins the ids of several tasks ({listed}): write more of it", field="task")
    return found[0]


async def find_run(journal: Journal, text: str) -> RunRecord | None:
    """Return the run of an id, or of the beginning of one where only one begins so; None where there is none."""
    found: Sequence[RunRecord] = [run for run in await journal.runs() if run.run_id.startswith(text)]
    exact = [run for run in found if run.run_id == text]
    return exact[0] if exact else found[0] if len(found) == 1 else None
