"""What follows: every decision of the engine about a task, without I/O and without a clock.

`advance` takes a task's course, what happened and the time, and returns the course after it; `due` returns the one effect
that a course asks for. The rules, which are FlytePropeller's unless said otherwise:

* A refused CreateTask that says "not now" is sent again, identical, within `resend_limit_s` (FlytePropeller: spends a retry).
* An error of GetTask ends nothing. Bytes that the service calls foreign do, after a DeleteTask.
* RETRYABLE_FAILED, and a timeout, lead to DeleteTask and then to the next attempt, while the user allows one. After the last
  attempt DeleteTask is sent too (FlytePropeller: not): who says "try again" cannot vouch that the job is dead.
* A timeout counts from the attempt's first CreateTask. A timed-out or cancelled job that turns out to have succeeded has
  succeeded: stopping never costs finished work.
* A create is never given up halfway: whoever is cancelled while it may have arrived is sent again for its handle, and deleted.
  While it may have arrived there is no further attempt.
* A timed-out job is deleted for as long as it takes; nobody waits at a terminal for it. A cancel that is not confirmed within
  `cancel_wait_s` is LEFT, not ENDED.
* A handle that is let go before its job is known to be over is owed a cancel (`Effect.OWE`), which `owed_cancels` sees to.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

from outboard.domain import phases
from outboard.domain.phases import Phase
from outboard.domain.statuses import Failure, TaskStatus
from outboard.engine.courses import (
    Abandoned,
    Answered,
    CancelAsked,
    Collected,
    Course,
    Created,
    Deleted,
    Effect,
    Event,
    NotDeleted,
    OwedCancel,
    Owing,
    Reason,
    Refused,
    Rules,
    Stage,
    Stop,
    Tick,
    Unanswered,
    Uncollected,
    Unreadable,
)
from outboard.engine.verdicts import (
    CANCELLED,
    Verdict,
    failure_in,
    failure_of,
    is_outcome_unknown,
    judge_refusal,
    timed_out,
)
from outboard.errors import AgentError, EndpointUnreachable, ForeignHandle, OutboardError, Retry

_LONGEST_HINT_S = 300.0
_EFFECTS = {
    Stage.SENDING: Effect.SEND,
    Stage.POLLING: Effect.POLL,
    Stage.COLLECTING: Effect.COLLECT,
    Stage.ENDED: Effect.FINISH,
    Stage.LEFT: Effect.FINISH,
}


def due(course: Course, now: float) -> Effect:
    """Return what is to be done about a task now."""
    if course.owed is not None:
        return Effect.OWE
    if not course.is_over and course.due_at > now:
        return Effect.WAIT
    if course.stage is Stage.STOPPING and course.stop is not None:
        return Effect.POLL if course.stop.is_accepted or course.stop.is_refused else Effect.DELETE
    return _EFFECTS[course.stage]


def wakes_at(course: Course, rules: Rules) -> float:
    """Return when a waiting course has to be looked at again: its next effect, or its time limit if that is earlier."""
    limit = _limit(course, rules)
    return course.due_at if limit is None else min(course.due_at, limit)


def advance(course: Course, event: Event, now: float, rules: Rules) -> Course:
    """Return the course after an event; one that is over stays as it is, but for a cancel it owes."""
    if isinstance(event, Owing):
        return replace(course, owed=None)
    if course.is_over:
        return course
    return _within_limit(_after(event, course, now, rules), now, rules)


def _limit(course: Course, rules: Rules) -> float | None:
    if rules.timeout_s is None or course.began_at is None or course.stop is not None:
        return None
    return course.began_at + rules.timeout_s if course.stage in (Stage.SENDING, Stage.POLLING) else None


def _within_limit(course: Course, now: float, rules: Rules) -> Course:
    limit = _limit(course, rules)
    if limit is None or now < limit:
        return course
    failure = timed_out(rules.timeout_s or 0.0)
    if course.stage is Stage.SENDING and not course.may_exist:
        return _attempt_failed(course, failure, now, rules)
    return _stopping(course, Reason.TIMEOUT, failure, now, rules)


@singledispatch
def _after(event: object, course: Course, now: float, rules: Rules) -> Course:  # noqa: ARG001 - the signature of the rules
    raise TypeError(event)  # an event without a rule is a defect of this module


@_after.register
def _(event: Tick, course: Course, now: float, rules: Rules) -> Course:  # noqa: ARG001 - only limits depend on it
    return course


@_after.register
def _(event: Created, course: Course, now: float, rules: Rules) -> Course:
    began_at = event.sent_at if course.began_at is None else course.began_at
    course = replace(_quiet(course, now), handle=event.handle, began_at=began_at, may_exist=False, unreachable="")
    if course.stop is None:
        return replace(course, stage=Stage.POLLING)
    stop = replace(course.stop, until=now + rules.cancel_wait_s)  # its DeleteTask can be sent only now
    return replace(course, stage=Stage.STOPPING, stop=stop)


@_after.register
def _(event: Refused, course: Course, now: float, rules: Rules) -> Course:
    began_at = event.sent_at if course.began_at is None else course.began_at
    course = replace(course, began_at=began_at, may_exist=course.may_exist or event.arrived)
    verdict, stop = judge_refusal(event.error, may_exist=course.may_exist), course.stop
    is_told = verdict is not Verdict.SEND_AGAIN
    if stop is not None and (not course.may_exist or (is_told and stop.reason is Reason.CANCEL)):
        return _stopped(course, None, now, rules)
    if verdict is Verdict.FINAL:
        return _ended(course, Phase.FAILED, failure_of(event.error))
    if verdict is Verdict.ANOTHER_ATTEMPT:
        return _attempt_failed(course, failure_of(event.error, retry=Retry.YES), now, rules)
    course = _failing(course, event.error, now, rules)
    until = stop.until if stop and stop.reason is Reason.CANCEL else _gives_up_at(course, now, rules)
    if course.due_at < until:
        return course
    left = "its CreateTask may have started a job" if course.may_exist else "nothing was started"
    return _left(course, stop.failure if stop else failure_of(event.error, retry=Retry.YES), left)


@_after.register
def _(event: Answered, course: Course, now: float, rules: Rules) -> Course:
    course = replace(course, unreachable="")
    if course.stage is Stage.STOPPING:
        return _answered_while_stopping(course, event.status, now, rules)
    status = event.status
    if not status.phase.is_terminal:
        if course.stage is Stage.SENDING:
            words = f"the service answered ExecuteTaskSync with {status.phase.value}, which is no end: report it to its operator"
            return _ended(course, Phase.FAILED, Failure(code="NotTerminal", message=words))
        return _waiting(course, status, now, rules)
    course = replace(_quiet(course, now), status=status, may_exist=False)
    if status.phase is Phase.SUCCEEDED:
        return replace(course, stage=Stage.COLLECTING)
    if is_outcome_unknown(status):
        course = replace(course, retries_left=0)
    if status.phase is Phase.RETRYABLE_FAILED or is_outcome_unknown(status):
        return _attempt_failed(course, failure_in(status), now, rules)
    return _ended(course, status.phase, failure_in(status))


@_after.register
def _(event: Unanswered, course: Course, now: float, rules: Rules) -> Course:
    if isinstance(event.error, ForeignHandle):
        if course.stage is Stage.STOPPING:
            return _stopped(course, None, now, rules)
        return _stopping(course, Reason.FOREIGN, failure_of(event.error), now, rules)
    return _bounded(_deletes_again(_failing(course, event.error, now, rules)), now, rules)


@_after.register
def _(event: Deleted, course: Course, now: float, rules: Rules) -> Course:  # noqa: ARG001
    course = replace(course, unreachable="")
    if course.stop is None:
        return course
    course = replace(_quiet(course, now), stop=replace(course.stop, is_accepted=True, is_refused=False))
    if course.stop is not None and course.stop.reason in (Reason.RETRY, Reason.FOREIGN):
        return _stopped(course, None, now, rules)
    return course


@_after.register
def _(event: NotDeleted, course: Course, now: float, rules: Rules) -> Course:
    course = _failing(course, event.error, now, rules)
    if course.stop is not None and course.stop.reason in (Reason.CANCEL, Reason.TIMEOUT):
        course = replace(course, stop=replace(course.stop, is_refused=True), due_at=now)
    return _bounded(course, now, rules)


@_after.register
def _(event: Collected, course: Course, now: float, rules: Rules) -> Course:  # noqa: ARG001
    return replace(course, stage=Stage.ENDED, phase=Phase.SUCCEEDED, outputs=event.outputs, failure=None, problem="")


@_after.register
def _(event: Uncollected, course: Course, now: float, rules: Rules) -> Course:
    if event.failure.retry is Retry.YES:
        return _attempt_failed(course, event.failure, now, rules)
    return _ended(course, Phase.FAILED, event.failure)


@_after.register
def _(event: Unreadable, course: Course, now: float, rules: Rules) -> Course:
    course = _failing(course, event.error, now, rules)
    if course.due_at < _gives_up_at(course, now, rules):
        return course
    return _left(course, failure_of(event.error, retry=Retry.YES), "the job is over; its outputs could not be read")


@_after.register
def _(event: CancelAsked, course: Course, now: float, rules: Rules) -> Course:  # noqa: ARG001
    if course.stage is Stage.STOPPING and course.stop is not None:
        # Whatever it was stopped for: no further attempt is wanted, and the user waits from now on.
        stop = replace(course.stop, reason=Reason.CANCEL, failure=CANCELLED, until=now + rules.cancel_wait_s)
        return replace(course, stop=stop)
    if course.stage is Stage.COLLECTING:
        return replace(course, retries_left=0)
    if course.stage is Stage.SENDING and not course.may_exist:
        return _ended(course, Phase.ABORTED, CANCELLED)
    return _stopping(course, Reason.CANCEL, CANCELLED, now, rules)


@_after.register
def _(event: Abandoned, course: Course, now: float, rules: Rules) -> Course:  # noqa: ARG001
    failure = course.stop.failure if course.stop else CANCELLED
    if course.owed is not None:
        return _left(course, failure, "the DeleteTask of an earlier attempt was refused")
    if course.handle is None and not course.may_exist and not event.in_flight:
        return _ended(course, Phase.ABORTED, failure)
    if course.stage is Stage.COLLECTING:
        return _left(course, failure, "the job is over; its outputs were not read")
    is_known = course.handle is not None
    course = replace(course, may_exist=course.may_exist or (event.in_flight and not is_known))
    return _left(course, failure, "its job may be running" if is_known else "its CreateTask may have started a job")


def _quiet(course: Course, now: float) -> Course:
    """Return the course at the start of something new, due at once."""
    return replace(course, due_at=now, tries=0, failing_since=None, problem="")


def _waiting(course: Course, status: TaskStatus, now: float, rules: Rules) -> Course:
    known = course.status
    if known is not None and not known.phase.is_terminal:
        phase = phases.advance(known.phase, status.phase)
        status = status if phase is status.phase else replace(status, phase=phase)
    is_new = known is None or known.phase is not status.phase
    tries = 0 if is_new else course.tries
    pause = _pause(tries, rules)
    if status.poll_after is not None and course.stop is None:
        pause = max(rules.first_poll_s, min(status.poll_after.total_seconds(), _LONGEST_HINT_S))
    return replace(course, status=status, tries=tries + 1, due_at=now + pause, failing_since=None, problem="")


def _pause(tries: int, rules: Rules) -> float:
    pause: float = min(rules.first_poll_s * rules.poll_growth ** min(tries, 100), rules.longest_poll_s)
    return pause * (0.8 + 0.4 * rules.jitter())


def _failing(course: Course, error: OutboardError, now: float, rules: Rules) -> Course:
    pause = _pause(course.tries, rules)
    if error.retry_after is not None:
        pause = max(pause, min(error.retry_after.total_seconds(), _LONGEST_HINT_S))
    since = now if course.failing_since is None else course.failing_since
    if isinstance(error, EndpointUnreachable):
        course = replace(course, unreachable=error.endpoint)
    elif isinstance(error, AgentError):  # somebody spoke
        course = replace(course, unreachable="")
    return replace(course, tries=course.tries + 1, due_at=now + pause, failing_since=since, problem=error.message)


def _gives_up_at(course: Course, now: float, rules: Rules) -> float:
    return (now if course.failing_since is None else course.failing_since) + rules.resend_limit_s


def _stopping(course: Course, reason: Reason, failure: Failure, now: float, rules: Rules) -> Course:
    """Return the course towards the job's end; without a handle yet, towards its handle."""
    stop = Stop(reason=reason, failure=failure, until=now + rules.cancel_wait_s)
    stage = Stage.SENDING if course.handle is None else Stage.STOPPING
    return replace(_quiet(course, now), stage=stage, stop=stop)


