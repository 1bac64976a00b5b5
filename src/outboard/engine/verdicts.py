"""What an error of CreateTask means, and how failures are put.

FlytePropeller spends one of the user's retries on every CreateTask error. Here an error that says "not now" is answered by
sending the same request again: the identity and the output prefix stay, hence the submission key does, and whoever got the
first request answers with its job.

Once a request may have arrived without its answer, only a word about that very request ends it. Everything else (refused
credentials, a service that lost its agent) says nothing about the job that may run: a retry would be a second one, and an end
would forget the first.
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
    InvalidInputs,
    InvalidTask,
    OutboardError,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    Retry,
    Sent,
    StoreUnavailable,
    Unauthorized,
    UnknownCaller,
    UnverifiedCaller,
)

_NOT_NOW: Final = (
    AgentError,
    EndpointUnreachable,
    DrainingError,
    Overloaded,
    StoreUnavailable,
    UnknownCaller,
    UnverifiedCaller,
)
_ABOUT_THE_REQUEST: Final = (Rejected, InvalidTask, InvalidInputs, OutcomeUnknown)


class Verdict(Enum):
    """What to do about a refused CreateTask."""

    SEND_AGAIN = "send the same again"
    ANOTHER_ATTEMPT = "worth one of the user's retries"
    FINAL = "the same will fail again"


def judge_refusal(error: OutboardError, *, may_exist: bool = False) -> Verdict:
    """Return what an error of CreateTask or ExecuteTaskSync means.

    Args:
        error: The error.
        may_exist: This request, or the same sent before, may have started a job.
    """
    if may_exist and not isinstance(error, _ABOUT_THE_REQUEST):
        return Verdict.SEND_AGAIN
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


def is_outcome_unknown(status: TaskStatus) -> bool:
    """Tell whether a status gives a task up without knowing whether its job runs."""
    return status.error is not None and status.error.code == OutcomeUnknown.__name__


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
