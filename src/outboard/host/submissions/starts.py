"""Starts: from a claim to a job, whatever is lost on the way.

A create ends in one of four ways: with the job; refused (the platform's word, which ends the task); *not arrived*
(throttled, connection refused), which is simply asked again; or *maybe arrived*, and then the agent's declaration
decides:

===========  =====================================================================================
`Token`      sent again: the platform answers with the first job
`Named`      sent again: the platform refuses a second one of the name, and the agent answers the first
`Lookup`     looked for by its key; sent again only when it certainly did not arrive
`Nothing`    nobody can tell: the task ends as FAILED "outcome unknown", or as the author chose
===========  =====================================================================================

Nothing is sent later than 15 minutes (or the token's validity) after the submission began, nor without the claim: it
runs for the submission limit on this process's monotonic clock, and before anything is sent again it is renewed by
compare-and-swap, which fails when another replica has taken over or a cancel was marked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any, Final

from outboard.agent.agents import Agent, AnsweringAgent, JobAgent
from outboard.agent.jobs import JobRef
from outboard.agent.submission import Lookup, Nothing, OnUnknown
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Ending
from outboard.errors import (
    Actor,
    AgentError,
    AgentFault,
    BudgetSpent,
    Forbidden,
    MissingSecret,
    OutboardError,
    Rejected,
    Sent,
    StoreUnavailable,
    TaskError,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host.calls import Calls
from outboard.host.offloads import fetch_offloaded
from outboard.host.requests import Request
from outboard.host.settings import HostSettings
from outboard.host.stores import Store
from outboard.host.submissions.records import Records
from outboard.host.submissions.submission import (
    IN_FLIGHT_S,
    Handed,
    Submission,
    can_find,
    is_repeatable,
    visible_s,
)
from outboard.host.words import Words

CANCELLED: Final = Ending(phase=Phase.ABORTED, message="cancelled before its job was started")
OUTCOME_UNKNOWN: Final = "OutcomeUnknown"
_FIND_LIMIT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0
_SENDS_OF_A_FAULT: Final = 3


class _Absence(Enum):
    """What a search that found nothing tells."""

    PROVEN = "it did not arrive"
    UNKNOWN = "nobody can tell"


class Starts:
    """Starts the jobs of submissions.

    Args:
        report_late: Is told of a job whose create was given up before; the submission may be over by then.
    """

    def __init__(
        self,
        settings: HostSettings,
        calls: Calls,
        records: Records,
        stores: Store,
        words: Words,
        report_late: Callable[[Submission, JobRef], None],
    ) -> None:
        self._report_late = report_late
        self.limit_s = settings.submission_limit.total_seconds()
        self._calls = calls
        self._records = records
        self._stores = stores
        self._words = words
        self.is_draining = False

    async def start(self, submission: Submission) -> JobRef | Ending:
        """Return the submission's job, or how the task ended without one.

        Raises:
            Handed: Another replica goes on with it.
        """
        pause_s = _FIRST_PAUSE_S
        while True:
            outcome = await self._resolve(submission)
            if outcome is not None:
                return outcome
            if self.is_draining:
                await self.give_back(submission)
            if await self._holds(submission):
                outcome = await self._send(submission)
                if outcome is not None:
                    return outcome
            await self._pause(submission, pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _resolve(self, submission: Submission) -> JobRef | Ending | None:
        """Return what can be told before anything is sent; None when a create is to be sent now."""
        if submission.late_job is not None:
            return submission.late_job
        if submission.may_have_arrived and not self._may_repeat(submission):
            found = await self._search(submission)
            if isinstance(found, JobRef):
                return found
            if found is _Absence.UNKNOWN:
                return None if self._must_reveal(submission) else self._unknown(submission)
            submission.may_have_arrived = False
        if submission.may_have_arrived:
            return None
        if submission.is_withdrawn:
            return CANCELLED
        return None if submission.is_in_window else self._not_started(submission)

    async def stop(self, request: Request, job: JobRef) -> None:
        """Ask for the end of a job that nobody will follow."""
        try:
            await self._calls.about_request(request, "cancel", job, timeout_s=self.limit_s)
        except OutboardError as error:
            words = "job left running that nobody follows"
            request.log.error(words, job=job.id, error_id=error.error_id, reason=error.message)  # noqa: TRY400 - no tracebacks

    async def give_back(self, submission: Submission) -> None:
        """Leave a submission to the other replicas; raises `Handed`, or returns when nobody could take it."""
        held = submission.held
        if held is None or not held.record.request:
            return
        record = held.record.renewed("", may_have_arrived=submission.may_have_arrived)
        try:
            await self._records.replace(held, record)
        except StoreUnavailable as error:
            words = "submission not given back; another replica takes over after a while"
            submission.request.log.warning(words, error_id=error.error_id, reason=error.message)
        raise Handed

    def _may_repeat(self, submission: Submission) -> bool:
        return is_repeatable(submission.agent) and not submission.is_withdrawn and submission.is_in_window

    def _must_reveal(self, submission: Submission) -> bool:
        """Tell whether sending a create again is the only way to learn which job to stop."""
        agent = submission.agent
        return submission.is_withdrawn and is_repeatable(agent) and submission.is_in_window and not can_find(agent)

    async def _holds(self, submission: Submission) -> bool:
        """Tell whether a create may be sent now; renews the claim where one was sent before, or it runs out."""
        held, is_fresh = submission.held, submission.lease_end - time.monotonic() > self.limit_s / 2
        if held is None:
            return not submission.needs_record or submission.is_withdrawn
        if is_fresh and submission.sends == 0:
            return True
        if submission.renewing != held.record.turn + 1:
            # Counted from the first try, as others do: it may have been written although its answer was lost.
            submission.renewing, submission.renewed_until = held.record.turn + 1, time.monotonic() + self.limit_s
        try:
            renewed = await self._records.replace(held, held.record.renewed(held.record.claim, may_have_arrived=True))
        except StoreUnavailable as error:
            submission.trouble = error
            if submission.unrenewed_since is None:
                submission.unrenewed_since = time.monotonic()
            return submission.may_do_without(submission.unrenewed_since)
        if renewed is None:
            await self._yield_to_other(submission)
            return False
        submission.unrenewed_since = None
        submission.held, submission.lease_end = renewed, submission.renewed_until
        return submission.lease_end > time.monotonic() or not submission.needs_record

    async def keep(self, submission: Submission) -> None:
        """Renew the claim of a submission that waits, before another replica takes it for abandoned.

        Raises:
            Handed: One has done so already.
        """
        if submission.held is not None and submission.lease_end - time.monotonic() < self.limit_s / 2:
            await self._holds(submission)

    async def _yield_to_other(self, submission: Submission) -> None:
        """Find out who changed the record: a cancel leaves the claim with us, anything else is another replica."""
        held = submission.held
        if held is None:
            return
        try:
            found = await self._records.read(held.place, held.record.key)
        except StoreUnavailable as error:
            submission.trouble = error
            return
        if found is None or found.record.claim != held.record.claim or found.record.turn != held.record.turn:
            raise Handed
        submission.held = found
        if found.record.is_cancelled:
            submission.withdraw()

    async def _send(self, submission: Submission) -> JobRef | Ending | None:
        request = submission.request
        submission.sends += 1
        has_arrived = submission.may_have_arrived
        try:
            task = await fetch_offloaded(request.task, self._stores, request.log, self.limit_s)
            submission.request = request = replace(request, task=task)
            left_s = submission.lease_end - time.monotonic() if submission.needs_record else self.limit_s
            if left_s <= 0:
                return None  # the claim ran out meanwhile; it is renewed before anything is sent
            submission.may_have_arrived = True
            late = partial(self._arrived, submission) if submission.agent.is_blocking else None
            job = await self._calls.about_request(request, "create", task, timeout_s=left_s, late=late)
            return _checked_job(submission.agent, job)
        except OutboardError as error:
            submission.sent_at = time.monotonic()
            if submission.trouble is None or not isinstance(error, BudgetSpent):
                submission.trouble = error  # our own budget only repeats what the platform said in its words
            submission.may_have_arrived = has_arrived or _may_have_arrived(error)
            request.log.warning(
                "job not started yet", error=type(error).__name__, error_id=error.error_id, reason=error.message
            )
            return await self._judge(submission, error, has_arrived=has_arrived)

    def _arrived(self, submission: Submission, job: Any) -> None:
        """Take the job of a create whose thread came back after it was given up."""
        if isinstance(job, submission.agent.job_model):
            submission.request.log.warning("job of a create that was given up", job=job.id)
            submission.late_job = job
            submission.wake.set()
            self._report_late(submission, job)

    async def _judge(
        self, submission: Submission, error: OutboardError, *, has_arrived: bool
    ) -> JobRef | Ending | None:
        """Return how the task ends with this error, or None when it may still succeed."""
        ending = self._ending(submission, error)
        if ending is None or not submission.may_have_arrived:
            return ending
        # An earlier create may have arrived although this one was refused.
        if can_find(submission.agent):
            found = await self._search(submission)
            return found if isinstance(found, JobRef) else ending
        if has_arrived and not isinstance(error, Rejected):
            return None  # whether the earlier one did can still be learned, while the window lasts
        return ending

    def _ending(self, submission: Submission, error: OutboardError) -> Ending | None:
        if isinstance(error, (Throttled, Unavailable, StoreUnavailable)):
            return None
        if isinstance(error, AgentError) and error.sent is not Sent.NO and not isinstance(error, Rejected):
            submission.faults += 1
            if submission.faults < _SENDS_OF_A_FAULT or not is_repeatable(submission.agent):
                return None
        is_final = isinstance(error, (Rejected, TaskError, AgentFault)) or _is_fault(error)
        phase = Phase.FAILED if is_final else Phase.RETRYABLE_FAILED
        if isinstance(error, (Unauthorized, Forbidden, MissingSecret)):
            phase = Phase.RETRYABLE_FAILED
        cause = Cause.USER if error.actor is Actor.USER else Cause.PLATFORM
        return Ending(phase=phase, code=error.code, message=self._words.text(error.message, 1000), cause=cause)

    async def _search(self, submission: Submission) -> JobRef | _Absence:
        """Look for a job by its key until it is found, or certainly is not there."""
        agent, request = submission.agent, submission.request
        if not can_find(agent):
            return _Absence.UNKNOWN
        certain_at = submission.sent_at + visible_s(agent) + IN_FLIGHT_S
        pause_s = _FIRST_PAUSE_S
        while submission.late_job is None:
            asked_at = time.monotonic()
            try:
                found = await self.find(request, request.key)
            except AgentFault as error:
                submission.trouble = error
                return _Absence.UNKNOWN
            except OutboardError as error:
                submission.trouble = error
            else:
                if found:
                    await self._stop_others(request, found[1:])
                    return found[0]
                if asked_at >= certain_at:
                    return _Absence.UNKNOWN if self._is_forgotten(submission) else _Absence.PROVEN
            if self.is_draining:
                await self.give_back(submission)
            await self.keep(submission)
            await self._pause(submission, pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        return submission.late_job

    async def find(self, request: Request, key: Key) -> list[JobRef]:
        """Return the jobs that carry a key, oldest first; any `OutboardError` when they cannot be asked for."""
        found = await self._calls.about_request(request, "find", request.task, key, timeout_s=_FIND_LIMIT_S)
        if not isinstance(found, (list, tuple)):
            raise AgentFault(f"{request.agent.name}.find returned {type(found).__name__}; return a list of jobs")
        return [_checked_job(request.agent, job) for job in found]

    async def _stop_others(self, request: Request, others: list[JobRef]) -> None:
        for job in others:
            request.log.error("second job found under one key; it is stopped", job=job.id)
            await self.stop(request, job)

    def _is_forgotten(self, submission: Submission) -> bool:
        """Tell whether a job that existed may have left the platform's memory meanwhile."""
        kind = submission.agent.submission
        if not isinstance(kind, Lookup):
            return False
        return time.monotonic() - submission.opened > kind.retained_for.total_seconds()

    async def _pause(self, submission: Submission, pause_s: float) -> None:
        trouble = submission.trouble
        asked_s = trouble.retry_after.total_seconds() if trouble and trouble.retry_after else 0.0
        spread_s = pause_s * (0.5 + random.random())  # noqa: S311 - replicas that failed together must not return together
        await submission.rest(min(max(spread_s, asked_s), 2 * _LONGEST_PAUSE_S))

    def _not_started(self, submission: Submission) -> Ending:
        minutes = round(submission.window_s / 60, 1)
        error = submission.trouble
        words = self._words.text(error.message, 500) if error else "no reason was given"
        return Ending(
            phase=Phase.RETRYABLE_FAILED,
            code=error.code if error else "NotStarted",
            message=f"not started within {minutes:g} minutes, and certainly not running: {words}",
            cause=Cause.PLATFORM,
        )

    def _unknown(self, submission: Submission) -> Ending:
        return unknown_outcome(submission.agent, submission.request.key.text, self._words, submission.trouble)