def _answered_while_stopping(course: Course, status: TaskStatus, now: float, rules: Rules) -> Course:
    if status.phase.is_terminal:
        return _stopped(course, status, now, rules)
    waiting = _waiting(course, status, now, rules)
    if course.stop is not None and course.stop.is_refused:
        waiting = _deletes_again(replace(waiting, problem=course.problem))
    return _bounded(waiting, now, rules)


def _deletes_again(course: Course) -> Course:
    """Return a stopping course whose next effect is DeleteTask again, if that was refused."""
    stop = course.stop
    return course if stop is None or not stop.is_refused else replace(course, stop=replace(stop, is_refused=False))


def _bounded(course: Course, now: float, rules: Rules) -> Course:
    """Return a stopping course as long as its time lasts, then what becomes of it unconfirmed."""
    stop = course.stop
    if stop is None or now < stop.until:
        return course if stop is None else replace(course, due_at=min(course.due_at, stop.until))
    if stop.reason is Reason.RETRY or (stop.reason is Reason.TIMEOUT and stop.is_accepted and course.retries_left > 0):
        return _stopped(_owing(course), None, now, rules)
    if stop.reason is Reason.TIMEOUT and not stop.is_accepted:
        return course
    if stop.reason is Reason.FOREIGN:
        return _ended(course, Phase.FAILED, stop.failure)
    said = (
        "its DeleteTask was accepted, but its end not confirmed" if stop.is_accepted else "its DeleteTask was refused"
    )
    return _left(course, stop.failure, f"{said} ({course.problem})" if course.problem else said)


