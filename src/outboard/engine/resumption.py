"""Resumption: tasks of a journal, taken up where an engine left them.

What was begun goes on under the same identity, prefix and attempt, hence under the same submission key, at the endpoint it was
sent to. Its time limit counts from when that attempt was first sent, however often its engine was killed since.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Failure, Link
from outboard.engine.courses import Course, OwedCancel, Stage
from outboard.engine.directory import Directory
from outboard.engine.effects import Dispatch
from outboard.engine.journal import Journal
from outboard.engine.journal_records import OwedRecord, PlannedTask, Step, TaskRecord, UnfinishedTask
from outboard.engine.outcomes import TaskOutcome
from outboard.engine.runs import Run
from outboard.engine.specs import TaskSpec
from outboard.errors import Retry
from outboard.wire.files import decode_outputs_file

OwedTask = tuple[OwedRecord, PlannedTask]


async def owed_tasks(journal: Journal, run_id: str, only: Collection[str] | None = None) -> list[OwedTask]:
    """Return the cancels that a run owes, with how their tasks were planned; of all tasks, or of some."""
    found = []
    for record in await journal.owed(run_id):
        plan = await journal.spec(run_id, record.task_id)
        if plan is not None and (only is None or record.task_id in only):
            found.append((record, plan))
    return found


async def take_up(run: Run, tasks: Iterable[UnfinishedTask], owed: Iterable[OwedTask], directory: Directory) -> None:
    """Go on with unfinished tasks of a run, and with the cancels that it owes.

    Raises:
        InvalidSettings: An endpoint that a task was sent to is not configured; nothing was taken up.
        JournalUnwritable: A task was planned by a version that this one cannot read.
    """
    specs = [(each.record, TaskSpec.from_plan(each.plan)) for each in tasks]
    debts = [(record, TaskSpec.from_plan(plan)) for record, plan in owed]
    for name in {record.endpoint for record, _ in specs} | {debt.endpoint for debt, _ in debts}:
        if name:
            directory.endpoint(name)
    for debt, spec in debts:
        cancel = OwedCancel(attempt=debt.attempt, handle=debt.handle, is_reported_over=debt.is_reported_over)
        run.take_up_owed(spec, debt.endpoint, cancel)
    for record, spec in specs:
        dispatch = Dispatch(endpoint=record.endpoint or "", recorded=record.attempt)
        asked = record.cancel_requested_at is not None
        run.take_up(spec, _course_of(record, spec), dispatch, is_cancel_asked=asked)


def _course_of(record: TaskRecord, spec: TaskSpec) -> Course:
    first, retries = spec.first_attempt, spec.task.retries
    if record.step is Step.PLANNED or record.attempt is None:
        return Course(attempt=first, retries_left=retries)
    retries_left = max(0, retries - (record.attempt - first))
    began_at = time.monotonic()
    if record.attempt_started_at is not None:
        began_at -= max(0.0, time.time() - record.attempt_started_at.timestamp())
    if record.step is Step.CREATING:
        return Course(attempt=record.attempt, retries_left=retries_left, began_at=began_at, may_exist=True)
    return Course(
        attempt=record.attempt,
        retries_left=retries_left,
        stage=Stage.POLLING,
        handle=record.handle,
        began_at=began_at,
    )


async def ended_outcome(journal: Journal, record: TaskRecord) -> TaskOutcome:
    """Return the outcome of a task that had ended before the run was resumed."""
    plan = await journal.spec(record.run_id, record.task_id)
    spec = TaskSpec.from_plan(plan) if plan is not None and plan.spec else None
    outputs = None
    if record.phase is Phase.SUCCEEDED:
        data = await journal.outputs(record.run_id, record.task_id) or b""
        types = spec.task.interface.outputs if spec is not None else {}
        lazy = decode_outputs_file(data, types)
        outputs = {name: lazy[name] for name in lazy}
    first = spec.first_attempt if spec is not None else 0
    ended_at, started_at = record.ended_at, record.started_at or record.created_at
    return TaskOutcome(
        run_id=record.run_id,
        task_id=record.task_id,
        task_type=spec.task.type if spec is not None else "",
        phase=record.phase or Phase.FAILED,
        outputs=outputs,
        error=_failure_of(record),
        message=record.message,
        attempts=0 if record.attempt is None else record.attempt - first + 1,
        links=tuple(Link(name=link["name"], url=link["url"]) for link in record.links),
        endpoint=record.endpoint or "",
        handle=record.handle,
        output_prefix="" if spec is None or record.attempt is None else spec.output_prefix(record.attempt),
        elapsed_s=0.0 if ended_at is None else (ended_at - started_at).total_seconds(),
    )


def _failure_of(record: TaskRecord) -> Failure | None:
    if record.error is None:
        return None
    fields = dict(record.error)
    return Failure(
        code=fields["code"], message=fields["message"], retry=Retry(fields["retry"]), cause=Cause(fields["cause"])
    )
