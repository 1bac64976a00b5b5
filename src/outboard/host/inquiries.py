"""Inquiries: what a handle binds, what its record says, and what its platform says of the job now, and by which rule.

For people who ask why a task stands where it stands. Nothing follows from an inquiry: unlike a poll it submits no intent,
takes over no claim, pursues no cancel that another process owes, settles no outputs and ends no job that is missing; what
is reported to engines stays as it was. It makes the one question that a poll would make (`get`, `get_many` or `poke`), with
the same client and budget, and reads the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from outboard.agent.agents import JobAgent
from outboard.agent.registry import Registry
from outboard.domain.handles import Handle
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.records import Record
from outboard.domain.statuses import Failure, Link, Missing, Status, TaskStatus
from outboard.domain.tasks import TaskType
from outboard.errors import OutboardError, Retry
from outboard.host.calls import Calls
from outboard.host.foreign import ForeignHandles
from outboard.host.invocation import blamed
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.secrets import SecretSource
from outboard.host.sensors import SensorMemos
from outboard.host.statuses.questions import Questions
from outboard.host.submissions.records import Records
from outboard.host.submissions.unclaimed import UnclaimedJobs
from outboard.host.words import Words

_REMEMBERED: Final = 64


class Judge(str, Enum):
    """Who said whether another attempt is worth it."""

    NOBODY = ""
    AGENT = "the agent's own judgement of what the platform says of this job"
    TABLE = "the state's own entry in the agent's table"
    RULE = "the rule for states that say no more than that it is over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the platform said when it was asked just now.

    Attributes:
        state: Its own word; empty where it said none.
        rule: Which rule made it a phase, in words.
        source: The page that documents the platform's states.
        phase: What an engine would be told, outputs apart; None where there was no answer.
        message: The platform's words, without secrets.
        failure: Why the job failed.
        judge: Who decided whether that is worth another attempt.
        is_missing: It knows no such job.
        is_flagged: The table does not know the state.
        links: Pages about the job.
        error: Why there is no answer.
        seconds: How long it took.
    """

    state: str = ""
    rule: str = ""
    source: str = ""
    phase: Phase | None = None
    message: str = ""
    failure: Failure | None = None
    judge: Judge = Judge.NOBODY
    is_missing: bool = False
    is_flagged: bool = False
    links: tuple[Link, ...] = ()
    error: OutboardError | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What was found out about a handle.

    Attributes:
        handle: What it binds.
        job: What its job binds, where an intent's record names one by now; else the same.
        record: The submission record; None where there is none.
        record_place: Where that would be; empty where there is no place for one.
        record_error: Why it could not be read.
        links: Those that need no call.
        answer: The platform's; None where it was not asked.
        error: Why this process cannot ask.
    """

    handle: Handle
    job: Handle
    record: Record | None = None
    record_place: str = ""
    record_error: OutboardError | None = None
    links: tuple[Link, ...] = ()
    answer: Answer | None = None
    error: OutboardError | None = None


class Inquiries:
    """Makes inquiries.

    Args:
        registry: The agents.
        foreign: Reads handles.
        source: Where secrets are.
        calls: Asks agents.
        records: Reads submission records.
        memos: Recalls what sensors poke with.
        words: Makes the platforms' words fit to be shown.
    """

    def __init__(
        self,
        registry: Registry,
        foreign: ForeignHandles,
        source: SecretSource,
        calls: Calls,
        records: Records,
        memos: SensorMemos,
        words: Words,
    ) -> None:
        self._foreign = foreign
        self._calls = calls
        self._records = records
        self._memos = memos
        self._words = words
        # Apart from those of the engines' polls: what is looked at here must not count as polled there.
        self._live_jobs = LiveJobs(registry, foreign.decode, source, words, _REMEMBERED, UnclaimedJobs())

    async def inquire(
        self, encoded: bytes, task_type: TaskType | None, output_prefix: str, *, timeout_s: float, asks: bool
    ) -> Inquiry:
        """Return what can be found out about a handle.

        Args:
            encoded: The handle.
            task_type: As an engine would name it; needed for handles that are not ours.
            output_prefix: The same.
            timeout_s: For the platform's answer, and again for the record.
            asks: Whether to ask the platform.

        Raises:
            HandleError: The handle cannot be read here.
        """
        bound = self._foreign.bound(encoded, task_type, output_prefix)
        handle = self._foreign.decode(bound)
        place = self._records.place(handle.output_prefix, handle.key) or ""
        record, trouble = await self._record(place, handle, timeout_s)
        job, known = handle, bound
        if handle.is_intent and record is not None and record.handle:
            known, job = record.handle, self._foreign.decode(record.handle)
        links: tuple[Link, ...] = ()
        answer: Answer | None = None
        error: OutboardError | None = None
        try:
            live = self._live_jobs.find(known)
            links = live.links
            if asks and not job.is_intent and job.ending is None:
                answer = await self._ask(live, timeout_s)
        except OutboardError as raised:
            error = self._words.own(raised)
        return Inquiry(
            handle=handle,
            job=job,
            record=record,
            record_place=place,
            record_error=trouble,
            links=links,
            answer=answer,
            error=error,
        )

    async def recorded_handle(self, key: Key, output_prefix: str, *, timeout_s: float) -> bytes | None:
        """Return the handle that a key's record holds; None where there is no record, or none of a job.

        Raises:
            StoreUnavailable: The record cannot be read.
        """
        place = self._records.place(output_prefix, key)
        held = await self._records.read(place, key, timeout_s) if place is not None else None
        return (held.record.handle or None) if held is not None else None

    def close(self) -> None:
        """Forget everything."""
        self._live_jobs.close()

    async def _record(self, place: str, handle: Handle, timeout_s: float) -> tuple[Record | None, OutboardError | None]:
        if not place:
            return None, None
        try:
            held = await self._records.read(place, handle.key, timeout_s)
        except OutboardError as error:
            return None, self._words.own(error)
        return (held.record if held is not None else None), None

    async def _ask(self, live: LiveJob, timeout_s: float) -> Answer:
        began = time.monotonic()
        questions = Questions(self._calls, self._memos, timeout_s)
        said = (await questions.ask([live])).get(live)
        return self._read(live, said, time.monotonic() - began)

    def _read(self, live: LiveJob, said: object, seconds: float) -> Answer:
        agent = live.agent
        if isinstance(said, OutboardError):
            return Answer(error=self._words.own(said), seconds=seconds)
        if isinstance(said, TaskStatus):
            rule = "a sensor says whether it is there; there is no state to map"
            return Answer(phase=said.phase, message=self._words.text(said.message), rule=rule, seconds=seconds)
        if isinstance(said, Missing):
            rule = "no such job: nothing for ten minutes, since answers lag; then it is over (RecordGone)"
            return Answer(is_missing=True, rule=rule, seconds=seconds)
        if isinstance(said, Status) and isinstance(agent, JobAgent):
            return self._mapped(agent, said, seconds)
        return Answer(error=OutboardError(f"agent {agent.name} tells nothing of this job"), seconds=seconds)

    def _mapped(self, agent: JobAgent[Any, Any, Any], status: Status, seconds: float) -> Answer:
        reading, words = agent.states.read(status.state), self._words
        phase, failure, judge = reading.phase, None, Judge.NOBODY
        if phase is Phase.FAILED:
            failure, judge = self._judged(agent, status, reading.failure)
            phase = Phase.RETRYABLE_FAILED if failure.retry is Retry.YES else Phase.FAILED
        return Answer(
            state=words.state(status.state),
            rule=words.text(agent.states.rule(status.state)),
            source=agent.states.source,
            phase=phase,
            message=words.text(status.message),
            failure=None if failure is None else words.failure(failure),
            judge=judge,
            is_flagged=reading.is_flagged,
            links=words.links(status.links),
            seconds=seconds,
        )

    def _judged(self, agent: JobAgent[Any, Any, Any], status: Status, default: Failure | None) -> tuple[Failure, Judge]:
        judge: Callable[[Status], Failure | None] = agent.judge
        try:
            with blamed(agent, "judge"):
                verdict = judge(status)
        except OutboardError:
            verdict = None
        if isinstance(verdict, Failure):
            return verdict, Judge.AGENT
        if default is not None:
            return default, Judge.TABLE
        return Failure(code=self._words.state(status.state)), Judge.RULE
