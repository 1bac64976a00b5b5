"""Adoptions: a later attempt takes over the job of an earlier one instead of starting a second.

An engine sends attempt k because it believes that the ones before are over. It may be wrong: the answer to CreateTask
was lost, or came too late. So before attempt k starts anything, at most ten attempts before it are looked at, the
latest first, through their records and through the agent's `find`:

* one that is still being submitted is waited for (or taken over), for its create may arrive any moment;
* a job that is alive is adopted, unless it was cancelled or is being cancelled;
* a job that ended is adopted only if it succeeded and its outputs are there and fit;
* a job whose end was reported before is none of these: it is what attempt k is a retry of;
* a platform that cannot be asked is asked again: nothing is concluded from silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from outboard.agent.agents import OutputSource
from outboard.domain.handles import Handle
from outboard.domain.keys import Key, earlier_attempts
from outboard.domain.phases import Phase
from outboard.domain.records import Record, Stage
from outboard.domain.statuses import Cause, Ending, TaskStatus
from outboard.errors import AgentFault, HandleError, OutboardError, StoreUnavailable, Unsupported
from outboard.host.foreign import ForeignHandles
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.submissions.records import Records
from outboard.host.submissions.starts import OUTCOME_UNKNOWN, Starts
from outboard.host.submissions.submission import IN_FLIGHT_S, Submission, can_find, is_repeatable

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 10.0
_STOPPING_S: Final = 10.0
"""How long an attempt waits for the end of one before it that was cancelled; a platform may take hours over it."""
_SUPERSEDED: Final = Ending(
    phase=Phase.RETRYABLE_FAILED,
    code="Superseded",
    message="a later attempt of this task began before this one did",
    cause=Cause.PLATFORM,
)
_WRITTEN: Final = (OutputSource.FILES, OutputSource.EITHER)
Look = Callable[[LiveJob], Awaitable[bool]]


class Follows(Protocol):
    """Whoever knows what became of an attempt that is still being submitted."""

    def knows(self, key: Key) -> bool:
        """Tell whether this process submits, or lately submitted, a key."""
        ...

    async def follow(self, live: LiveJob) -> LiveJob | TaskStatus:
        """Return the job of an intent, or where the task stands while there is none."""
        ...

    def withdrawn(self, encoded: bytes) -> None:
        """See to it that the job of a handle ends."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """An attempt before this one."""

    key: Key
    prefix: str
    place: str | None
    record: Record | None = None


class Adoptions:
    """Finds what earlier attempts have left running.

    Args:
        installation: Part of every key.
        starts: Asks agents for jobs by their key.
        look: Asks the platform about a job; tells whether it answered.
    """

    def __init__(
        self,
        installation: str,
        records: Records,
        live_jobs: LiveJobs,
        handles: ForeignHandles,
        starts: Starts,
        look: Look,
    ) -> None:
        self._installation = installation
        self._records = records
        self._live_jobs = live_jobs
        self._handles = handles
        self._starts = starts
        self._look = look

    async def adopt(self, submission: Submission, follows: Follows) -> Handle | Ending | None:
        """Return this attempt's handle of an earlier attempt's job; None when there is none to adopt.

        Where nobody can tell whether an earlier attempt has a job, this one ends like that one: a second job is nothing
        that an engine's retry may bring about.

        Raises:
            Handed: Another replica goes on with the submission.
        """
        task = submission.request.task
        attempts = earlier_attempts(self._installation, task.identity, task.output_prefix)
        over: list[Mapping[str, Any]] = []
        landed_at = time.monotonic() + IN_FLIGHT_S
        for earlier in await self._read_all(submission, attempts):
            live = await self._job_of(submission, earlier, follows, landed_at)
            if isinstance(live, Ending):
                return live
            if live is None:
                continue
            if live.handle.job in over or _is_over(earlier.record):
                if earlier.record is not None and earlier.record.is_cancelled:
                    follows.withdrawn(live.encoded)  # whoever saw to its end may be dead
                    await self._await_stop(submission, live)
                over.append(live.handle.job)
                continue
            if await self._is_of_use(submission, live):
                submission.request.log.info("job of an earlier attempt adopted", job=live.handle.job.get("id"))
                return self._handle(submission, live.handle)
            if submission.is_withdrawn:
                follows.withdrawn(live.encoded)  # the engine may have no handle of it: with this attempt it ends too
            over.append(live.handle.job)
        return None

    async def _read_all(self, submission: Submission, attempts: list[tuple[Key, str]]) -> list[_Earlier]:
        return list(await asyncio.gather(*(self._read(submission, key, prefix) for key, prefix in attempts)))

    async def _read(self, submission: Submission, key: Key, prefix: str) -> _Earlier:
        place = self._records.place(prefix, key)
        pause_s, since = _FIRST_PAUSE_S, time.monotonic()
        while place is not None:
            try:
                held = await self._records.read(place, key)
            except StoreUnavailable as error:
                if can_find(submission.agent) and submission.may_do_without(since):
                    break
                pause_s = await self._rest(submission, pause_s, error)
            else:
                record = held.record if held else None
                if record is not None and record.handle and not _is_over(record):
                    record = await self._marked(record, prefix)
                return _Earlier(key=key, prefix=prefix, place=place, record=record)
        return _Earlier(key=key, prefix=prefix, place=place)

    async def _marked(self, record: Record, prefix: str) -> Record:
        """Return what else is written down about a record's job: native handles do not tell their cancels whose key it was."""
        try:
            key = self._handles.decode(record.handle).key
        except HandleError:
            return record
        place = None if key == record.key else self._records.place(prefix, key)
        held = None if place is None else await self._records.read(place, key)
        return held.record if held is not None and _is_over(held.record) else record

    async def _job_of(
        self, submission: Submission, earlier: _Earlier, follows: Follows, landed_at: float
    ) -> LiveJob | Ending | None:
        record = earlier.record
        if record is not None and record.handle:
            return self._followed(submission, record.handle)
        if record is not None and record.stage is Stage.ENDED:
            return _unknown(record.ending.status) if record.ending is not None else None
        if record is not None or follows.knows(earlier.key):
            return await self._await_submission(submission, earlier, follows)
        found = await self._find(submission, earlier)
        if found is None and is_repeatable(submission.agent) and can_find(submission.agent):
            # Where its store was down it was begun without a record, by a process that may have sent it just before.
            pause_s = _FIRST_PAUSE_S
            while time.monotonic() < landed_at:
                pause_s = await self._rest(submission, pause_s, None)
            found = await self._find(submission, earlier)
        if found is not None or (begun := await self._fence(submission, earlier)) is None:
            return found
        return await self._job_of(submission, replace(earlier, record=begun), follows, landed_at)

    async def _fence(self, submission: Submission, earlier: _Earlier) -> Record | None:
        """Make sure that an attempt of which there is no trace is never begun: its request may come late.

        Returns:
            The record of whoever began it meanwhile.
        """
        place, pause_s, since = earlier.place, _FIRST_PAUSE_S, time.monotonic()
        new = Record(key=earlier.key, stage=Stage.CLAIMED, created_at=submission.created_at).ended(_SUPERSEDED)
        while place is not None:
            try:
                held = await self._records.change(place, earlier.key, lambda record: None if record else new)
            except StoreUnavailable as error:
                if can_find(submission.agent) and submission.may_do_without(since):
                    return None
                pause_s = await self._rest(submission, pause_s, error)
            else:
                return held.record if held is not None and held.record.stage is not Stage.ENDED else None
        return None

    async def _await_submission(
        self, submission: Submission, earlier: _Earlier, follows: Follows
    ) -> LiveJob | Ending | None:
        """Wait until an attempt that is still being submitted has a job or will never have one."""
        live = self._intent(submission, earlier)
        pause_s = _FIRST_PAUSE_S
        while live is not None:
            if submission.is_withdrawn:
                follows.withdrawn(live.encoded)
                return None
            error: OutboardError | None = None
            try:
                found = await follows.follow(live)
            except OutboardError as raised:
                error = raised
            else:
                if isinstance(found, LiveJob) and found.handle.ending is None:
                    return found
                status = found if isinstance(found, TaskStatus) else found.fallback
                if status.phase.is_terminal:
                    return _unknown(status)
            pause_s = await self._rest(submission, pause_s, error)
        return None

    async def _find(self, submission: Submission, earlier: _Earlier) -> LiveJob | None:
        if not can_find(submission.agent):
            return None
        pause_s = _FIRST_PAUSE_S
        while True:  # also when the task was cancelled: what an earlier attempt has left running is to end with it
            try:
                found = await self._starts.find(submission.request, earlier.key)
            except Unsupported:
                return None
            except AgentFault as error:
                words = "earlier attempts not looked for"
                submission.request.log.error(words, error_id=error.error_id, reason=error.message)  # noqa: TRY400 - no tracebacks
                return None
            except OutboardError as error:
                pause_s = await self._rest(submission, pause_s, error)
            else:
                if not found:
                    return None
                handle = submission.request.handle(
                    created_at=submission.created_at,
                    job=found[0].to_json(),
                    job_version=type(found[0]).handle_version,
                )
                return self._live(submission, replace(handle, key=earlier.key, output_prefix=earlier.prefix))

    async def _await_stop(self, submission: Submission, live: LiveJob) -> None:
        """Give the platform a moment to take an earlier attempt's cancel: two jobs of one task are one too many."""
        give_up, pause_s = time.monotonic() + _STOPPING_S, _FIRST_PAUSE_S
        while time.monotonic() < give_up and not submission.is_withdrawn:
            await self._look(live)
            if live.has_ended or live.is_cancelling:
                return
            pause_s = await self._rest(submission, pause_s, None)

    async def _is_of_use(self, submission: Submission, live: LiveJob) -> bool:
        pause_s = _FIRST_PAUSE_S
        while not submission.is_withdrawn:
            is_answered = await self._look(live)
            if live.has_ended:
                return live.fallback.phase is Phase.SUCCEEDED
            if is_answered and live.missing_since is None:
                return not live.is_cancelling
            pause_s = await self._rest(submission, pause_s, None)
        return False

    async def _rest(self, submission: Submission, pause_s: float, error: OutboardError | None) -> float:
        if error is not None:
            submission.trouble = error
        if self._starts.is_draining:
            await self._starts.give_back(submission)
        await self._starts.keep(submission)
        await submission.rest(pause_s)
        return min(pause_s * 2, _LONGEST_PAUSE_S)

    def _intent(self, submission: Submission, earlier: _Earlier) -> LiveJob | None:
        handle = submission.request.handle(created_at=submission.created_at, job={})
        return self._live(submission, replace(handle, key=earlier.key, output_prefix=earlier.prefix, is_intent=True))

    def _live(self, submission: Submission, handle: Handle) -> LiveJob | None:
        try:
            return self._followed(submission, self._handles.encode(handle))
        except OutboardError:
            return None

    def _followed(self, submission: Submission, encoded: bytes) -> LiveJob:
        self._live_jobs.provide(encoded, submission.request.secrets.provided)
        return self._live_jobs.find(encoded)

    @staticmethod
    def _handle(submission: Submission, earlier: Handle) -> Handle:
        """Return this attempt's handle of an earlier attempt's job, with the place where the job writes its files."""
        handle = submission.request.handle(
            created_at=earlier.created_at, job=dict(earlier.job), job_version=earlier.job_version
        )
        source = earlier.source_prefix or earlier.output_prefix
        if submission.agent.outputs in _WRITTEN and source != handle.output_prefix:
            return replace(handle, source_prefix=source)
        return handle


def _unknown(status: TaskStatus) -> Ending | None:
    error = status.error
    if status.phase is not Phase.FAILED or error is None or error.code != OUTCOME_UNKNOWN:
        return None
    return Ending(phase=status.phase, code=error.code, message=error.message, cause=error.cause)


def _is_over(record: Record | None) -> bool:
    return record is not None and (record.is_cancelled or record.stage is Stage.ENDED)
