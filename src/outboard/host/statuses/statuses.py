"""Statuses: where tasks stand.

GetTask answers an error only for bytes that are not ours: FlytePropeller counts failed polls over a job's whole life
and stops polling after six, so a platform that is down, slow, throttling or answering nonsense yields the last known
status instead. Only the platform's own word ends a job, and terminal answers are final.

A handle that this replica cannot read is parked as RUNNING: another replica will read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from outboard.agent.agents import PolledAgent
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.errors import AgentFault, OutboardError, StoreUnavailable, UnreadableHandle
from outboard.host.accounts import Accounts
from outboard.host.calls import Calls
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.metrics import ABSORBED
from outboard.host.outputs import Outputs
from outboard.host.parking import ParkedHandles
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings
from outboard.host.statuses.board import Board
from outboard.host.statuses.endings import Endings
from outboard.host.statuses.lanes import Answer
from outboard.host.statuses.metrics import count_live, count_no_more
from outboard.host.statuses.questions import Questions
from outboard.host.statuses.verdicts import unexpected
from outboard.host.submissions.submissions import Submissions
from outboard.host.words import Words

_INTENT_REST_S: Final = 0.25
_CALLERS_SHARE: Final = 0.8
_LOOK_LIMIT_S: Final = 2.0
_PARKED: Final = TaskStatus(phase=Phase.RUNNING, message="this replica cannot read the handle; another one will")


class Statuses:
    """Answers where tasks stand."""

    def __init__(
        self,
        settings: HostSettings,
        live_jobs: LiveJobs,
        calls: Calls,
        outputs: Outputs,
        memos: SensorMemos,
        submissions: Submissions,
        accounts: Accounts,
        words: Words,
    ) -> None:
        self._submissions = submissions
        self._tracing = calls.tracing
        self._live_jobs = live_jobs
        self._parked = ParkedHandles()
        self._endings = Endings(settings, outputs, submissions, accounts, words)
        self._verdicts = self._endings.verdicts
        question_s = settings.status_call_limit.total_seconds()
        questions = Questions(calls, memos, question_s)
        self._board = Board(calls, questions.ask, self._settle, question_s)
        count_live(live_jobs)
        self._followings: set[asyncio.Task[LiveJob | TaskStatus]] = set()
        self._limit_s = settings.status_limit.total_seconds()
        self._wait_s = settings.status_wait.total_seconds()

    async def status(self, encoded: bytes, timeout_s: float | None = None) -> TaskStatus:
        """Return where a task stands; `ForeignHandle` is the only error."""
        try:
            live = self._live_jobs.find(encoded)
        except UnreadableHandle as error:
            ABSORBED.labels("unknown", error.code).inc()
            self._parked.tell(encoded, error)
            return _PARKED
        return await self.observe(live, timeout_s)

    def recall(self, encoded: bytes) -> TaskStatus | None:
        """Return where a task stands when that needs no question: it has ended, or what is known of it is fresh."""
        live = self._live_jobs.recall(encoded)
        if live is None:
            return None
        now = time.monotonic()
        told = self._board.recall(live, now)
        if told is not None:
            live.touched_at = now
        return told

    async def observe(self, live: LiveJob, timeout_s: float | None = None) -> TaskStatus:
        """Return where a task stands for a poll; never raises."""
        live = live.resolved or live
        told = self._board.recall(live, time.monotonic())
        if told is not None:
            return told
        return await self._ask(live, time.monotonic() + self._patience_s(live, timeout_s))

    async def look(self, live: LiveJob, within_s: float = _LOOK_LIMIT_S) -> bool:
        """Ask the platform about a job now, for others than engines; tell whether it answered in this time."""
        live = live.resolved or live
        if live.has_ended:
            return True
        give_up = time.monotonic() + within_s
        if live.success is not None:
            self._endings.begin(live, live.success)
            answered = True
        else:
            answered = await self._board.look(live, within_s)
        await self._await_end(live, give_up)
        return answered

    def hasten(self, agent: str, job_ids: Sequence[str]) -> int:
        """Ask about jobs at once, since something happened to them; return how many of them are alive here."""
        found = [live for job_id in job_ids for live in self._live_jobs.named(agent, job_id) if not live.has_ended]
        for live in found:
            self._board.hasten(live)
        return len(found)

    async def close(self) -> None:
        """Give up asking and fetching outputs; whoever asks the next replica gets them."""
        await self._board.close()
        await self._endings.close()
        self._live_jobs.close()
        count_no_more(self._live_jobs)
        for following in self._followings:
            following.cancel()

    async def _ask(self, live: LiveJob, give_up: float) -> TaskStatus:
        if live.is_intent:
            return await self._follow(live, give_up)
        if not isinstance(live.agent, PolledAgent):
            fault = AgentFault(f"agent {live.agent.name} answers at once and has no jobs to report on")
            live.tell(self._verdicts.unanswered(live, fault))
            return live.report()
        if live.success is not None:
            self._endings.begin(live, live.success)
        else:
            if self._tracing is not None and live.job is not None:
                self._tracing.asked(live.agent.name, live.job.id)
            await self._board.refresh(live, give_up - time.monotonic())
        await self._await_end(live, give_up)
        return live.report()

    def _patience_s(self, live: LiveJob, timeout_s: float | None) -> float:
        """Return how long a poll may wait: an engine has few workers for the polls of all its tasks."""
        limit_s = self._wait_s if live.polled_at else self._limit_s
        return limit_s if timeout_s is None else min(limit_s, timeout_s * _CALLERS_SHARE)

    def _settle(self, live: LiveJob, answer: Answer) -> None:
        """Take an answer about a job; never raises."""
        try:
            if isinstance(answer, OutboardError):
                raise answer  # noqa: TRY301 - it is one of those below
            observed = answer if isinstance(answer, TaskStatus) else self._verdicts.answered(live, answer)
            live.silent_since = live.refused_since = None
        except OutboardError as error:
            observed = self._verdicts.unanswered(live, error)
        except Exception as error:  # noqa: BLE001 - an engine counts failed polls over a job's life: there are none
            observed = self._verdicts.unanswered(live, unexpected(error))
        if observed is not None:
            live.tell(observed)
        elif live.success is not None:
            self._endings.begin(live, live.success)

    @staticmethod
    async def _await_end(live: LiveJob, give_up: float) -> None:
        """Wait for the outputs of a job that succeeded, as far as they are being fetched."""
        if live.success is not None and live.success.ending is not None:
            await asyncio.wait({live.success.ending}, timeout=max(0.0, give_up - time.monotonic()))

    async def _follow(self, live: LiveJob, give_up: float) -> TaskStatus:
        """Return where an intent's job stands, or its submission while there is none."""
        live.polled_at = time.monotonic()
        try:
            found = await self._followed(live, give_up - time.monotonic())
        except OutboardError as error:
            live.tell(self._verdicts.unanswered(live, error))
            return live.report()
        except Exception as error:  # noqa: BLE001 - an engine counts failed polls over a job's life: there are none
            live.tell(self._verdicts.unanswered(live, unexpected(error)))
            return live.report()
        live.silent_since = live.refused_since = None
        if isinstance(found, LiveJob):
            self._live_jobs.resolve(live, found)
            return self._board.recall(found, time.monotonic()) or await self._ask(found, give_up)
        live.rest_until = live.fresh_until = time.monotonic() + _INTENT_REST_S
        live.tell(found)
        return live.report()

    async def _followed(self, live: LiveJob, within_s: float) -> LiveJob | TaskStatus:
        following = live.following
        if following is None:
            following = live.following = asyncio.ensure_future(self._submissions.follow(live))
            self._followings.add(following)
            following.add_done_callback(self._forget_following)
        await asyncio.wait({following}, timeout=within_s)
        if not following.done():
            # It goes on: a take-over that a slow store keeps from ending would never happen; the next poll hears of it.
            raise StoreUnavailable(f"the submission record was not read within {within_s:g} s")
        live.following = None
        return following.result()

    def _forget_following(self, following: asyncio.Task[LiveJob | TaskStatus]) -> None:
        self._followings.discard(following)
        if not following.cancelled():
            following.exception()  # nobody may poll again, and asyncio would print it