def unknown_outcome(agent: Agent, key: str, words: Words, trouble: OutboardError | None = None) -> Ending:
    """Return the end of a task whose job may or may not exist."""
    kind = getattr(agent, "submission", None)
    is_retried = isinstance(kind, Nothing) and kind.on_unknown is OnUnknown.RETRY
    is_retried = is_retried or (isinstance(agent, AnsweringAgent) and agent.repeatable)
    reason = f": {words.text(trouble.message, 300)}" if trouble else ""
    return Ending(
        phase=Phase.RETRYABLE_FAILED if is_retried else Phase.FAILED,
        code=OUTCOME_UNKNOWN,
        message=f"whether the job was started is unknown{reason}; look on {agent.platform.name} for {key}",
        cause=Cause.PLATFORM,
    )


def _may_have_arrived(error: OutboardError) -> bool:
    if isinstance(error, AgentError):
        return error.sent is not Sent.NO
    return isinstance(error, AgentFault)


def _is_fault(error: OutboardError) -> bool:
    return isinstance(error, AgentError) and error.sent is not Sent.NO


def _checked_job(agent: Any, job: Any) -> JobRef:
    expected = agent.job_model if isinstance(agent, JobAgent) else JobRef
    if not isinstance(job, expected):
        raise AgentFault(
            f"{agent.name} returned {type(job).__name__} where a job belongs, which cannot be followed; return a "
            f"{expected.__name__}"
        )
    return job