def _owing(course: Course) -> Course:
    """Return a course that lets its handle go although the job is not known to be over."""
    phase = None if course.status is None else course.status.phase
    if course.handle is None or phase is Phase.SUCCEEDED:
        return course
    is_reported_over = phase is not None and phase.is_terminal
    owed = OwedCancel(attempt=course.attempt, handle=course.handle, is_reported_over=is_reported_over)
    return replace(course, owed=owed)


def _stopped(course: Course, status: TaskStatus | None, now: float, rules: Rules) -> Course:
    """Return what follows once a job that was to be stopped is over (or never was)."""
    stop = course.stop
    if stop is None:
        return course
    if status is not None:
        course = replace(course, status=status)
        if status.phase is Phase.SUCCEEDED and stop.reason in (Reason.CANCEL, Reason.TIMEOUT):
            return replace(_quiet(course, now), stage=Stage.COLLECTING, stop=None)
    if stop.reason is Reason.CANCEL:
        return _ended(course, Phase.ABORTED, stop.failure)
    if stop.reason is Reason.FOREIGN:
        return _ended(course, Phase.FAILED, stop.failure)
    if course.retries_left > 0:
        return _next_attempt(course, stop.failure, now, rules)
    return _ended(course, Phase.FAILED, stop.failure)


def _attempt_failed(course: Course, failure: Failure, now: float, rules: Rules) -> Course:
    """Return the course after a failure that another attempt may mend."""
    is_done = course.status is not None and course.status.phase is Phase.SUCCEEDED
    if course.handle is not None and (course.retries_left > 0 or not is_done):
        return _stopping(course, Reason.RETRY, failure, now, rules)
    if course.retries_left <= 0:
        return _ended(course, Phase.FAILED, failure)
    return _next_attempt(course, failure, now, rules)


def _next_attempt(course: Course, failure: Failure, now: float, rules: Rules) -> Course:
    pause = min(rules.retry_pause_s * 2 ** min(course.attempt, 10), 60.0 + rules.retry_pause_s)
    return Course(
        attempt=course.attempt + 1,
        retries_left=course.retries_left - 1,
        due_at=now + pause,
        failure=failure,
        unreachable=course.unreachable,
        owed=course.owed,
    )


def _ended(course: Course, phase: Phase, failure: Failure) -> Course:
    left = "a CreateTask of it may have started a job" if course.may_exist else ""
    return replace(course, stage=Stage.ENDED, phase=phase, failure=failure, left=left)


def _left(course: Course, failure: Failure, left: str) -> Course:
    is_cancelled = failure is CANCELLED or (course.stop is not None and course.stop.reason is Reason.CANCEL)
    phase = Phase.ABORTED if is_cancelled else Phase.FAILED
    return replace(course, stage=Stage.LEFT, phase=phase, failure=failure, left=left)
