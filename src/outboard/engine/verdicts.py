"""What an error of CreateTask means, and how failures are put.

FlytePropeller spends one of the user's retries on every CreateTask error. Here an error that says "not now" is answered by
sending the same request again: the identity and the output prefix stay, hence the submission key does, and whoever got the
first request answers with its job.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Failure, TaskStatus
from outboard.errors import (
    Actor,
    AgentError,
    DrainingError,
    EndpointUnreachable,
    Forbidden,
    OutboardError,
    Overloaded,
    Retry,
    Sent,
    StoreUnavailable,
    Unauthorized,
)

_NOT_NOW: Final = (AgentError, EndpointUnreachable, DrainingError, Overloaded, StoreUnavailable)


class Verdict(Enum):
    """What to do about a refused CreateTask."""

    SEND_AGAIN = "send the same again"
    ANOTHER_ATTEMPT = "worth one of the user's retries"
    FINAL = "the same will fail again"


def judge_refusal(error: OutboardError) -> Verdict:
    """Return what an error of CreateTask or ExecuteTaskSync means."""
    if error.retry is not Retry.YES:
        return Verdict.FINAL
    if isinstance(error, (Unauthorized, Forbidden)) or not isinstance(error, _NOT_NOW):
        return Verdict.ANOTHER_ATTEMPT
    return Verdict.SEND_AGAIN


def may_have_arrived(error: OutboardError) -> bool:
    """Tell whether the request that an error answers may have taken effect."""
    return isinstance(error, AgentError) and error.sent is not Sent.NO


def failure_of(error: OutboardError, *, retry: Retry = Retry.NEVER) -> Failure:
    """Return an error as the failure of a task."""
    cause = Cause.USER if error.actor is Actor.USER else Cause.PLATFORM
    return Failure(code=error.code, message=error.message, retry=retry, cause=cause)


def failure_in(status: TaskStatus) -> Failure:
    """Return why a status says that the task failed; the phase alone says whether another attempt is worth it."""
    retry = Retry.YES if status.phase is Phase.RETRYABLE_FAILED else Retry.NEVER
    error = status.error
    if error is None:
        cause = Cause.CANCELLED_OUTSIDE if status.phase is Phase.ABORTED else Cause.USER
        return Failure(
            code=status.state or status.phase.value,
            message=status.message or "no reason given",
            retry=retry,
            cause=cause,
        )
    message = error.message or status.message
    return Failure(code=error.code, message=message, retry=retry, cause=error.cause)


CANCELLED: Final = Failure(code="Cancelled", message="cancelled on request", cause=Cause.CANCELLED_OUTSIDE)


def timed_out(timeout_s: float) -> Failure:
    """Return the failure of an attempt that took too long: another one may be quicker, as FlytePropeller sees it."""
    return Failure(
        code="TimedOut",
        message=f"the attempt took longer than its limit of {timeout_s:g} s: raise the task's timeout or make the job smaller",
        retry=Retry.YES,
    )
