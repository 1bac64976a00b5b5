"""Publications: what came of a submission, written down where other replicas look for it.

A job is published by moving the key's record to SUBMITTED, an end without a job by moving it to ENDED. Somebody else
may have been faster: then the record decides, and a job that it does not name is one too many and is stopped. An end
is told only by who holds the claim. What the store does not take is written later.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from outboard.agent.jobs import JobRef
from outboard.domain.handles import Handle
from outboard.domain.phases import Phase
from outboard.domain.records import Record, Stage
from outboard.domain.statuses import Cause, Ending
from outboard.errors import ContractViolation, HandleError, StoreUnavailable
from outboard.host.foreign import ForeignHandles
from outboard.host.submissions.records import Records
from outboard.host.submissions.starts import Starts
from outboard.host.submissions.submission import Handed, Submission, is_repeatable
from outboard.host.submissions.unclaimed import UnclaimedJobs
from outboard.host.words import Words

_WORDS_BYTES: Final = 256
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0
_PUBLISHING_S: Final = 900.0


class Publications:
    """Writes down what submissions came to.

    Args:
        pursue: Sees to the end of a job, given its handle.
    """

    def __init__(
        self,
        handles: ForeignHandles,
        records: Records,
        starts: Starts,
        words: Words,
        pursue: Callable[[Submission, bytes], None],
        unclaimed: UnclaimedJobs,
    ) -> None:
        self._unclaimed = unclaimed
        self._handles = handles
        self._records = records
        self._starts = starts
        self._words = words
        self._pursue = pursue
        self._late: set[asyncio.Task[None]] = set()

    async def drain(self) -> None:
        """Give what could not be written yet another moment."""
        if self._late:
            await asyncio.wait(self._late, timeout=1.0)

    async def close(self) -> None:
        """Stop trying to write."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    async def job(self, submission: Submission, job: JobRef) -> bytes:
        """Return the handle of a job that was started, and publish it."""
        request = submission.request
        submission.job = job
        try:
            encoded = self._encode(submission, job)
        except (HandleError, ContractViolation) as error:
            # The job runs, but nobody could ever follow it: stop it rather than forget it.
            await self._starts.stop(request, job)
            ending = Ending(phase=Phase.FAILED, code=error.code, message=error.message, cause=Cause.PLATFORM)
            return await self.end(submission, ending)
        request.log.info("job started", job=job.id, seconds=round(time.monotonic() - submission.opened, 3))
        self._unclaimed.started(encoded, request.agent.name, request.log)
        return await self.handle(submission, encoded)

    def _encode(self, submission: Submission, job: JobRef) -> bytes:
        request, fields = submission.request, job.to_json()
        # What engines keep for another software's sake is that one's to answer for, secrets in it included.
        if job.native() is None and self._words.holds_secret(json.dumps(fields, default=str), request.secrets.provided):
            raise ContractViolation(
                f"the job of agent {request.agent.name} holds a secret, which would lie in the engine's database"
            )
        version = type(job).handle_version
        return self._handles.encode(request.handle(created_at=submission.created_at, job=fields, job_version=version))

    async def handle(self, submission: Submission, encoded: bytes) -> bytes:
        """Publish a job by its handle; return the handle to answer with."""
        if submission.is_withdrawn:
            self._pursue(submission, encoded)
        if submission.place is None or (submission.held is None and not submission.is_promised):
            return encoded
        try:
            return await self._write(submission, submission.place, encoded)
        except StoreUnavailable as error:
            log = submission.request.log
            log.warning("job not yet written down; trying again", error_id=error.error_id, reason=error.message)
            place = submission.place
            self._write_later(submission, lambda: self._write(submission, place, encoded))
            return encoded

    def late(self, submission: Submission, job: JobRef) -> None:
        """Publish a job that turned up after its submission was over; where that came to anything else, it is stopped."""
        if submission.job is not None and submission.job.id == job.id:
            return
        submission.is_promised, submission.held = True, None
        if submission.place is None and not is_repeatable(submission.agent):
            task = asyncio.ensure_future(self._starts.stop(submission.request, job))
        else:
            task = asyncio.ensure_future(self._publish_late(submission, job))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _publish_late(self, submission: Submission, job: JobRef) -> None:
        try:
            await self.handle(submission, self._encode(submission, job))
        except (HandleError, ContractViolation):
            await self._starts.stop(submission.request, job)

    async def end(self, submission: Submission, ending: Ending) -> bytes:
        """Publish how a task ended without a job; return the handle to answer with.

        Raises:
            Handed: Another replica goes on with the submission.
        """
        request, place = submission.request, submission.place
        request.log.warning("job not started", error=ending.code, phase=ending.phase.value, reason=ending.message)
        if place is None:
            return self.ended(submission, ending)

        claim = submission.held.record.claim if submission.held is not None else ""

        def write(record: Record | None) -> Record | None:
            if record is None:
                record = Record(key=request.key, stage=Stage.CLAIMED, claim=claim, created_at=submission.created_at)
            # A claim that another replica took over meanwhile is that one's to end: it may be sending a create.
            is_ours = record.stage is Stage.CLAIMED and record.claim == claim
            return record.ended(ending) if is_ours else None

        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                held = await self._records.change(place, request.key, write)
            except StoreUnavailable as error:
                words = "end not yet written down; trying again"
                request.log.warning(words, error_id=error.error_id, reason=error.message)
                if submission.held is None or submission.lease_end > time.monotonic():
                    self._write_later(submission, lambda: self._records.change(place, request.key, write))
                    return self.ended(submission, ending)
                # The claim has run out: whoever has taken it over may be about to start the job.
                await submission.rest(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                break
        if held is None or held.record.stage is Stage.CLAIMED:
            raise Handed
        return self.settled(submission, held.record)

    def settled(self, submission: Submission, record: Record) -> bytes:
        """Return the handle that a record which is no mere claim stands for."""
        if record.ending is None or record.stage is Stage.SUBMITTED:
            return record.handle
        return self.ended(submission, record.ending)

    def ended(self, submission: Submission, ending: Ending) -> bytes:
        """Return a handle that tells an end, with as many of its words as fit."""
        return self.telling(submission.request.handle(created_at=submission.created_at, job={}), ending)

    def telling(self, handle: Handle, ending: Ending) -> bytes:
        """Return the bytes of a handle without a job that tells an end, with as many of its words as fit."""
        room = _WORDS_BYTES
        while True:
            words = ending.message.encode(errors="replace")[:room].decode(errors="ignore")
            code = ending.code[: max(room, 32)]
            try:
                return self._handles.encode(replace(handle, ending=replace(ending, message=words, code=code)))
            except HandleError:
                if room == 0:
                    raise
                room //= 2

    async def _write(self, submission: Submission, place: str, encoded: bytes) -> bytes:
        others: list[Record] = []

        def write(record: Record | None) -> Record | None:
            others.clear()
            if record is None:
                record = Record(key=submission.request.key, stage=Stage.CLAIMED, created_at=submission.created_at)
            if record.stage is Stage.CLAIMED:
                return record.submitted(encoded)
            others.append(record)
            return None

        held = submission.held
        written = await self._records.replace(held, held.record.submitted(encoded)) if held is not None else None
        if written is None:
            written = await self._records.change(place, submission.request.key, write)
        if others:
            return self._yield(submission, encoded, others[0])
        if written is not None and written.record.is_cancelled:
            self._pursue(submission, encoded)
        return encoded

    def _yield(self, submission: Submission, encoded: bytes, record: Record) -> bytes:
        """Another replica published before: our job is the same one, or one too many."""
        mine = self._handles.decode(encoded)
        if record.handle and self._handles.decode(record.handle).job == mine.job:
            if record.is_cancelled:
                self._pursue(submission, encoded)
            return encoded
        if submission.is_adopted and not record.is_cancelled:
            return self.settled(submission, record)  # it is another attempt's job, and that attempt's to stop
        submission.request.log.error(
            "second job under one key; it is stopped", job=mine.job.get("id"), stage=record.stage.value
        )
        self._pursue(submission, encoded)
        return self.settled(submission, record)

    def _write_later(self, submission: Submission, write: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.ensure_future(self._keep_writing(submission, write))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    @staticmethod
    async def _keep_writing(submission: Submission, write: Callable[[], Awaitable[object]]) -> None:
        give_up, pause_s = time.monotonic() + _PUBLISHING_S, _FIRST_PAUSE_S
        while time.monotonic() < give_up:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            try:
                await write()
            except StoreUnavailable:
                continue
            return
        submission.request.log.error("not written down; another replica may not find what became of the task")
