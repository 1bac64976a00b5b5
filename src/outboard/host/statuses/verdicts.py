"""Verdicts: from what a platform says of a job, or does not say, to what an engine gets.

* unknown state: still running, flagged (see `domain.states`);
* no answer: what was reported last, RUNNING if nothing was; after a while the phase steps to WAITING_FOR_RESOURCES,
  the only thing that Flyte shows, and back once when the platform answers again;
* "no such job": nothing, for ten minutes and its agent's `visibility`, since read replicas lag and platforms fail over;
  then the third sighting with no other answer in between ends it as RETRYABLE_FAILED "record gone";
* success: no verdict yet, see `endings`;
* a phase before one that was reported is never reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from outboard.agent.agents import Agent, JobAgent
from outboard.domain.phases import Phase, advance
from outboard.domain.states import Reading
from outboard.domain.statuses import Cause, Failure, Missing, Status, TaskStatus
from outboard.errors import AgentFault, Forbidden, OperatorError, OutboardError, Retry, Unauthorized
from outboard.host.accounts import Accounts
from outboard.host.invocation import blamed
from outboard.host.jobs import LiveJob, Success
from outboard.host.metrics import ABSORBED, FLAGGED, USAGE
from outboard.host.outputs import failed_status
from outboard.host.settings import HostSettings
from outboard.host.words import Words

_GONE_AFTER_S: Final = 600.0
_SIGHTINGS: Final = 3
_LONGEST_REST: Final = timedelta(minutes=5)
_LATE_LINKS_S: Final = 60.0
_MOST_FLAGS: Final = 16


class Verdicts:
    """Judges answers about jobs, and silence.

    Args:
        tell_others: Writes down an end that is our verdict, not the platform's.
    """

    def __init__(
        self,
        settings: HostSettings,
        accounts: Accounts,
        words: Words,
        tell_others: Callable[[LiveJob, TaskStatus], None],
    ) -> None:
        self._accounts = accounts
        self._words = words
        self._tell_others = tell_others
        self._usual: dict[str, Status] = {}
        self._told_error = ""
        self._unreachable_s = settings.unreachable_after.total_seconds()
        self._unauthorized_s = settings.unauthorized_after.total_seconds()

    def answered(self, live: LiveJob, answer: Status | Missing) -> TaskStatus | None:
        """Return what an answer about a job means; None when it succeeded: success needs proof.

        Raises:
            OutboardError: The answer cannot be read.
        """
        agent = live.agent
        if not isinstance(agent, JobAgent):
            raise AgentFault(f"agent {agent.name} has no jobs to report on")
        if live.success is not None:
            return None  # nothing takes it back, however long the outputs take
        if isinstance(answer, Missing):
            return self._judge_absence(live, agent)
        live.missing_since, live.sightings = None, 0
        if live.last is not None and _is_equal(live.seen, answer):
            return live.last
        live.seen = None
        return self._derive(live, agent, answer)

    def unanswered(self, live: LiveJob, error: OutboardError) -> TaskStatus:
        """Return what to report while a question about a job has no answer."""
        ABSORBED.labels(live.agent.name, type(error).__name__).inc()
        now = time.monotonic()
        words = self._words.text(error.message)
        if live.silent_since is None:
            live.silent_since = now
            if error.error_id != self._told_error:  # a page of a hundred jobs that fails is one line, not a hundred
                self._told_error = error.error_id
                live.log.warning(
                    "status not answered", error=type(error).__name__, error_id=error.error_id, reason=words
                )
        if not isinstance(error, (Unauthorized, Forbidden)):
            live.refused_since = None
        elif live.refused_since is None:
            live.refused_since = now
        pause = pause_of(error.retry_after)
        if pause is not None and not live.is_intent:
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

    def count(self, live: LiveJob, ended: TaskStatus) -> TaskStatus:
        """Return an end, which is told and whose consumption is counted once."""
        if live.is_billed:
            return ended
        live.is_billed = True
        live.log.info("job ended", phase=ended.phase.value, state=ended.state)
        for unit, amount in ((ended.custom_info or {}).get("usage") or {}).items():
            if amount > 0:
                USAGE.labels(live.agent.name, live.site.account, unit).inc(amount)
        return ended

    def _derive(self, live: LiveJob, agent: JobAgent[Any, Any, Any], status: Status) -> TaskStatus | None:
        reading = agent.states.read(status.state)
        live.is_cancelling = reading.is_cancelling
        state = self._words.state(status.state)
        if reading.is_flagged:
            self._flag(live, state)
        pause = pause_of(status.poll_after)
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
            live.success = Success(status, derived)
            return None
        if reading.phase.is_terminal:
            return self.count(live, self._failed(live, agent, status, reading, derived))
        held = _held(live, agent, derived)
        # Only a plain answer may stand for itself next time: flags are counted, hints have effects, links are awaited.
        live.seen = None if reading.is_flagged or pause or held is not derived else self._shared(agent, status)
        return _forward(live, held)

    def _shared(self, agent: JobAgent[Any, Any, Any], status: Status) -> Status:
        """Return an equal status that other jobs hold already: most say no more than RUNNING."""
        usual = self._usual.get(agent.name)
        if usual is None or not _is_equal(usual, status):
            usual = self._usual[agent.name] = status
        return usual

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
        judged = verdict if isinstance(verdict, Failure) else None
        failure = judged or reading.failure or Failure(code=derived.state)
        # What a state means in general yields to what the platform says of this job.
        own = judged.message if judged is not None else ""
        words = own or status.message or failure.message or f"the platform says {derived.state}"
        return failed_status(self._words.failure(replace(failure, message=words)), derived)

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
        words = f"record gone: {agent.platform.name} no longer knows job {live.job.id if live.job else ''}"
        live.log.warning("the platform no longer knows the job", sightings=live.sightings)
        failure = Failure(code="RecordGone", message=words, retry=Retry.YES, cause=Cause.PLATFORM)
        ended = failed_status(self._words.failure(failure), fallback)
        self._tell_others(live, ended)
        return ended

    def _must_show(self, live: LiveJob, now: float) -> bool:
        """Tell whether the silence is so long that the engine's users must see it."""
        if live.silent_since is not None and now - live.silent_since >= self._unreachable_s:
            return True
        if live.refused_since is not None and now - live.refused_since >= self._unauthorized_s:
            return True
        # The account's other jobs, or another replica's calls, have waited long enough already.
        return self._accounts.is_lost(live.agent.platform.name, live.site.account)

    @staticmethod
    def _flag(live: LiveJob, state: str) -> None:
        FLAGGED.labels(live.agent.name).inc()
        live.flags = live.flags or set()
        if state not in live.flags and len(live.flags) < _MOST_FLAGS:
            live.flags.add(state)
            live.log.warning("unknown platform state", state=state[:100])


