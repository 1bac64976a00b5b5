"""Cancellations: mark, ask, and see to it that the job really ends.

Each cancelled task has a pursuit, which goes on whatever becomes of the DeleteTask that began it: it writes the cancel
mark (nothing is submitted for this task any more, on any replica), finds the job where the handle is only an intent,
asks for its state (finished work is left alone), asks the platform to stop it, and looks until it is over, asking again
after 5 s, doubling to 60 s, for half an hour; then it raises an alarm. Only where the platform has accepted no cancel
yet it goes on, since no engine will ask again: for a day. One that outlives a few seconds is owed (see `owed_cancels`):
where this process ends before it, another goes on.

DeleteTask answers OK when the job is over, gone, or will never be started, and when the mark is written and the
platform accepted the cancel; then it waits a moment for the end. It answers an error only where no cancel could be
handed over, or its handle not be read, and at most three times per handle, counted over all replicas:
FlytePropeller counts every failed abort against the whole workflow. What is answered with OK before its end is owed then.

Flyte 2 collects garbage: it sends the same for jobs that succeeded an hour ago, and repeats it until it is answered OK, counting
nothing. So it is told the truth each time, and what is finished stays, even what `cancel_finished` would tear down.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from typing import Final

from outboard.agent.agents import JobAgent
from outboard.domain.handles import HANDLE_LIMIT_BYTES
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.errors import (
    AgentError,
    AgentFault,
    Forbidden,
    ForeignHandle,
    OutboardError,
    StoreUnavailable,
    Throttled,
    Unauthorized,
    Unavailable,
    UnreadableHandle,
)
from outboard.host.calls import Calls
from outboard.host.cancellations.owed_cancels import OwedCancels
from outboard.host.cancellations.pursuits import Pursuit
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.logs import TaskLog
from outboard.host.metrics import FOREIGN, UNCONFIRMED
from outboard.host.settings import HostSettings
from outboard.host.statuses.statuses import Statuses
from outboard.host.submissions.starts import OUTCOME_UNKNOWN
from outboard.host.submissions.submissions import Submissions

_FIRST_LOOK_S: Final = 0.02
_FIRST_REPEAT_S: Final = 5.0
_LONGEST_REPEAT_S: Final = 60.0
_LATE_REPEAT_S: Final = 300.0
_LONGEST_WATCH_S: Final = 86_400.0
"""For how long a cancel is tried that its platform never accepted: no engine asks for it again."""
_CALL_LIMIT_S: Final = 30.0
_MARK_LIMIT_S: Final = 3.0
_CALLERS_SHARE: Final = 0.9
"""Of a caller's time: an answer that comes at its end comes too late."""
_OWED_AFTER_S: Final = 3.0
"""When a cancel is owed whether or not anybody was answered; most have ended by then."""
_HAND_BACK_LIMIT_S: Final = 3.0
_UNREAD: Final = 10_000
"""How many handles are remembered that could not be read."""
_UNCERTAIN: Final = (Unauthorized, Forbidden, Throttled, Unavailable)


