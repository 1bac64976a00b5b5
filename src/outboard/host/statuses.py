"""Statuses: from what a platform says to what an engine gets.

GetTask answers an error only for bytes that are not ours: FlytePropeller counts failed polls over a job's whole life
and stops polling after six, so a platform that is down, slow, throttling or answering nonsense yields the last known
status instead. Only the platform's own word ends a job. The rules:

* unknown state: still running, flagged (see `domain.states`);
* no answer: what was reported last, RUNNING if nothing was; after a while the phase steps to WAITING_FOR_RESOURCES,
  the only thing that Flyte shows, and back once when the platform answers again;
* "no such job": nothing, while the job is younger than its agent's `visibility`; later two sightings a minute apart
  end it as RETRYABLE_FAILED "record gone";
* terminal answers are final;
* a handle that this replica cannot read is parked as RUNNING: another replica will read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from outboard.agent.agents import After, JobAgent, WatchingAgent
from outboard.domain.phases import Phase, advance
from outboard.domain.states import Reading
from outboard.domain.statuses import Failure, Missing, Status, TaskStatus
from outboard.errors import AgentFault, Forbidden, OutboardError, Retry, Unauthorized, UnreadableHandle
from outboard.host.calls import Calls
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.metrics import ABSORBED, FLAGGED
from outboard.host.outputs import Outputs, failed_status
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings

_SIGHTINGS_APART_S: Final = 60.0
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
        redact: Callable[[str], str],
    ) -> None:
        self._live_jobs = live_jobs
        self._calls = calls
        self._outputs = outputs
        self._memos = memos
        self._redact = redact
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

    async def observe(self, live: LiveJob, timeout_s: float | None = None) -> TaskStatus:
        """Ask the platform about a job and return where it stands now."""
        last = live.last
        if last is not None and (last.phase.is_terminal or live.rest_until > time.monotonic()):
            return last
        limit_s = self._limit_s if timeout_s is None else min(self._limit_s, timeout_s * 0.8)
        try:
            observed = await self._ask(live, limit_s)
        except OutboardError as error:
            observed = self._absorb(live, error)
        else:
            live.silent_since = None
        last = live.last  # another poll of the same job may have ended meanwhile, and terminal answers are final
        if last is not None and (last.phase.is_terminal or observed is last or observed == last):
            return last
        live.last = observed
        return observed

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
        if live.last is not None and live.seen == answer:
            return live.last
        derived = await self._derive(live, agent, answer, limit_s)
        # Only a plain answer may stand for itself next time: flags are counted, hints and endings have effects.
        is_plain = not (derived.is_flagged or derived.phase.is_terminal or answer.poll_after)
        live.seen = answer if is_plain else None
        return derived

    async def _platform_answer(
        self, live: LiveJob, agent: JobAgent[Any, Any, Any], limit_s: float
    ) -> Status | Missing | None:
        if not agent.is_batching:
            answer = await self._calls.about_job(live, "get", live.job, timeout_s=limit_s)
        else:
            answers = await self._calls.about_account(live, "get_many", [live.job], timeout_s=limit_s)
            answer = answers.get(live.handle.job.get("id"))
            if isinstance(answer, OutboardError):
                raise answer
        if answer is not None and not isinstance(answer, (Status, Missing)):
            raise AgentFault(f"agent {agent.name} answered {type(answer).__name__} instead of a Status")
        return answer

    async def _derive(
        self, live: LiveJob, agent: JobAgent[Any, Any, Any], status: Status, limit_s: float
    ) -> TaskStatus:
        reading = agent.states.read(status.state)
        if reading.is_flagged:
            self._flag(live, status)
        if status.poll_after is not None:
            live.rest_until = max(live.rest_until, time.monotonic() + status.poll_after.total_seconds())
        derived = TaskStatus(
            phase=reading.phase,
            message=self._redact(status.message) if status.message else "",
            links=(*live.links, *status.links) if status.links else live.links,
            custom_info=_custom_info(status),
            state=status.state if isinstance(status.state, str) else "/".join(status.state),
            is_flagged=reading.is_flagged,
            poll_after=status.poll_after,
        )
        if reading.phase is Phase.SUCCEEDED:
            return await self._outputs.complete(live, status, derived, limit_s)
        if reading.phase.is_terminal:
            return self._failed(agent, status, reading, derived)
        return self._forward(live, derived)

    def _failed(
        self, agent: JobAgent[Any, Any, Any], status: Status, reading: Reading, derived: TaskStatus
    ) -> TaskStatus:
        failure = agent.judge(status) or reading.failure or Failure(code=derived.state)
        words = failure.message or status.message or f"the platform says {derived.state}"
        return failed_status(replace(failure, message=self._redact(words)), derived)

    @staticmethod
    def _forward(live: LiveJob, derived: TaskStatus) -> TaskStatus:
        last = live.last
        if last is None or last.phase is derived.phase:
            return derived
        return replace(derived, phase=advance(last.phase, derived.phase))

    async def _poke(self, live: LiveJob, limit_s: float) -> TaskStatus:
        task = await self._memos.recall(live)
        answer = await self._calls.about_job(live, "poke", task, timeout_s=limit_s)
        if answer is True:
            return await self._outputs.settle({}, None, "", TaskStatus(phase=Phase.SUCCEEDED))
        if isinstance(answer, After):
            live.rest_until = time.monotonic() + answer.delay.total_seconds()
            return TaskStatus(phase=Phase.RUNNING, message="not there yet", poll_after=answer.delay)
        if answer is not False:
            raise AgentFault(f"sensor {live.agent.name} answered {answer!r}; answer True, False or After(delay)")
        return TaskStatus(phase=Phase.RUNNING, message="not there yet")

    def _judge_absence(self, live: LiveJob, agent: JobAgent[Any, Any, Any]) -> TaskStatus:
        fallback = live.last or TaskStatus(phase=Phase.RUNNING, links=live.links)
        if time.time() - live.handle.created_at < agent.visibility.total_seconds():
            return fallback
        now = time.monotonic()
        if live.missing_since is None:
            live.missing_since = now
        if now - live.missing_since < _SIGHTINGS_APART_S:
            return fallback
        live.log.warning("the platform no longer knows the job")
        words = f"record gone: {agent.platform.name} no longer knows job {live.handle.job.get('id')}"
        return failed_status(Failure(code="RecordGone", message=words, retry=Retry.YES), fallback)

    def _absorb(self, live: LiveJob, error: OutboardError) -> TaskStatus:
        ABSORBED.labels(live.agent.name, type(error).__name__).inc()
        now = time.monotonic()
        if live.silent_since is None:
            live.silent_since = now
            live.log.warning("status not answered", error=error.code, error_id=error.error_id, reason=error.message)
        if error.retry_after is not None:
            live.rest_until = now + error.retry_after.total_seconds()
        fallback = live.last or TaskStatus(phase=Phase.RUNNING, links=live.links)
        patience_s = self._unauthorized_s if isinstance(error, (Unauthorized, Forbidden)) else self._unreachable_s
        silence = now - live.silent_since
        live.seen = None
        if silence < patience_s or fallback.phase is Phase.WAITING_FOR_RESOURCES:
            return fallback
        since = timedelta(seconds=int(silence))
        words = f"cannot reach {live.agent.platform.name} for {since}: {self._redact(error.message)[:256]}"
        return replace(fallback, phase=Phase.WAITING_FOR_RESOURCES, message=words)

    def _flag(self, live: LiveJob, status: Status) -> None:
        FLAGGED.labels(live.agent.name).inc()
        state = str(status.state)
        if state not in live.flags and len(live.flags) < 16:
            live.flags.add(state)
            live.log.warning("unknown platform state", state=state[:100])


def _custom_info(status: Status) -> dict[str, Any] | None:
    if status.usage is None:
        return None if status.custom_info is None else dict(status.custom_info)
    usage = status.usage
    spent: dict[str, Any] = {unit: float(amount) for unit, amount in usage.billed.items()}
    if usage.duration is not None:
        spent["duration_s"] = usage.duration.total_seconds()
    if usage.currency_amount is not None:
        spent["cost"] = float(usage.currency_amount)
    return {**(status.custom_info or {}), "usage": spent}
