"""The journal, as commands use it: where it lies, and what a person means by a task or a run.

Tasks are meant by id, by the beginning of an id where that is enough, or as `run/task`. Ids are unique within a run only; of
equal ones the newest is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from outboard.engine.journal import Journal, RunRecord, TaskRecord
from outboard.errors import InvalidSettings
from outboard.local.home import journal_path

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
    before, slash, after = text.partition("/")
    run_id, task_id = (before, after) if slash else (None, text)
    exact = await journal.task(task_id, run_id=run_id)
    if exact is not None:
        return exact
    ids = await journal.ids(task_id, run_id=run_id, limit=_SHOWN + 1)
    found = await journal.task(ids[0], run_id=run_id) if len(ids) == 1 else None
    if found is not None:
        return found
    if not ids:
        raise InvalidSettings(
            f"there is no task '{text}' in the journal: `outboard jobs --all` lists them", field="task"
        )
    listed = ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")
    raise InvalidSettings(f"'{text}' begins the ids of several tasks ({listed}): write more of it", field="task")


async def find_run(journal: Journal, text: str) -> RunRecord | None:
    """Return the run of an id, or of the beginning of one where only one begins so; None where there is none."""
    found: Sequence[RunRecord] = [run for run in await journal.runs() if run.run_id.startswith(text)]
    exact = [run for run in found if run.run_id == text]
    return exact[0] if exact else found[0] if len(found) == 1 else None
