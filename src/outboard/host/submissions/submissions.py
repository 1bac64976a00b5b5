"""Submissions: a request becomes a job, and the job a handle; once, whatever is lost and whoever dies.

One submission per key and process, in a task of its own that is shielded from its callers. Among processes the key's
record decides (see `domain.records`): where the platform cannot tell a repeated request from a new one, nothing is
sent without the claim. CreateTask waits a moment for the job. When that takes longer its answer is an *intent*, a
handle that says "ask the record" (see `intents`), and the submission goes on behind it.

A refusal is an answer too: the task's end goes into the record, so that the same request gets the same verdict
wherever it is sent, and into the handle, since FlytePropeller burns a retry for every error of CreateTask.

=================  ===================================================
`submissions`      one key: claim, adopt, start, publish
`submission`       what this process knows of one
`starts`           from a claim to a job, whatever is lost on the way
`adoptions`        the jobs of earlier attempts
`publications`     what came of it, for other replicas
`intents`          handles of submissions that are not finished
=================  ===================================================
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from outboard import __version__
from outboard.agent.agents import Agent, AnsweringAgent, JobAgent, WatchingAgent
from outboard.agent.jobs import JobRef
from outboard.domain.handles import Handle
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.records import Record, Stage
from outboard.domain.statuses import Cause, Ending, TaskStatus
from outboard.domain.tasks import RawTask
from outboard.errors import InvalidTask, OutboardError, StoreUnavailable
from outboard.host.calls import Calls
from outboard.host.flights import Flights
from outboard.host.foreign import ForeignHandles
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.requests import Request
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings
from outboard.host.stores import Store
from outboard.host.submissions.adoptions import Adoptions, Look
from outboard.host.submissions.intents import SUBMITTING, Intents
from outboard.host.submissions.late_answers import LateAnswers
from outboard.host.submissions.publications import Publications
from outboard.host.submissions.records import Held, Records
from outboard.host.submissions.starts import CANCELLED, Starts
from outboard.host.submissions.submission import Handed, Submission
from outboard.host.submissions.unclaimed import UnclaimedJobs
from outboard.host.words import Words
from outboard.wire.tasks import encode_create_bytes

_PATIENCE_S: Final = 1.0
_CALLERS_SHARE: Final = 0.9
_NATIVE_SHARE: Final = 0.85
"""Of a caller's time, for a job whose handle other software reads too: an intent only we could follow."""
_OPTIONAL_LIMIT_S: Final = 2.0
_REQUIRED_LIMIT_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
"""Between tries to claim: until then a submission dies with this process."""


