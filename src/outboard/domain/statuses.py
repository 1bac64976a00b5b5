"""What is known of a job, and of a task.

Two records, one on each side of the host. An agent answers a `Status`: the platform's own state and facts, with no
phase, so that no agent can answer a wrong one. The host derives the `TaskStatus` from it (see `states`), which is
what engines get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal

from outboard.domain.phases import Phase
from outboard.domain.types import ValueType
from outboard.errors import Actor, Retry

State = str | tuple[str, str]
"""The platform's own word for where a job stands, or a pair of words (life cycle, result)."""


class Cause(str, Enum):
    """Why a job failed."""

    USER = "user"
    PLATFORM = "platform"
    PREEMPTED = "preempted"
    CANCELLED_OUTSIDE = "cancelled outside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job ended without success.

    Attributes:
        code: The platform's error code, or a short name of ours.
        message: The platform's own words.
        retry: Whether another attempt is worth it; this alone decides between FAILED and RETRYABLE_FAILED.
        cause: Whose doing it was.
    """

    code: str
    message: str = ""
    retry: Retry = Retry.NEVER
    cause: Cause = Cause.USER

    @property
    def actor(self) -> Actor:
        """Who must act."""
        return Actor.USER if self.cause in (Cause.USER, Cause.CANCELLED_OUTSIDE) else Actor.PLATFORM


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A page about the job, shown beside the task."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a job consumed, as the platform billed it."""

    duration: timedelta | None = None
    billed: Mapping[str, Decimal] = field(default_factory=dict)
    currency_amount: Decimal | None = None
    source: str = ""


DEFERRED: Final = "deferred"
Deferred = Literal["deferred"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What an agent answers about one job.

    Attributes:
        state: The platform's own state; the agent's `StateMap` turns it into a phase.
        message: The platform's words about it.
        links: Pages known only now; links that need no call belong into `links()` of the agent.
        outputs: Native Python values by name once the job succeeded, or `DEFERRED`: ask `fetch_outputs` once.
        failure: Why it failed, where the platform tells more than the state does.
        usage: What it consumed; on the final status only.
        custom_info: JSON that Flyte shows with the task.
        poll_after: How long nothing will change, where the platform says so.
    """

    state: State
    message: str = ""
    links: Sequence[Link] = ()
    outputs: Mapping[str, Any] | Deferred | None = None
    failure: Failure | None = None
    usage: Usage | None = None
    custom_info: Mapping[str, Any] | None = None
    poll_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """The platform answered that it knows no such job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatus:
    """What an engine gets about one task.

    Attributes:
        phase: Where the task stands.
        message: One or a few sentences; Flyte shows it only when the phase changes.
        outputs: Native values by name, or None where they lie in `outputs.pb` at the output prefix (or are not there
            yet). An empty mapping means "no outputs" and is trusted.
        output_types: The declared types of the outputs, where known; the wire encodes by them.
        links: Pages about the job.
        custom_info: JSON for the console.
        error: Why it failed; only with a failed phase.
        state: The platform's own state, for people; empty where there is none.
        is_flagged: The state was not in the agent's table: still treated by the rules, but somebody should look.
        poll_after: How long nothing will change.
    """

    phase: Phase
    message: str = ""
    outputs: Mapping[str, Any] | None = None
    output_types: Mapping[str, ValueType] | None = None
    links: Sequence[Link] = ()
    custom_info: Mapping[str, Any] | None = None
    error: Failure | None = None
    state: str = ""
    is_flagged: bool = False
    poll_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a task ended, in a form that travels: in handles, and in the records that replicas share.

    Attributes:
        phase: A terminal phase; it also says whether another attempt is worth it.
        code: As in `Failure`.
        message: As in `Failure`.
        cause: As in `Failure`.
    """

    phase: Phase
    code: str = ""
    message: str = ""
    cause: Cause = Cause.USER

    @classmethod
    def of(cls, status: TaskStatus) -> Ending:
        """Return the ending that a terminal status tells; its outputs are not part of it."""
        error = status.error
        if error is None:
            return cls(phase=status.phase, message=status.message)
        return cls(phase=status.phase, code=error.code, message=error.message or status.message, cause=error.cause)

    @property
    def status(self) -> TaskStatus:
        """The status that tells this ending."""
        if self.phase in (Phase.SUCCEEDED, Phase.ABORTED):
            return TaskStatus(phase=self.phase, message=self.message)
        retry = Retry.YES if self.phase is Phase.RETRYABLE_FAILED else Retry.NEVER
        failure = Failure(code=self.code, message=self.message, retry=retry, cause=self.cause)
        return TaskStatus(phase=self.phase, message=self.message, error=failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a job's log; `at` is aware UTC or unknown."""

    message: str
    at: datetime | None = None
    originator: Literal["user", "system", "unknown"] = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Some lines of a log.

    Attributes:
        next_cursor: Where to go on; stable across restarts of the service. None when `ended`.
        ended: Nothing will follow.
    """

    lines: Sequence[LogLine]
    next_cursor: str | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSeries:
    """One metric of a job over time: points of (aware UTC time, value)."""

    name: str
    points: Sequence[tuple[datetime, float]]
    unit: str = ""