class Cancellations:
    """Cancels jobs and confirms it."""

    def __init__(
        self,
        settings: HostSettings,
        live_jobs: LiveJobs,
        statuses: Statuses,
        calls: Calls,
        submissions: Submissions,
        owed: OwedCancels,
    ) -> None:
        self._live_jobs = live_jobs
        self._statuses = statuses
        self._calls = calls
        self._submissions = submissions
        self._owed = owed
        self._most_refusals = settings.cancel_refusals
        self._wait_s = settings.cancel_wait.total_seconds()
        self._watch_s = settings.cancel_watch.total_seconds()
        self._pursuits: dict[str, Pursuit] = {}
        self._unread: dict[bytes, int] = {}
        submissions.report_withdrawn(self.pursue)
        owed.report_to(self)

    async def cancel(self, encoded: bytes, timeout_s: float | None = None, *, collects_garbage: bool = False) -> None:
        """Cancel a task's job; returns when it is over or gone, or when the platform accepted the cancel.

        Args:
            encoded: The handle.
            timeout_s: The caller's deadline.
            collects_garbage: The engine asks for finished jobs too, and again until it is answered OK.

        Bytes that are not ours cannot be anybody's job here: they are answered with success and an alarm, since an
        engine would otherwise repeat the cancel for ever.

        Raises:
            UnreadableHandle: Another replica must do it.
            OutboardError: The cancel could not be handed over; the engine should ask again. Never more than
                `cancel_refusals` times per handle, unless the engine collects garbage.
        """
        give_up = None if timeout_s is None else time.monotonic() + timeout_s * _CALLERS_SHARE
        try:
            live = self._live_jobs.find(encoded)
        except UnreadableHandle as error:
            if collects_garbage:
                raise
            await self._leave(encoded, error, _left(give_up, _MARK_LIMIT_S))
            return
        except ForeignHandle as error:
            FOREIGN.inc()
            TaskLog().error("cancel of a foreign handle", error_id=error.error_id, bytes=len(encoded))
            return
        agent = live.agent
        if not isinstance(agent, JobAgent):
            # A sensor has no job to stop; whoever asks again is told that it is over.
            live.tell(TaskStatus(phase=Phase.ABORTED, message="cancelled"))
            return
        if live.handle.ending is not None or (_is_over(live) and not agent.cancel_finished):
            return
        pursuit = self._begin(live)
        pursuit.spares_finished = collects_garbage
        if not pursuit.is_accepted:
            await pursuit.hand_over(_left(give_up, _CALL_LIMIT_S))
        if pursuit.is_accepted:
            wait_s = self._wait_s if timeout_s is None else min(self._wait_s, timeout_s / 2)
            await pursuit.end(_left(give_up, wait_s))
        if not (pursuit.is_over or (pursuit.is_accepted and pursuit.is_marked)):
            await self._refuse(pursuit, _left(give_up, _MARK_LIMIT_S))
        if not pursuit.is_over:
            self._owe(pursuit)
            await self._owed.settle(_left(give_up, _MARK_LIMIT_S))  # nobody asks again after this answer

    def can_pursue(self, encoded: bytes) -> bool:
        """Tell whether this process can read a handle."""
        try:
            self._live_jobs.find(encoded)
        except OutboardError:
            return False
        return True

    def pursue(self, encoded: bytes) -> None:
        """See to it that the job of a handle ends, in the background."""
        self.take_over(encoded)

    def take_over(self, encoded: bytes) -> asyncio.Task[None] | None:
        """Do what `pursue` does and return the pursuit; None where there is nothing to pursue."""
        try:
            live = self._live_jobs.find(encoded)
        except OutboardError as error:
            TaskLog().error("job to be cancelled cannot be followed", error_id=error.error_id, reason=error.message)
            return None
        if live.handle.ending is not None or not isinstance(live.agent, JobAgent):
            return None
        pursuit = self._begin(live)
        pursuit.nudge()
        return pursuit.task

    def give_up(self, encoded: bytes, reason: str) -> None:
        """Tell an operator that nobody pursues a cancel any more."""
        try:
            live = self._live_jobs.find(encoded)
        except OutboardError:
            UNCONFIRMED.labels("unknown").inc()
            TaskLog().error("cancel unconfirmed", handle=_digest(encoded).hex(), reason=reason)
        else:
            UNCONFIRMED.labels(live.agent.name).inc()
            live.log.error("cancel unconfirmed", reason=reason)

    async def drain(self, patience_s: float) -> None:
        """Wait until every cancel was tried to be handed over."""
        rounds = [pursuit.hand_over(patience_s) for pursuit in self._pursuits.values() if not pursuit.is_accepted]
        await asyncio.gather(*rounds)

    async def hand_back(self) -> None:
        """Leave what is pursued to the other replicas; it goes on here as well, until the end."""
        for pursuit in self._pursuits.values():
            self._owe(pursuit)
        await self._owed.hand_back(_HAND_BACK_LIMIT_S)

    async def close(self) -> None:
        """Stop watching; what is not confirmed is left to the other replicas."""
        await self.hand_back()
        await self._owed.close()
        tasks = [pursuit.task for pursuit in self._pursuits.values() if pursuit.task is not None]
        for pursuit in self._pursuits.values():
            pursuit.live.log.warning("cancel not confirmed; this process ends", accepted=pursuit.is_accepted)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self, encoded: bytes, error: UnreadableHandle, limit_s: float) -> None:
        """Raise that another replica must do it; not more often than an engine can bear, and then leave it to them."""
        name = _digest(encoded)
        self._unread[name] = count = self._unread.pop(name, 0) + 1
        if len(self._unread) > _UNREAD:
            del self._unread[next(iter(self._unread))]
        # Nobody can count them together, and there may be three replicas.
        if not self._most_refusals or count <= max(1, self._most_refusals // 3):
            raise error
        if len(encoded) <= HANDLE_LIMIT_BYTES:
            self._owed.leave(name.hex(), encoded)
            await self._owed.settle(limit_s)
        self.give_up(encoded, f"it is left to the other replicas: {error.message}")

    async def _refuse(self, pursuit: Pursuit, limit_s: float) -> None:
        """Raise why the cancel was not handed over; not more often than an engine can bear."""
        if pursuit.spares_finished:
            raise _trouble(pursuit)
        live, most = pursuit.live, self._most_refusals
        pursuit.uncounted += 1
        if counted := await self._count(pursuit, limit_s):
            pursuit.uncounted, pursuit.refusals = 0, counted
        # Where they cannot be counted together each replica counts for itself, and there may be three of them.
        count = counted or pursuit.refusals + pursuit.uncounted + max(0, most - max(1, most // 3))
        if most and count > most:
            live.log.error("cancel not handed over; it is still being tried", reason=_reason(pursuit))
            return
        raise _trouble(pursuit)

    async def _count(self, pursuit: Pursuit, limit_s: float) -> int:
        """Count cancels that are answered with an error; 0 where that cannot be done for all replicas together."""
        give_up = time.monotonic() + limit_s
        for pause_s in (0.1, 0.4, 0.0):
            try:
                count = self._submissions.count_refusals(pursuit.live, pursuit.uncounted)
                return await asyncio.wait_for(count, max(0.0, give_up - time.monotonic()))
            except StoreUnavailable:
                await asyncio.sleep(pause_s)
            except (asyncio.TimeoutError, TimeoutError):
                break
        return 0

    def _begin(self, live: LiveJob) -> Pursuit:
        name = live.handle.key.text
        pursuit = self._pursuits.get(name)
        if pursuit is not None and not pursuit.takes(live):
            name = f"{name} {live.handle.job.get('id')}"  # a second job under one key must end as well
            pursuit = self._pursuits.get(name)
        if pursuit is None:
            pursuit = self._pursuits[name] = Pursuit(live)
            pursuit.name = name
            pursuit.task = asyncio.ensure_future(self._pursue(pursuit))
            owing = asyncio.get_running_loop().call_later(_OWED_AFTER_S, self._owe_late, pursuit)

            def forget(_: object) -> None:
                owing.cancel()
                self._pursuits.pop(name, None)

            pursuit.task.add_done_callback(forget)
        elif pursuit.job is None and not live.handle.is_intent:
            pursuit.job = live
            self._live_jobs.lend(pursuit.live, live)
        elif pursuit.job is not None:
            self._live_jobs.lend(live, pursuit.job, is_newer=True)
        return pursuit

    def _owe(self, pursuit: Pursuit) -> None:
        """Let other processes go on with a pursuit when this one ends."""
        live = pursuit.job or pursuit.live
        if pursuit.spares_finished and not pursuit.is_accepted:
            return  # its engine asks again, and another process does not know that it spares what is finished
        if pursuit.task is not None and not pursuit.task.done():
            self._owed.add(pursuit.name, live.encoded, pursuit.live.handle.output_prefix, pursuit.task)

    def _owe_late(self, pursuit: Pursuit) -> None:
        self._owe(pursuit)
        pursuit.settling = asyncio.ensure_future(self._owed.settle(_LONGEST_REPEAT_S))

    async def _pursue(self, pursuit: Pursuit) -> None:
        began, pause_s, is_told = time.monotonic(), _FIRST_REPEAT_S, False
        try:
            while True:
                await self._try(pursuit)
                if pursuit.is_accepted and not pursuit.is_over:
                    await self._ends_soon(pursuit)
                if pursuit.is_done:
                    return
                age_s = time.monotonic() - began
                if age_s >= self._watch_s and not is_told:
                    self._raise_alarm(pursuit)
                    is_told, pause_s = True, _LATE_REPEAT_S
                if is_told and (pursuit.is_accepted or age_s >= _LONGEST_WATCH_S):
                    return
                await pursuit.rest(pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - a thousand cancels do not repeat in step
                pause_s = pause_s if is_told else min(pause_s * 2, _LONGEST_REPEAT_S)
        finally:
            pursuit.end_round()

    def _raise_alarm(self, pursuit: Pursuit) -> None:
        UNCONFIRMED.labels(pursuit.live.agent.name).inc()
        minutes = round(self._watch_s / 60)
        pursuit.live.log.error("cancel unconfirmed", minutes=minutes, reason=_reason(pursuit))

    async def _try(self, pursuit: Pursuit) -> None:
        """Make one round: mark, find, look, ask."""
        pursuit.begin_round()
        pursuit.trouble = None
        try:
            await self._mark(pursuit)
            if pursuit.job is None and not pursuit.is_over:
                pursuit.job = await self._job_of(pursuit)
            if pursuit.job is not None and not pursuit.is_over:
                await self._stop(pursuit, pursuit.job)
        except OutboardError as error:
            pursuit.trouble = error
            words = "cancel not accepted"
            pursuit.live.log.warning(words, error=error.code, error_id=error.error_id, reason=error.message)
        except Exception as error:  # noqa: BLE001 - a pursuit ends with its job and with nothing else
            pursuit.trouble = AgentFault(f"{type(error).__name__} while a cancel was handed over")
            pursuit.live.log.error("cancel not handed over", error=type(error).__name__)  # noqa: TRY400 - no tracebacks
        finally:
            pursuit.end_round()

    async def _mark(self, pursuit: Pursuit) -> None:
        if pursuit.is_marked:
            return
        marking = pursuit.marking
        if marking is None or marking.done():
            pursuit.marking = marking = asyncio.ensure_future(self._submissions.withdraw(pursuit.live))
        await asyncio.wait({marking}, timeout=_MARK_LIMIT_S)
        if not marking.done():
            pursuit.trouble = StoreUnavailable(
                f"the cancel mark could not be written within {_MARK_LIMIT_S:g} s; it is still being tried"
            )
            return
        try:
            marking.result()
        except StoreUnavailable as error:
            pursuit.trouble = error
        else:
            pursuit.is_marked = True

    async def _job_of(self, pursuit: Pursuit) -> LiveJob | None:
        """Return the job to stop; None when there is none and never will be."""
        live = pursuit.live.resolved or pursuit.live
        if not live.handle.is_intent:
            return live
        found = await self._submissions.follow(live)
        if isinstance(found, LiveJob):
            return found
        if found.phase.is_terminal:
            self._finish(pursuit, found)
            return None
        raise Unavailable("the job of this task is still being submitted; it will be stopped as soon as it is known")

    async def _stop(self, pursuit: Pursuit, job: LiveJob) -> None:
        is_product = isinstance(job.agent, JobAgent) and job.agent.cancel_finished
        if not is_product or pursuit.spares_finished or pursuit.is_accepted:
            # Finished work is left alone, and one unlucky question is no reason to cancel it.
            is_known = await self._statuses.look(job) or (not pursuit.is_accepted and await self._statuses.look(job))
            if _is_over(job):
                self._finish(pursuit, job.fallback)
                return
            if is_product and pursuit.spares_finished and not is_known:
                raise Unavailable("the job's state is not known, and a finished one must not be torn down; ask again")
        await self._ask(job)
        pursuit.is_accepted = True

    async def _ask(self, live: LiveJob) -> None:
        live.log.info("cancel asked")
        try:
            await self._calls.about_job(live, "cancel", live.job, timeout_s=_CALL_LIMIT_S)
        except _UNCERTAIN:
            raise
        except AgentError as error:
            if live.missing_since is None:
                raise
            # The platform knew no such job a moment ago, and now refuses to stop it: it is gone.
            live.log.info("cancel of a missing job refused", error_id=error.error_id, reason=error.message)
        live.rest_until = live.fresh_until = 0.0

    async def _ends_soon(self, pursuit: Pursuit) -> None:
        """Look often for a moment: most platforms stop a job at once."""
        job = pursuit.job
        give_up, pause_s = time.monotonic() + self._wait_s, _FIRST_LOOK_S
        while job is not None and time.monotonic() + pause_s < give_up:
            await asyncio.sleep(pause_s)
            await self._statuses.look(job)
            if job.has_ended or _is_over(job):
                self._finish(pursuit, job.fallback)
                return
            pause_s *= 2

    @staticmethod
    def _finish(pursuit: Pursuit, status: TaskStatus) -> None:
        pursuit.is_over = True
        if not status.phase.is_terminal:
            return  # it succeeded, and whoever asks for its outputs gets them
        if pursuit.live.last is None or not pursuit.live.last.phase.is_terminal:
            pursuit.live.last = status
        log = pursuit.live.log
        if status.error is not None and status.error.code == OUTCOME_UNKNOWN:
            # There may be a job, and nobody can find it: only people can stop it.
            UNCONFIRMED.labels(pursuit.live.agent.name).inc()
            log.error("cancel unconfirmed", reason=status.message)
            return
        log.info("cancel confirmed", phase=status.phase.value, state=status.state)


def _is_over(live: LiveJob) -> bool:
    """Tell whether the platform said that a job is over, whatever became of its outputs; "record gone" says nothing."""
    has_ended = live.last is not None and live.last.phase.is_terminal and live.missing_since is None
    return has_ended or live.success is not None


def _trouble(pursuit: Pursuit) -> OutboardError:
    name = pursuit.live.agent.platform.name
    return pursuit.trouble or Unavailable(f"{name} has not accepted the cancel yet; it is still being asked")


def _reason(pursuit: Pursuit) -> str:
    return pursuit.trouble.message if pursuit.trouble else "the job has not ended"


def _digest(encoded: bytes) -> bytes:
    return hashlib.sha256(encoded).digest()[:8]


def _left(give_up: float | None, limit_s: float) -> float:
    return limit_s if give_up is None else max(0.0, min(limit_s, give_up - time.monotonic()))