class Submissions:
    """Starts jobs.

    Args:
        claim: The random name of this process in records.
        prepare: Makes a request of a raw task, for submissions that are taken over.
        look: Asks the platform about a job; tells whether it answered.
    """

    def __init__(  # noqa: PLR0913 - the front door of a room of five joins its parts
        self,
        settings: HostSettings,
        *,
        calls: Calls,
        handles: ForeignHandles,
        records: Records,
        stores: Store,
        live_jobs: LiveJobs,
        memos: SensorMemos,
        late_answers: LateAnswers,
        unclaimed: UnclaimedJobs,
        claim: str,
        words: Words,
        prepare: Callable[[RawTask], Request],
        look: Look,
    ) -> None:
        self._limit_s = settings.submission_limit.total_seconds()
        self._handles = handles
        self._records = records
        self._live_jobs = live_jobs
        self._memos = memos
        self._late_answers = late_answers
        self._claim = claim
        self._flights: Flights[bytes] = Flights(settings.answer_retention.total_seconds(), settings.remembered)
        self._running: dict[str, Submission] = {}
        self._pursue: Callable[[bytes], None] = lambda _: None
        self._starts = Starts(settings, calls, records, stores, words, self._report_late)
        self._adoptions = Adoptions(settings.installation, records, live_jobs, handles, self._starts, look)
        self._publications = Publications(handles, records, self._starts, words, self._stop, unclaimed)
        self._intents = Intents(
            claim=self._claim,
            limit_s=self._limit_s,
            records=records,
            live_jobs=live_jobs,
            words=words,
            prepare=prepare,
            take_over=self._take_over,
        )

    def report_withdrawn(self, pursue: Callable[[bytes], None]) -> None:
        """Say who sees to the end of jobs whose task was cancelled while they were submitted."""
        self._pursue = pursue

    async def submit(self, request: Request, timeout_s: float | None) -> bytes:
        """Return the handle of the request's job, or of the intent to start it, or of the end it came to.

        Args:
            request: What is asked.
            timeout_s: What the caller has left.
        """
        key = request.key.text
        flight = self._flights.begin(key, request.fingerprint, lambda: self._fly(request))
        patience_s = self._patience_s(request.agent, timeout_s)
        try:
            await asyncio.wait({flight}, timeout=patience_s)
        except asyncio.CancelledError:
            if (submission := self._running.get(key)) is not None:
                self._promise(submission, flight)  # the caller asks elsewhere now, perhaps for the next attempt
            raise
        submission = self._running.get(key)
        if submission is not None and not flight.done():
            promise = self._promise(submission, flight)
            left_s = self._limit_s if timeout_s is None else timeout_s * _CALLERS_SHARE - patience_s
            waited: set[asyncio.Future[Any]] = {flight, promise}
            await asyncio.wait(waited, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not flight.done():
                return self._handles.encode(_intent(request, submission.created_at))
        if isinstance(request.agent, AnsweringAgent) and not flight.done():
            return self._handles.encode(_intent(request, int(time.time())))
        try:
            return await asyncio.shield(flight)
        except Handed:
            return self._handles.encode(_intent(request, int(time.time())))

    def _patience_s(self, agent: Agent, timeout_s: float | None) -> float:
        """Return how long a caller waits for a job before an intent will do."""
        if isinstance(agent, JobAgent) and agent.native_handles:
            return self._limit_s if timeout_s is None else timeout_s * _NATIVE_SHARE
        return _PATIENCE_S if timeout_s is None else min(_PATIENCE_S, timeout_s / 3)

    def knows(self, key: Key) -> bool:
        """Tell whether this process submits, or lately submitted, a key."""
        return key.text in self._running or self._flights.recall(key.text) is not None

    async def follow(self, live: LiveJob) -> LiveJob | TaskStatus:
        """Return the job of an intent, or where the task stands while there is none.

        Raises:
            OutboardError: Why there is neither a job nor an end yet, where something is in the way.
        """
        key = live.handle.key.text
        running = self._running.get(key)
        if running is not None:
            if running.trouble is not None:
                raise running.trouble.with_traceback(None)  # the same error at every poll: it must not grow
            return SUBMITTING
        if self._flights.is_running(key):
            return SUBMITTING
        kept = self._late_answers.recall(key) or self._flights.recall(key)
        if isinstance(kept, TaskStatus):
            return kept
        found = self._live_jobs.find(kept) if kept is not None else await self._intents.follow(live)
        if isinstance(found, LiveJob):
            self._live_jobs.lend(live, found)  # whoever asks need not be a poll, which would bring it along
        return found

    async def withdraw(self, live: LiveJob) -> None:
        """Mark a task as cancelled, durably and for all replicas; nothing is submitted for it any more.

        Raises:
            StoreUnavailable: The mark could not be written; only this process knows.
        """
        key = live.handle.key
        running = self._running.get(key.text)
        if running is not None:
            running.withdraw()
        place = self._records.place(live.handle.output_prefix, key)
        if place is None:
            return

        def mark(record: Record | None) -> Record | None:
            marked = _marked(record, live)
            return None if marked == record else marked

        await self._records.change(place, key, mark)

    async def count_refusals(self, live: LiveJob, new: int) -> int:
        """Count `new` cancels that are answered with an error; return how many there were, by all replicas.

        0 where there is no record to count them in.

        Raises:
            StoreUnavailable: They cannot be counted.
        """
        key = live.handle.key
        place = self._records.place(live.handle.output_prefix, key)
        if place is None:
            return 0

        def count(record: Record | None) -> Record:
            marked = _marked(record, live)
            return replace(marked, refusals=marked.refusals + new)

        held = await self._records.change(place, key, count)
        return held.record.refusals if held is not None else 0

    async def end(self, live: LiveJob, status: TaskStatus) -> None:
        """Write down an end that is our verdict rather than the platform's word: no later attempt adopts that job.

        Raises:
            StoreUnavailable: It could not be written.
        """
        key = live.handle.key
        place = self._records.place(live.handle.output_prefix, key)
        if place is None:
            return

        def mark(record: Record | None) -> Record | None:
            record = record or Record(key=key, stage=Stage.SUBMITTED, handle=live.encoded)
            return None if record.stage is Stage.ENDED else record.ended(Ending.of(status))

        await self._records.change(place, key, mark)

    def withdrawn(self, encoded: bytes) -> None:
        """See to it that the job of a handle ends."""
        self._pursue(encoded)

    async def drain(self, patience_s: float) -> int:
        """Wait for submissions in flight, at most `patience_s`; return how many still are.

        Those that only wait for something are given back to the other replicas.
        """
        self._starts.is_draining = self._intents.is_draining = True
        for submission in self._running.values():
            submission.wake.set()
        left = await self._flights.drain(patience_s)
        await self._publications.drain()
        return left

    async def close(self) -> None:
        """Cancel what is still in flight; the records let other replicas go on."""
        await self._flights.close()
        await self._publications.close()

    def _take_over(self, submission: Submission) -> None:
        request = submission.request
        self._flights.begin(request.key.text, request.fingerprint, lambda: self._run(submission))

    def _stop(self, submission: Submission, encoded: bytes) -> None:
        """See to it that a job that was just started ends: nobody has asked for it yet, and provided anything."""
        self._live_jobs.provide(encoded, submission.request.secrets.provided)
        self.withdrawn(encoded)

    def _report_late(self, submission: Submission, job: JobRef) -> None:
        if self._running.get(submission.request.key.text) is not submission:
            self._publications.late(submission, job)  # otherwise it takes the job itself

    async def _fly(self, request: Request) -> bytes:
        created_at = int(time.time())
        if isinstance(request.agent, WatchingAgent):
            handle = await self._memos.remember(request, created_at=created_at, timeout_s=self._limit_s)
            return self._handles.encode(handle)
        if not isinstance(request.agent, JobAgent):
            return await self._answer(request, created_at)
        now = time.monotonic()
        submission = Submission(
            request=request,
            agent=request.agent,
            place=self._records.place(request.task.output_prefix, request.key),
            created_at=created_at,
            opened=now,
            lease_end=now + self._limit_s,
        )
        return await self._run(submission)

    async def _answer(self, request: Request, created_at: int) -> bytes:
        ending = await self._late_answers.answer(request, created_at)
        if ending is None:
            raise Handed  # to nobody: only this process remembers, and an intent asks it
        return self._publications.telling(request.handle(created_at=created_at, job={}), ending)

    async def _run(self, submission: Submission) -> bytes:
        key = submission.request.key.text
        self._running[key] = submission
        try:
            if submission.held is None and (settled := await self._enter(submission)) is not None:
                return settled
            adopted = await self._adoptions.adopt(submission, self)
            if isinstance(adopted, Ending):
                return await self._publications.end(submission, adopted)
            if adopted is not None:
                submission.is_adopted = True
                published = await self._publications.handle(submission, self._handles.encode(adopted))
                if self._handles.is_adopted(published):
                    raise Handed  # to its record: native bytes do not tell where the earlier attempt writes its files
                return published
            await self._claim_late(submission)
            outcome = await self._starts.start(submission)
            if isinstance(outcome, Ending):
                return await self._publications.end(submission, outcome)
            return await self._publications.job(submission, outcome)
        finally:
            del self._running[key]

    async def _enter(self, submission: Submission) -> bytes | None:
        """Claim the key, or act on what others did with it; return the handle when there is nothing left to do."""
        place, is_known = submission.place, False
        if place is None:
            return None
        limit_s = _REQUIRED_LIMIT_S if submission.needs_record else _OPTIONAL_LIMIT_S
        since, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                if await self._claim_key(submission, place, limit_s):
                    return None
                is_known = True  # somebody was here before, and what he did must be read
                held = await self._records.read(place, submission.request.key, limit_s)
            except StoreUnavailable as error:
                submission.trouble = error
                if not is_known and submission.may_do_without(since):
                    return None
                if self._starts.is_draining or not submission.is_in_window or submission.is_withdrawn:
                    return self._unclaimed(submission, error)
                await submission.rest(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            submission.trouble = None
            if held is not None:
                return await self._join(submission, held)

    async def _claim_key(self, submission: Submission, place: str, limit_s: float) -> bool:
        record = Record(
            key=submission.request.key,
            stage=Stage.CLAIMED,
            claim=self._claim,
            created_at=submission.created_at,
            release=__version__,
            may_have_arrived=True,
            request=_packed(submission.request),
        )
        held = await self._records.create(place, record, limit_s)
        if held is None:
            return False
        # The lease runs from the submission's beginning: others count from the first write, whose answer may be lost.
        submission.held = held
        return True

    def _unclaimed(self, submission: Submission, error: StoreUnavailable) -> bytes:
        if submission.is_withdrawn:
            return self._publications.ended(submission, CANCELLED)
        words = f"nothing was started, since the submission record cannot be written: {error.message}"
        ending = Ending(phase=Phase.RETRYABLE_FAILED, code=error.code, message=words, cause=Cause.PLATFORM)
        return self._publications.ended(submission, ending)

    async def _join(self, submission: Submission, held: Held) -> bytes | None:
        """Act on a record that was there before."""
        record = held.record
        if record.stage is not Stage.CLAIMED:
            return self._publications.settled(submission, record)
        if record.claim == self._claim:
            # An earlier try of this very process, which is over.
            submission.held, submission.may_have_arrived = held, record.may_have_arrived
            submission.sent_at = time.monotonic()  # at the latest
            if record.is_cancelled:
                submission.withdraw()
            return None
        opened = time.monotonic() - abs(time.time() - record.created_at)
        if submission.may_open(opened) and not record.is_cancelled and await self._take_claim(submission, held):
            # Whoever else was at it, or died at it: the platform answers both of us with one job.
            submission.opened, submission.sent_at = opened, time.monotonic()
            submission.may_have_arrived, submission.is_promised = record.may_have_arrived, True
            return None
        give_up, pause_s = time.monotonic() + _PATIENCE_S, _FIRST_PAUSE_S
        while time.monotonic() + pause_s < give_up:
            await asyncio.sleep(pause_s)
            pause_s *= 2
            try:
                found = await self._records.read(held.place, record.key)
            except StoreUnavailable:
                break
            if found is not None and found.record.stage is not Stage.CLAIMED:
                return self._publications.settled(submission, found.record)
        raise Handed

    async def _take_claim(self, submission: Submission, held: Held) -> bool:
        """Take another process's claim: only one of us may say how the task ends."""
        lease_end = time.monotonic() + self._limit_s
        try:
            taken = await self._records.replace(held, held.record.renewed(self._claim, may_have_arrived=True))
        except StoreUnavailable as error:
            submission.trouble = error
            return False
        if taken is not None:
            submission.held, submission.lease_end = taken, lease_end
        return taken is not None

    def _promise(self, submission: Submission, flight: asyncio.Future[bytes]) -> asyncio.Task[None]:
        """Return a task that ends once other processes could go on with a submission."""
        if submission.promise is None or submission.promise.done():
            submission.promise = promise = asyncio.ensure_future(self._make_durable(submission))
            flight.add_done_callback(lambda _: promise.cancel())
        return submission.promise

    async def _make_durable(self, submission: Submission) -> None:
        submission.is_promised = True
        place, pause_s = submission.place, _FIRST_PAUSE_S
        if place is None:
            await asyncio.Event().wait()  # nobody else can go on: callers wait as long as they may
            return
        while submission.held is None:
            try:
                # Where a claim is needed the submission makes it itself, before it sends anything.
                if not submission.needs_record and not await self._claim_key(submission, place, _REQUIRED_LIMIT_S):
                    found = await self._records.read(place, submission.request.key)
                    if found is not None:
                        self._accept(submission, found)
                        return
            except OutboardError as error:
                submission.request.log.warning(
                    "intent not yet written down", error_id=error.error_id, reason=error.message
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _claim_late(self, submission: Submission) -> None:
        """Try once more to leave a trace of a job that only its record could show to the next attempt."""
        place = submission.place
        if place is None or submission.held is not None or self._records.is_down(place):
            return
        try:
            if not await self._claim_key(submission, place, _OPTIONAL_LIMIT_S):
                found = await self._records.read(place, submission.request.key, _OPTIONAL_LIMIT_S)
                if found is not None:
                    self._accept(submission, found)
        except StoreUnavailable as error:
            submission.trouble = error

    def _accept(self, submission: Submission, found: Held) -> None:
        """Go on with a record that was there when an intent was to be written; others can do so as well."""
        if found.record.claim == self._claim:
            submission.held = found
        if found.record.is_cancelled:
            submission.withdraw()
        elif found.record.stage is Stage.ENDED:
            submission.opened = float("-inf")  # a later attempt has begun: nothing is sent any more


def _marked(record: Record | None, live: LiveJob) -> Record:
    """Return a task's record with the cancel mark, and with its job where that was not written down."""
    if record is None:
        new = Record(key=live.handle.key, stage=Stage.SUBMITTED, handle=live.encoded, created_at=int(time.time()))
        return (replace(new, handle=b"").ended(CANCELLED) if live.handle.is_intent else new).cancelled()
    if record.is_cancelled or record.stage is Stage.ENDED:
        return record
    is_known = record.stage is Stage.SUBMITTED or live.handle.is_intent
    return (record if is_known else record.submitted(live.encoded)).cancelled()


def _intent(request: Request, created_at: int) -> Handle:
    return replace(request.handle(created_at=created_at, job={}), is_intent=True)


def _packed(request: Request) -> bytes:
    try:
        return encode_create_bytes(request.raw)
    except InvalidTask:
        return b""  # a local task that cannot travel: only this process submits it
