"""What the journal holds, as records, and how a row becomes one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from outboard.domain.phases import Phase
from outboard.engine.leases import Life, Owner


class Step(str, Enum):
    """Where a task stands in the journal, which decides what a resuming engine does with it."""

    PLANNED = "planned"
    CREATING = "creating"
    CREATED = "created"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """A task to be run.

    Attributes:
        task_id: Unique in its run.
        spec: The encoded CreateTask request, opaque here.
        options: The engine's own about it, as JSON values.
    """

    task_id: str
    spec: bytes
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """What the journal knows of a task, without the specification and the outputs (see `Journal.spec`, `.outputs`).

    Attributes:
        attempt: The attempt under way or last made; None while it is only planned.
        handle: The attempt's handle; None until CreateTask was answered.
        started_at: When the first attempt was sent.
        attempt_started_at: When the attempt was first sent; None where an older version wrote the journal.
        phase: The last phase noted.
        error: Why it failed, as the engine put it.
        cancel_requested_at: When somebody asked to cancel it.
    """

    run_id: str
    task_id: str
    endpoint: str | None
    attempt: int | None
    handle: bytes | None
    phase: Phase | None
    message: str
    links: Sequence[Mapping[str, str]]
    error: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    attempt_started_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None
    cancel_requested_at: datetime | None

    @property
    def step(self) -> Step:
        """Where it stands, as a resuming engine sees it."""
        if self.ended_at is not None:
            return Step.ENDED
        if self.handle is not None:
            return Step.CREATED
        return Step.PLANNED if self.attempt is None else Step.CREATING


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedTask:
    """A task to take up again: what is known of it and how it was planned."""

    record: TaskRecord
    plan: PlannedTask


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedRecord:
    """A job that a task let go of before it was known to be over, and since when its cancel is owed."""

    task_id: str
    attempt: int
    endpoint: str
    handle: bytes
    is_reported_over: bool
    owed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run: its owner, if any engine holds it, whether that one lives, and how its tasks stand.

    Attributes:
        unfinished: Tasks that have not ended.
        ended: Tasks that have, by their last phase.
        owed: Jobs of earlier attempts whose cancel is not confirmed.
    """

    run_id: str
    title: str
    created_at: datetime
    owner: Owner | None
    owner_life: Life | None
    unfinished: int
    ended: Mapping[Phase, int]
    owed: int = 0

    @property
    def is_open(self) -> bool:
        """Whether there is anything to do about it."""
        return self.unfinished > 0 or self.owed > 0


def owner_of(columns: Sequence[Any]) -> Owner:
    """Return the owner that a lease's columns name."""
    pid, started, boot_id, namespace, host = columns
    return Owner(pid=pid, started=started, boot_id=boot_id, namespace=namespace, host=host)


def task_of(row: Sequence[Any]) -> TaskRecord:
    """Return the record of a row of `journal_schema.TASK_COLUMNS`."""
    run_id, task_id, endpoint, attempt, handle, phase, message, links, error, *times = row
    created_at, started_at, attempt_started_at, updated_at, ended_at, cancel_requested_at = times
    return TaskRecord(
        run_id=run_id,
        task_id=task_id,
        endpoint=endpoint,
        attempt=attempt,
        handle=handle,
        phase=phase and Phase(phase),
        message=message,
        links=tuple(json.loads(links)) if links else (),
        error=error and json.loads(error),
        created_at=moment_of(created_at),
        started_at=started_at and moment_of(started_at),
        attempt_started_at=attempt_started_at and moment_of(attempt_started_at),
        updated_at=moment_of(updated_at),
        ended_at=ended_at and moment_of(ended_at),
        cancel_requested_at=cancel_requested_at and moment_of(cancel_requested_at),
    )


def owed_of(row: Sequence[Any]) -> OwedRecord:
    """Return the record of a row of `journal_schema.SELECT_OWED`."""
    task_id, attempt, endpoint, handle, is_reported_over, owed_at = row
    return OwedRecord(
        task_id=task_id,
        attempt=attempt,
        endpoint=endpoint,
        handle=handle,
        is_reported_over=bool(is_reported_over),
        owed_at=moment_of(owed_at),
    )


def unfinished_of(row: Sequence[Any]) -> UnfinishedTask:
    """Return the record of such a row with its specification and options behind it."""
    *columns, spec, options = row
    record = task_of(columns)
    return UnfinishedTask(
        record=record, plan=PlannedTask(task_id=record.task_id, spec=spec, options=json.loads(options))
    )


def moment_of(seconds: float) -> datetime:
    """Return a stored time."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc)
