"""Intents: what a handle means whose submission was not finished when it was made.

Any replica may be asked. The one that submits knows; the others read the key's record, and take the submission over
when its claimant has been silent for the submission limit, 30 s more and the time in which a job of the agent becomes
visible. The time is counted from the replica's own first sight of the claim, on its own monotonic clock: no clocks are
compared. The claim is won by compare-and-swap, so of two heirs one submits. A claim that was given back (its process
was shut down in order) is free at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from outboard import __version__
from outboard.agent.agents import JobAgent
from outboard.agent.submission import Lookup, Token
from outboard.domain.phases import Phase
from outboard.domain.records import Record, Stage
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.requests import Request
from outboard.host.submissions.records import Held, Records
from outboard.host.submissions.starts import unknown_outcome
from outboard.host.submissions.submission import IN_FLIGHT_S, Submission, visible_s
from outboard.host.words import Words
from outboard.wire.tasks import decode_create_bytes

_CLOCKS_APART_S: Final = 7_200.0
"""Machines whose clocks differ by more have other troubles."""
SUBMITTING: Final = TaskStatus(phase=Phase.INITIALIZING, message="the job is being submitted")


class Intents:
    """Tells what became of intents, and finds those that nobody submits any more.

    Args:
        claim: The random name of this process.
        limit_s: For how long a process may submit on one claim.
        prepare: Makes a request of a raw task.
        take_over: Goes on with a submission.
    """

    def __init__(
        self,
        *,
        claim: str,
        limit_s: float,
        records: Records,
        live_jobs: LiveJobs,
        words: Words,
        prepare: Callable[[RawTask], Request],
        take_over: Callable[[Submission], None],
    ) -> None:
        self._claim = claim
        self._limit_s = limit_s
        self._records = records
        self._live_jobs = live_jobs
        self._words = words
        self._prepare = prepare
        self._take_over = take_over
        self.is_draining = False

    async def follow(self, live: LiveJob) -> LiveJob | TaskStatus:
        """Return the job of an intent that another process submits, or where the task stands while there is none."""
        key = live.handle.key
        place = self._records.place(live.handle.output_prefix, key)
        held = await self._records.read(place, key) if place is not None else None
        if held is not None and held.record.stage is not Stage.CLAIMED:
            return self._outcome(held.record)
        agent = live.agent
        if self.is_draining or not self._is_abandoned(live, held):
            return SUBMITTING
        if held is None or not held.record.request or not isinstance(agent, JobAgent):
            return await self._give_up(live, place)
        await self._claim_for_us(live, agent, held)
        return SUBMITTING

    def _outcome(self, record: Record) -> LiveJob | TaskStatus:
        if record.stage is Stage.ENDED and record.ending is not None:
            return record.ending.status
        return self._live_jobs.find(record.handle)

    def _is_abandoned(self, live: LiveJob, held: Held | None) -> bool:
        now = time.monotonic()
        sight = (held.record.claim, held.record.turn) if held else ("", -1)
        if live.claim_seen != sight:
            live.claim_seen, live.claim_seen_at = sight, now
        if held is not None and not held.record.claim:
            return True
        return now - live.claim_seen_at >= self._limit_s + IN_FLIGHT_S + visible_s(live.agent)

    async def _give_up(self, live: LiveJob, place: str | None) -> TaskStatus | LiveJob:
        """End an intent whose process is gone without a trace that another one could go on with."""
        key = live.handle.key
        ending = unknown_outcome(live.agent, key.text, self._words)
        live.log.error("intent given up", reason=ending.message)
        if place is None:
            return ending.status

        def write(record: Record | None) -> Record | None:
            record = record or Record(key=key, stage=Stage.CLAIMED)
            return record.ended(ending) if record.stage is Stage.CLAIMED else None

        held = await self._records.change(place, key, write)
        return self._outcome(held.record) if held else ending.status

    async def _claim_for_us(self, live: LiveJob, agent: JobAgent[Any, Any, Any], held: Held) -> None:
        record, now = held.record, time.monotonic()
        if _release(record.release) > _release(__version__):
            return  # it may ask for what this release does not know; a newer replica will do it
        task = replace(decode_create_bytes(record.request), provided=live.secrets.provided)
        request = self._prepare(task)
        if request.key != record.key:
            live.log.error("submission record holds another task's request", place=held.place)
            return
        claimed = await self._records.replace(held, record.renewed(self._claim, may_have_arrived=True))
        if claimed is None:
            return
        live.log.info("submission taken over", turn=claimed.record.turn)
        submission = Submission(
            request=request,
            agent=agent,
            place=held.place,
            created_at=record.created_at,
            opened=_opened(live, agent, record),
            lease_end=now + self._limit_s,
            held=claimed,
            may_have_arrived=record.may_have_arrived,
            # What was given back may have been sent just now; a silent claimant's create was sent long ago.
            sent_at=float("-inf") if record.claim else now,
            is_withdrawn=record.is_cancelled,
            is_promised=True,
        )
        self._take_over(submission)


def _opened(live: LiveJob, agent: JobAgent[Any, Any, Any], record: Record) -> float:
    """Return when a submission began, on this process's monotonic clock, as far as can be told."""
    kind, age_s = agent.submission, abs(time.time() - record.created_at)
    remembered = kind.valid_for if isinstance(kind, Token) else kind.retained_for if isinstance(kind, Lookup) else None
    if remembered is not None and age_s + _CLOCKS_APART_S < remembered.total_seconds():
        return live.claim_seen_at  # however wrong the clocks, the platform remembers: only what we saw ourselves counts
    # Another process's wall clock: where it is far off, either way, the submission is old and nothing is sent.
    return time.monotonic() - age_s


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
