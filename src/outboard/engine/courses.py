"""The course of a task: its state, what can happen to it, and what can be done next, as plain records.

`decisions` turns (state, event, now) into the next state and a state into the one effect that is due; `runs` performs
effects and feeds back what came of them. Nothing here reads a clock: all times are monotonic seconds given by the caller.

Stages of one attempt::

    SENDING ──> POLLING ──> COLLECTING ──> ENDED
       │           │             │
       └───────────┴──> STOPPING ┴───────> ENDED, LEFT, or SENDING of the next attempt

LEFT is an end for this engine only: something may still run, or could not be asked, so the journal keeps the task open
and a resumed run takes it up again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from outboard.domain.phases import Phase
from outboard.domain.statuses import Failure, TaskStatus
from outboard.errors import OutboardError


class Stage(str, Enum):
    """What is being done about a task."""

    SENDING = "sending"
    POLLING = "polling"
    COLLECTING = "collecting"
    STOPPING = "stopping"
    ENDED = "ended"
    LEFT = "left"


class Reason(str, Enum):
    """Why a job is being stopped, which decides what comes after."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"
    RETRY = "retry"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What task and settings say; durations are seconds.

    Attributes:
        timeout_s: For one attempt, from its first CreateTask; None is no limit.
        jitter: Returns 0 to 1; pauses spread by a fifth either way, so that many tasks do not poll in step.
    """

    timeout_s: float | None = None
    first_poll_s: float = 0.05
    longest_poll_s: float = 10.0
    poll_growth: float = 1.5
    resend_limit_s: float = 120.0
    retry_pause_s: float = 1.0
    cancel_wait_s: float = 30.0
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A job that is being stopped.

    Attributes:
        failure: What the attempt ends with.
        until: When waiting for the end is over.
        is_accepted: DeleteTask was answered.
        is_refused: DeleteTask failed last; the job may be over all the same, so it is asked about before the next one.
    """

    reason: Reason
    failure: Failure
    until: float
    is_accepted: bool = False
    is_refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedCancel:
    """A job of an earlier attempt, or of a task that ended, that is not known to be over.

    Attributes:
        is_reported_over: The service itself called the job failed, so an accepted DeleteTask settles it. Otherwise only
            the job's end does.
    """

    attempt: int
    handle: bytes
    is_reported_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Where a task stands, as its engine sees it.

    Attributes:
        retries_left: Further attempts that the user allows.
        due_at: When the next effect is due.
        tries: Effects of this stage that changed nothing; pauses grow with it.
        handle: The attempt's handle.
        began_at: When the attempt's first CreateTask was sent.
        may_exist: A CreateTask of this attempt may have arrived, and its handle did not.
        failing_since: When the calls of this stage began to fail.
        problem: Why they fail.
        unreachable: The name of the service that gives no answer at all; empty once it gave any.
        status: The last one answered.
        stop: Why the job is being stopped, or is to be as soon as its handle is known.
        failure: Why the last attempt failed; of the task, once it ended.
        phase: The task's final phase.
        outputs: Of a task that succeeded.
        owed: A cancel that is to be written down before anything else happens.
        left: What may go on running without us, once LEFT.
    """

    attempt: int = 0
    retries_left: int = 0
    stage: Stage = Stage.SENDING
    due_at: float = 0.0
    tries: int = 0
    handle: bytes | None = None
    began_at: float | None = None
    may_exist: bool = False
    failing_since: float | None = None
    problem: str = ""
    unreachable: str = ""
    status: TaskStatus | None = None
    stop: Stop | None = None
    failure: Failure | None = None
    phase: Phase | None = None
    outputs: Mapping[str, Any] | None = None
    owed: OwedCancel | None = None
    left: str = ""

    @property
    def is_over(self) -> bool:
        """Whether this engine does nothing more about it."""
        return self.stage is Stage.ENDED or self.stage is Stage.LEFT


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody wants the task cancelled."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Nobody waits any longer; `in_flight` is whether a call was under way."""

    in_flight: bool


@dataclass(frozen=True, slots=True)
class Created:
    """CreateTask answered a handle."""

    handle: bytes
    sent_at: float


@dataclass(frozen=True, slots=True)
class Refused:
    """CreateTask or ExecuteTaskSync failed, or what precedes it.

    `arrived` is whether the request may have taken effect all the same.
    """

    error: OutboardError
    sent_at: float
    arrived: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """GetTask, or ExecuteTaskSync, answered."""

    status: TaskStatus


@dataclass(frozen=True, slots=True)
class Unanswered:
    """GetTask failed."""

    error: OutboardError


@dataclass(frozen=True, slots=True)
class Deleted:
    """DeleteTask answered."""


@dataclass(frozen=True, slots=True)
class NotDeleted:
    """DeleteTask failed."""

    error: OutboardError


@dataclass(frozen=True, slots=True)
class Collected:
    """The outputs are there and fit."""

    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Uncollected:
    """There are no outputs, or none that fit."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The place of the outputs cannot be read at present."""

    error: OutboardError


@dataclass(frozen=True, slots=True)
class Owing:
    """The cancel that is owed is written down, and somebody goes on with it."""


Event = (
    Tick
    | CancelAsked
    | Abandoned
    | Created
    | Refused
    | Answered
    | Unanswered
    | Deleted
    | NotDeleted
    | Collected
    | Uncollected
    | Unreadable
    | Owing
)


class Effect(str, Enum):
    """What is due."""

    WAIT = "wait"
    SEND = "send"
    POLL = "poll"
    DELETE = "delete"
    COLLECT = "collect"
    OWE = "owe"
    FINISH = "finish"
