"""Statuses: from what a platform says to what an engine gets.

GetTask answers an error only for bytes that are not ours: FlytePropeller counts failed polls over a job's whole life
and stops polling after six, so a platform that is down, slow, throttling or answering nonsense yields the last known
status instead. Only the platform's own word ends a job. The rules:

* unknown state: still running, flagged (see `domain.states`);
* no answer: what was reported last, RUNNING if nothing was; after a while the phase steps to WAITING_FOR_RESOURCES,
  the only thing that Flyte shows, and back once when the platform answers again;
* "no such job": nothing, for ten minutes and its agent's `visibility`, since read replicas lag and platforms fail over;
  then the third sighting with no other answer in between ends it as RETRYABLE_FAILED "record gone";
* success is reported once its outputs are there; they are fetched and checked beside the polls, which may be shorter; six
  hours of refusals end it as RETRYABLE_FAILED "outputs gone";
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

from outboard.agent.agents import After, Agent, JobAgent, WatchingAgent
from outboard.domain.phases import Phase, advance
from outboard.domain.states import Reading
from outboard.domain.statuses import Cause, Failure, Missing, Status, TaskStatus
from outboard.errors import (
    AgentError,
    AgentFault,
    Forbidden,
    OperatorError,
    OutboardError,
    Retry,
    StoreUnavailable,
    Throttled,
    Unauthorized,
    Unavailable,
    UnreadableHandle,
)
from outboard.host.accounts import Accounts
from outboard.host.calls import Calls
from outboard.host.flights import Flights
from outboard.host.invocation import blamed
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.metrics import ABSORBED, FLAGGED, USAGE
from outboard.host.outputs import Outputs, failed_status
from outboard.host.parking import ParkedHandles
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings
from outboard.host.submissions import Submissions
from outboard.host.words import Words

_GONE_AFTER_S: Final = 600.0
_SIGHTINGS: Final = 3
_OUTPUTS_GONE_AFTER_S: Final = 6 * 3600.0
"""A job that did its work is not thrown away over a gateway that answers 400 for an afternoon."""
_NO_REFUSALS: Final = (Throttled, Unavailable, Unauthorized, Forbidden)
_LONGEST_REST: Final = timedelta(minutes=5)
_LATE_LINKS_S: Final = 60.0
_INTENT_REST_S: Final = 0.25
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
        self._accounts = accounts
        self._tellings: set[asyncio.Task[None]] = set()
        self._followings: set[asyncio.Task[LiveJob | TaskStatus]] = set()
        self._live_jobs = live_jobs
        self._parked = ParkedHandles()
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
            self._parked.tell(encoded, error)
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
        if live.resolved is not None:
            live = live.resolved
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
            live.silent_since = live.refused_since = None
        last = live.last  # another poll of the same job may have ended meanwhile, and terminal answers are final
        if last is not None and (last.phase.is_terminal or observed is last or observed == last):
            return last
        live.last = observed
        if not observed.phase.is_terminal and observed.phase is not Phase.WAITING_FOR_RESOURCES:
            live.reached = observed.phase
        return observed

    async def close(self) -> None:
        """Give up fetching outputs; whoever asks the next replica gets them."""
        await self._endings.close()
        for following in self._followings:
            following.cancel()
        await asyncio.gather(*self._tellings, return_exceptions=True)

    async def _ask(self, live: LiveJob, limit_s: float) -> TaskStatus:
        agent = live.agent
        if isinstance(agent, WatchingAgent):
            return await self._poke(live, limit_s)
        if live.handle.is_intent:
            return await self._follow(live, limit_s)
        if not isinstance(agent, JobAgent):
            raise AgentFault(f"agent {agent.name} answers at once and has no jobs to report on")
        if live.success is not None:
            return await self._retry_outputs(live, limit_s)
        answer = await self._platform_answer(live, agent, limit_s)
        if isinstance(answer, Missing):
            return self._judge_absence(live, agent)
        if answer is None:
            raise Unavailable(f"{agent.platform.name} tells nothing of this job")
        live.missing_since, live.sightings = None, 0
        if live.rest_until < (rested := time.monotonic() + agent.poll_interval.total_seconds()):
            live.rest_until = rested
        try:
            if live.last is not None and live.seen == answer:
                return live.last
        except Exception:  # noqa: BLE001, S110 - an agent's values may not even be comparable
            pass
        live.seen = None
        return await self._derive(live, agent, answer, limit_s)

    async def _follow(self, live: LiveJob, limit_s: float) -> TaskStatus:
        """Return where an intent's job stands, or its submission while there is none."""
        following = live.following
        if following is None:
            following = live.following = asyncio.ensure_future(self._submissions.follow(live))
            self._followings.add(following)
            following.add_done_callback(self._followed)
        await asyncio.wait({following}, timeout=limit_s)
        if not following.done():
            # It goes on: a take-over that a slow store keeps from ending would never happen; the next poll hears of it.
            raise StoreUnavailable(f"the submission record was not read within {limit_s:g} s")
        live.following = None
        found = following.result()
        if isinstance(found, LiveJob):
            self._live_jobs.resolve(live, found)
            return await self.observe(found, limit_s)
        live.rest_until = time.monotonic() + _INTENT_REST_S
        return found

    def _followed(self, following: asyncio.Task[LiveJob | TaskStatus]) -> None:
        self._followings.discard(following)
        if not following.cancelled():
            following.exception()  # nobody may poll again, and asyncio would print it

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
        live.is_cancelling = reading.is_cancelling
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
        live.success = status, derived  # the platform's word stands, however long the outputs take

        async def finish() -> TaskStatus:
            work = self._outputs.complete(live, status, derived, self._ending_limit_s)
            ended = await asyncio.wait_for(work, self._ending_limit_s)
            if live.last is None or not live.last.phase.is_terminal:
                live.last = self._count(live, ended)
            return live.last

        try:
            return await asyncio.wait_for(self._endings.join(live.handle.key.text, b"", finish), limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            return live.fallback

    async def _retry_outputs(self, live: LiveJob, limit_s: float) -> TaskStatus:
        """Ask again for the outputs of a job that succeeded, until the platform has refused them for good."""
        if live.success is None:
            return live.fallback
        status, succeeded = live.success
        try:
            return await self._complete(live, status, succeeded, limit_s)
        except _NO_REFUSALS:
            raise
        except AgentError as error:
            now = time.monotonic()
            live.output_refusals += 1
            if live.outputs_refused_since is None:
                live.outputs_refused_since = now
            if live.output_refusals < _SIGHTINGS or now - live.outputs_refused_since < _OUTPUTS_GONE_AFTER_S:
                raise
            words = f"the job succeeded, and its outputs are refused: {self._words.text(error.message, 500)}"
            failure = Failure(code="OutputsGone", message=words, retry=Retry.YES, cause=Cause.PLATFORM)
            ended = failed_status(self._words.failure(failure), succeeded)
            self._tell_others(live, ended)
            return ended

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
        if live.is_billed:
            return ended
        live.is_billed = True
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
        """Return the status with a phase that is not before one that was reported; waiting is none of these steps."""
        if derived.phase is Phase.WAITING_FOR_RESOURCES:
            return derived
        phase = advance(live.reached, derived.phase)
        return derived if derived.phase is phase else replace(derived, phase=phase)

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
        # Measured from this process's first sighting: the creation time in the handle is another machine's clock.
        now = time.monotonic()
        live.sightings += 1
        if live.missing_since is None:
            live.missing_since = now
            live.log.warning("the platform does not know the job", seconds=round(agent.visibility.total_seconds()))
        fallback = live.fallback
        if fallback.phase is Phase.WAITING_FOR_RESOURCES:  # it answers again, if only that
            words = f"{agent.platform.name} does not know the job; looking again"
            fallback = replace(fallback, phase=live.reached or Phase.RUNNING, message=words)
        gone_after_s = max(_GONE_AFTER_S, agent.visibility.total_seconds())
        if live.sightings < _SIGHTINGS or now - live.missing_since < gone_after_s:
            return fallback
        words = f"record gone: {agent.platform.name} no longer knows job {live.handle.job.get('id')}"
        live.log.warning("the platform no longer knows the job", sightings=live.sightings)
        failure = Failure(code="RecordGone", message=words, retry=Retry.YES, cause=Cause.PLATFORM)
        ended = failed_status(self._words.failure(failure), fallback)
        self._tell_others(live, ended)
        return ended

    def _tell_others(self, live: LiveJob, ended: TaskStatus) -> None:
        """Write down an end that is our verdict: should the job turn up again, no later attempt may adopt it."""

        async def tell() -> None:
            try:
                await self._submissions.end(live, ended)
            except OutboardError as error:
                words = "end not written down"
                live.log.warning(words, error_id=error.error_id, reason=error.message)

        task = asyncio.ensure_future(tell())
        self._tellings.add(task)
        task.add_done_callback(self._tellings.discard)

    def _absorb(self, live: LiveJob, error: OutboardError) -> TaskStatus:
        ABSORBED.labels(live.agent.name, type(error).__name__).inc()
        now = time.monotonic()
        words = self._words.text(error.message)
        if live.silent_since is None:
            live.silent_since = now
            live.log.warning("status not answered", error=type(error).__name__, error_id=error.error_id, reason=words)
        if not isinstance(error, (Unauthorized, Forbidden)):
            live.refused_since = None
        elif live.refused_since is None:
            live.refused_since = now
        pause = _pause(error.retry_after)
        if pause is not None and not live.handle.is_intent:
            live.rest_until = now + pause.total_seconds()
        live.seen = None
        fallback = live.fallback
        if fallback.phase is Phase.WAITING_FOR_RESOURCES or fallback.phase.is_terminal:
            return fallback
        if not self._must_show(live, now):
            return fallback
        if live.reached is None:
            live.reached = fallback.phase
        since = timedelta(seconds=int(now - live.silent_since))
        told = f"{_trouble(live.agent, error)} for {since}: {words[:256]}"
        return replace(fallback, phase=Phase.WAITING_FOR_RESOURCES, message=told)

    def _must_show(self, live: LiveJob, now: float) -> bool:
        """Tell whether the silence is so long that the engine's users must see it."""
        if live.silent_since is not None and now - live.silent_since >= self._unreachable_s:
            return True
        if live.refused_since is not None and now - live.refused_since >= self._unauthorized_s:
            return True
        # The account's other jobs, or another replica's calls, have waited long enough already.
        return self._accounts.is_lost(live.agent.platform.name, live.handle.account)

    @staticmethod
    def _flag(live: LiveJob, state: str) -> None:
        FLAGGED.labels(live.agent.name).inc()
        if state not in live.flags and len(live.flags) < 16:
            live.flags.add(state)
            live.log.warning("unknown platform state", state=state[:100])


def _pause(hint: object) -> timedelta | None:
    """Return a platform's or agent's hint when to ask again, within reason."""
    return min(max(hint, timedelta(0)), _LONGEST_REST) if isinstance(hint, timedelta) else None


def _trouble(agent: Agent, error: OutboardError) -> str:
    if isinstance(error, AgentFault):
        return f"agent {agent.name} cannot tell"
    return "no answer" if isinstance(error, OperatorError) else f"cannot reach {agent.platform.name}"


def _unexpected(error: Exception) -> OutboardError:
    fault = AgentFault(f"{type(error).__name__} while the answer was read; the agent's author must look at it")
    fault.__cause__ = error
    return fault
