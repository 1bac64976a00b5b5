"""Statuses: from what a platform says to what an engine gets.

GetTask answers an error only for bytes that are not ours: FlytePropeller counts failed polls over a job's whole life
and stops polling after six, so a platform that is down, slow, throttling or answering nonsense yields the last known
status instead. Only the platform's own word ends a job. The rules:

* unknown state: still running, flagged (see `domain.states`);
* no answer: what was reported last, RUNNING if nothing was; after a while the phase steps to WAITING_FOR_RESOURCES,
  the only thing that Flyte shows, and back once when the platform answers again;
* "no such job": nothing, while the job is younger than its agent's `visibility`; later two sightings a minute apart
  end it as RETRYABLE_FAILED "record gone";
* success is reported once its outputs are there; they are fetched and checked beside the polls, which may be shorter;
* terminal answers are final;
* whatever else goes wrong in an agent or in here is an unanswered question too;
* a handle that this replica cannot read is parked as RUNNING: another replica will read it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from outboard.agent.agents import After, JobAgent, WatchingAgent
from outboard.domain.phases import Phase, advance
from outboard.domain.states import Reading
from outboard.domain.statuses import Cause, Failure, Missing, Status, TaskStatus
from outboard.errors import AgentFault, Forbidden, OutboardError, Retry, Unauthorized, UnreadableHandle
from outboard.host.calls import Calls
from outboard.host.flights import Flights
from outboard.host.invocation import blamed
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.metrics import ABSORBED, FLAGGED, USAGE
from outboard.host.outputs import Outputs, failed_status
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings
from outboard.host.words import Words

_SIGHTINGS_APART_S: Final = 60.0
_LONGEST_REST_S: Final = 300.0
_LATE_LINKS_S: Final = 60.0
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
        words: Words,
    ) -> None:
        self._live_jobs = live_jobs
        self._calls = calls
        self._outputs = outputs
        self._memos = memos
        self._words = words
        self._endings: Flights[TaskStatus] = Flights(0.0, 0)
        self._ending_limit_s = settings.submission_limit.total_seconds()
        self._limit_s = settings.status_limit.total_seconds()
        self._unreachable_s = settings.unreachable_after.total_seconds()
        self._unauthorized_s = settings.unauthorized_after.total_seconds()

    async def status(self, encoded: bytes, timeout_s: float | None = None) -> TaskStatus:
        """Return where a task stands; `ForeignHandle` is the only error."""
        try:
            live = self._live_jobs.find(encoded)
        except UnreadableHandle as error:
            ABSORBED.labels("unknown", error.code).inc()
            return _PARKED
        return await self.observe(live, timeout_s)

    def recall(self, encoded: bytes) -> TaskStatus | None:
        """Return where a task stands when that needs no question: it has ended, or its platform was asked just now."""
        live = self._live_jobs.recall(encoded)
        if live is None or live.last is None:
            return None
        return live.last if live.rest_until > time.monotonic() or live.last.phase.is_terminal else None

    async def observe(self, live: LiveJob, timeout_s: float | None = None) -> TaskStatus:
        """Ask the platform about a job and return where it stands now; never raises."""
        last = live.last
        if last is not None and (last.phase.is_terminal or live.rest_until > time.monotonic()):
            return last
        limit_s = self._limit_s if timeout_s is None else min(self._limit_s, timeout_s * 0.8)
        try:
            observed = await self._ask(live, limit_s)
        except OutboardError as error:
            observed = self._absorb(live, error)
        except Exception as error:  # noqa: BLE001 - an engine counts failed polls over a job's life: there are none
            observed = self._absorb(live, _unexpected(error))
        else:
            live.silent_since = None
        last = live.last  # another poll of the same job may have ended meanwhile, and terminal answers are final
        if last is not None and (last.phase.is_terminal or observed is last or observed == last):
            return last
        live.last = observed
        return observed

    async def close(self) -> None:
        """Give up fetching outputs; whoever asks the next replica gets them."""
        await self._endings.close()

    async def _ask(self, live: LiveJob, limit_s: float) -> TaskStatus:
        agent = live.agent
        if isinstance(agent, WatchingAgent):
            return await self._poke(live, limit_s)
        if not isinstance(agent, JobAgent):
            raise AgentFault(f"agent {agent.name} answers at once and has no jobs to report on")
        answer = await self._platform_answer(live, agent, limit_s)
        if isinstance(answer, Missing):
            return self._judge_absence(live, agent)
        if answer is None:
            return live.last or TaskStatus(phase=Phase.RUNNING, links=live.links)
        live.missing_since = None
        if live.rest_until < (rested := time.monotonic() + agent.poll_interval.total_seconds()):
            live.rest_until = rested
        try:
            if live.last is not None and live.seen == answer:
                return live.last
        except Exception:  # noqa: BLE001, S110 - an agent's values may not even be comparable
            pass
        live.seen = None
        return await self._derive(live, agent, answer, limit_s)

    async def _platform_answer(
        self, live: LiveJob, agent: JobAgent[Any, Any, Any], limit_s: float
    ) -> Status | Missing | None:
        job = live.job
        if not agent.is_batching or job is None:
            answer = await self._calls.about_job(live, "get", job, timeout_s=limit_s)
            if answer is None:
                raise AgentFault(f"agent {agent.name} answered None instead of a Status")
        else:
            answers = await self._calls.about_account(live, "get_many", [job], timeout_s=limit_s)
            if not isinstance(answers, Mapping):
                raise AgentFault(f"agent {agent.name} answered {type(answers).__name__} instead of statuses by job id")
            answer = answers.get(job.id)
            if isinstance(answer, OutboardError):
                raise answer
        if answer is not None and not isinstance(answer, (Status, Missing)):
            raise AgentFault(f"agent {agent.name} answered {type(answer).__name__} instead of a Status")
        return answer

    async def _derive(
        self, live: LiveJob, agent: JobAgent[Any, Any, Any], status: Status, limit_s: float
    ) -> TaskStatus:
        reading = agent.states.read(status.state)
        state = self._words.state(status.state)
        if reading.is_flagged:
            self._flag(live, state)
        pause = _pause(status.poll_after)
        if pause is not None:
            live.rest_until = max(live.rest_until, time.monotonic() + pause.total_seconds())
        derived = TaskStatus(
            phase=reading.phase,
            message=self._words.text(status.message),
            links=(*live.links, *self._words.links(status.links)) if status.links else live.links,
            custom_info=self._words.facts(status.custom_info, status.usage),
            state=state,
            is_flagged=reading.is_flagged,
            poll_after=pause,
        )
        if reading.phase is Phase.SUCCEEDED:
            return await self._complete(live, status, derived, limit_s)
        if reading.phase.is_terminal:
            return self._count(live, self._failed(live, agent, status, reading, derived))
        held = self._held(live, agent, derived)
        # Only a plain answer may stand for itself next time: flags are counted, hints have effects, links are awaited.
        live.seen = None if reading.is_flagged or pause or held is not derived else status
        return self._forward(live, held)

    async def _complete(self, live: LiveJob, status: Status, derived: TaskStatus, limit_s: float) -> TaskStatus:
        """Return the end with its outputs, or what was reported last while they are still being fetched."""

        async def finish() -> TaskStatus:
            work = self._outputs.complete(live, status, derived, self._ending_limit_s)
            ended = await asyncio.wait_for(work, self._ending_limit_s)
            if live.last is None or not live.last.phase.is_terminal:
                live.last = self._count(live, ended)
            return live.last

        try:
            return await asyncio.wait_for(self._endings.join(live.handle.key.text, b"", finish), limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            return live.last or TaskStatus(phase=Phase.RUNNING, links=live.links)

    def _failed(
        self,
        live: LiveJob,
        agent: JobAgent[Any, Any, Any],
        status: Status,
        reading: Reading,
        derived: TaskStatus,
    ) -> TaskStatus:
        try:
            with blamed(agent, "judge"):
                verdict = agent.judge(status)
        except OutboardError as error:
            live.log.error("failure not judged", error_id=error.error_id, reason=error.message)  # noqa: TRY400 - logs hold no tracebacks
            verdict = None
        failure = verdict if isinstance(verdict, Failure) else reading.failure or Failure(code=derived.state)
        words = failure.message or status.message or f"the platform says {derived.state}"
        return failed_status(self._words.failure(replace(failure, message=words)), derived)

    @staticmethod
    def _count(live: LiveJob, ended: TaskStatus) -> TaskStatus:
        for unit, amount in ((ended.custom_info or {}).get("usage") or {}).items():
            if amount > 0:
                USAGE.labels(live.agent.name, live.handle.account, unit).inc(amount)
        return ended

    @staticmethod
    def _held(live: LiveJob, agent: JobAgent[Any, Any, Any], derived: TaskStatus) -> TaskStatus:
        """Return the status, held at INITIALIZING while a young job's late links are not there yet.

        Flyte shows links on a phase change only; those of a job that is RUNNING already come too late.
        """
        if not agent.late_links or derived.phase is not Phase.RUNNING:
            return derived
        is_reported = live.last is not None and live.last.phase is Phase.RUNNING
        is_young = abs(time.time() - live.handle.created_at) < _LATE_LINKS_S
        if is_reported or not is_young or set(agent.late_links) <= {link.name for link in derived.links}:
            return derived
        return replace(derived, phase=Phase.INITIALIZING)

    @staticmethod
    def _forward(live: LiveJob, derived: TaskStatus) -> TaskStatus:
        last = live.last
        if last is None or last.phase is derived.phase:
            return derived
        # Silence moved the phase to WAITING_FOR_RESOURCES: it comes back to where it was, never to before that.
        reached = live.before_silence if last.phase is Phase.WAITING_FOR_RESOURCES else None
        return replace(derived, phase=advance(last.phase, advance(reached, derived.phase)))

    async def _poke(self, live: LiveJob, limit_s: float) -> TaskStatus:
        if live.task is None:
            live.task = await self._memos.recall(live, limit_s)
        answer = await self._calls.about_job(live, "poke", live.task, timeout_s=limit_s)
        if answer is True:
            return TaskStatus(phase=Phase.SUCCEEDED, outputs={})
        pause = _pause(answer.delay) if isinstance(answer, After) else None
        if pause is not None:
            live.rest_until = time.monotonic() + pause.total_seconds()
        elif answer is not False:
            kind = type(answer).__name__
            raise AgentFault(f"sensor {live.agent.name} answered {kind}; answer True, False or After(timedelta)")
        return TaskStatus(phase=Phase.RUNNING, message="not there yet", poll_after=pause)

    def _judge_absence(self, live: LiveJob, agent: JobAgent[Any, Any, Any]) -> TaskStatus:
        fallback = live.last or TaskStatus(phase=Phase.RUNNING, links=live.links)
        # The creation time is another replica's clock: one that is far ahead must not hide an absence for ever.
        if abs(time.time() - live.handle.created_at) < agent.visibility.total_seconds():
            return fallback
        now = time.monotonic()
        if live.missing_since is None:
            live.missing_since = now
        if now - live.missing_since < _SIGHTINGS_APART_S:
            return fallback
        live.log.warning("the platform no longer knows the job")
        words = f"record gone: {agent.platform.name} no longer knows job {live.handle.job.get('id')}"
        failure = Failure(code="RecordGone", message=words, retry=Retry.YES, cause=Cause.PLATFORM)
        return failed_status(self._words.failure(failure), fallback)

    def _absorb(self, live: LiveJob, error: OutboardError) -> TaskStatus:
        ABSORBED.labels(live.agent.name, type(error).__name__).inc()
        now = time.monotonic()
        words = self._words.text(error.message)
        if live.silent_since is None:
            live.silent_since = now
            live.log.warning("status not answered", error=type(error).__name__, error_id=error.error_id, reason=words)
        if error.retry_after is not None:
            live.rest_until = now + min(error.retry_after.total_seconds(), _LONGEST_REST_S)
        fallback = live.last or TaskStatus(phase=Phase.RUNNING, links=live.links)
        patience_s = self._unauthorized_s if isinstance(error, (Unauthorized, Forbidden)) else self._unreachable_s
        silence = now - live.silent_since
        live.seen = None
        if silence < patience_s or fallback.phase is Phase.WAITING_FOR_RESOURCES or fallback.phase.is_terminal:
            return fallback
        live.before_silence = fallback.phase
        since = timedelta(seconds=int(silence))
        told = f"cannot reach {live.agent.platform.name} for {since}: {words[:256]}"
        return replace(fallback, phase=Phase.WAITING_FOR_RESOURCES, message=told)

    @staticmethod
    def _flag(live: LiveJob, state: str) -> None:
        FLAGGED.labels(live.agent.name).inc()
        if state not in live.flags and len(live.flags) < 16:
            live.flags.add(state)
            live.log.warning("unknown platform state", state=state[:100])


def _pause(hint: object) -> timedelta | None:
    return max(hint, timedelta(0)) if isinstance(hint, timedelta) else None


def _unexpected(error: Exception) -> OutboardError:
    fault = AgentFault(f"{type(error).__name__} while the answer was read; the agent's author must look at it")
    fault.__cause__ = error
    return fault
