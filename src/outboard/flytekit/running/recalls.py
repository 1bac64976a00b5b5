"""Recalls: going on with a run whose process was killed, when the user says so (`OUTBOARD_RESUME`).

A workflow that is started again is a new execution: nobody can know whether the user wants the old results or new ones. Told to
go on with a run, its unfinished tasks are taken up at once, and a task of the workflow that is the same as a recorded one (type,
version, configuration, interface, inputs, name; not its place in the run) takes that one's result, or waits for it. Each recorded
task is taken once, so a workflow that runs one task twice gets both. Failed and cancelled ones are not recalled; they run anew,
in the same run, which can be killed and gone on with as often as need be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from outboard.domain.identity import ExecutionIdentity, TaskId
from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.engine.engine import Engine
from outboard.engine.journal import Journal
from outboard.engine.leases import Life
from outboard.engine.outcomes import TaskOutcome
from outboard.engine.resumption import ended_outcome
from outboard.engine.runs import Run
from outboard.engine.specs import TaskSpec
from outboard.errors import InvalidSettings
from outboard.flytekit.running.settings import LAST
from outboard.wire.tasks import encode_inputs, encode_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A task that an earlier process began.

    Attributes:
        outcome: Waits for its end, if need be.
        words: What is told to the user.
    """

    task_id: str
    outcome: Callable[[], Awaitable[TaskOutcome]]
    words: str


class Recall:
    """What a run has done already.

    Args:
        run: The run, taken up.
        task_ids: All ids that it has given.
        tasks: What can be recalled, by what the tasks are.
    """

    def __init__(self, run: Run, task_ids: frozenset[str], tasks: dict[bytes, list[Recalled]]) -> None:
        self.run = run
        self.task_ids = task_ids
        self._tasks = tasks

    @classmethod
    async def of(cls, engine: Engine, journal: Journal, wanted: str, title: str) -> Recall:
        """Take up a run and return what can be recalled of it.

        Args:
            engine: Drives what is not over.
            journal: Where the run is recorded.
            wanted: The run's id, the beginning of one, or `last` for the newest of this title.
            title: What this process calls its runs.

        Raises:
            InvalidSettings: There is no such run.
            RunOwned: Its process lives.
        """
        run = await engine.reopen(await _run_id(journal, wanted, title))
        records = await journal.tasks(run.run_id)
        tasks: dict[bytes, list[Recalled]] = {}
        for record in records:
            live = run.open_tasks.get(record.task_id)
            if live is not None:
                recalled = Recalled(task_id=record.task_id, outcome=live.outcome, words="followed, not started again")
            elif record.phase is Phase.SUCCEEDED and record.ended_at is not None:
                recall = partial(ended_outcome, journal, record)
                recalled = Recalled(task_id=record.task_id, outcome=recall, words="done already, not started again")
            else:
                continue
            plan = await journal.spec(run.run_id, record.task_id)
            if plan is not None and plan.spec:
                tasks.setdefault(_essence(TaskSpec.from_plan(plan).task), []).append(recalled)
        return cls(run, frozenset(record.task_id for record in records), tasks)

    async def find(self, task: RawTask) -> Recalled | None:
        """Return the first recorded task that is the same as this one and not taken yet."""
        same = self._tasks.get(_essence(task))
        return same.pop(0) if same else None


async def earlier_runs(journal: Journal, title: str) -> list[str]:
    """Return a sentence for each run of this title that was left open by a process that is gone."""
    return [
        f"run {run.run_id} of an earlier process is not over: OUTBOARD_RESUME={run.run_id} goes on with it, "
        f"`outboard resume {run.run_id}` drives its jobs to their ends"
        for run in await journal.runs()
        if run.is_open and run.title == title and run.owner_life in (None, Life.DEAD)
    ]


async def _run_id(journal: Journal, wanted: str, title: str) -> str:
    runs = await journal.runs()
    if wanted == LAST:
        found = [run.run_id for run in runs if run.title == title][:1]
    else:
        found = [run.run_id for run in runs if run.run_id.startswith(wanted)]
    if len(found) != 1:
        what = f"run of '{title}'" if wanted == LAST else f"one run '{wanted}'"
        raise InvalidSettings(
            f"OUTBOARD_RESUME: there is no {what} in the journal: `outboard jobs --all` lists them", field="resume"
        )
    return found[0]


def _essence(task: RawTask) -> bytes:
    """Return what a task is, without where and as which attempt it runs, and by which version of flytekit it was sent."""
    named = ExecutionIdentity(task=TaskId(name=task.identity.task.name))
    template = encode_template(replace(task, identity=named, sent=None))
    parts: list[bytes] = [each.SerializeToString(deterministic=True) for each in (template, encode_inputs(task))]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