def pause_of(hint: object) -> timedelta | None:
    """Return a platform's or agent's hint when to ask again, within reason."""
    return min(max(hint, timedelta(0)), _LONGEST_REST) if isinstance(hint, timedelta) else None


def _is_equal(one: Status | None, other: Status) -> bool:
    """Tell whether two answers are equal; where an agent's values cannot be compared, they are not."""
    try:
        return one is other or one == other
    except Exception:  # noqa: BLE001 - arrays, say
        return False


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


def _forward(live: LiveJob, derived: TaskStatus) -> TaskStatus:
    """Return the status with a phase that is not before one that was reported; waiting is none of these steps."""
    if derived.phase is Phase.WAITING_FOR_RESOURCES:
        return derived
    phase = advance(live.reached, derived.phase)
    return derived if derived.phase is phase else replace(derived, phase=phase)


def _trouble(agent: Agent, error: OutboardError) -> str:
    if isinstance(error, AgentFault):
        return f"agent {agent.name} cannot tell"
    return "no answer" if isinstance(error, OperatorError) else f"cannot reach {agent.platform.name}"


def unexpected(error: Exception) -> OutboardError:
    """Return what an error stands for that nobody expected."""
    fault = AgentFault(f"{type(error).__name__} while the answer was read; the agent's author must look at it")
    fault.__cause__ = error
    return fault
