"""Cancellations: ask the platform, and see to it that the job really ends.

The state is asked first, so finished work is never touched. Once the platform accepted the cancel, DeleteTask waits a
moment for the end and then answers; the host goes on confirming in the background and asks again (5 s, doubling to 60
s) until the job is over or the watch ends with an alarm.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from outboard.agent.agents import JobAgent
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.errors import (
    AgentError,
    Forbidden,
    ForeignHandle,
    OutboardError,
    Throttled,
    Unauthorized,
    Unavailable,
)
from outboard.host.calls import Calls
from outboard.host.flights import Flights
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.logs import TaskLog
from outboard.host.metrics import FOREIGN, UNCONFIRMED
from outboard.host.settings import HostSettings
from outboard.host.statuses import Statuses

_FIRST_LOOK_S: Final = 0.02
_FIRST_REPEAT_S: Final = 5.0
_LONGEST_REPEAT_S: Final = 60.0
_CALL_LIMIT_S: Final = 30.0
_CALLERS_SHARE: Final = 0.9
"""Of a caller's time: an answer that comes at its end comes too late."""
_UNCERTAIN: Final = (Unauthorized, Forbidden, Throttled, Unavailable)


class Cancellations:
    """Cancels jobs and confirms it."""

    def __init__(self, settings: HostSettings, live_jobs: LiveJobs, statuses: Statuses, calls: Calls) -> None:
        self._live_jobs = live_jobs
        self._statuses = statuses
        self._calls = calls
        self._wait_s = settings.cancel_wait.total_seconds()
        self._watch_s = settings.cancel_watch.total_seconds()
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._asks: Flights[None] = Flights(0.0, 0)

    async def cancel(self, encoded: bytes, timeout_s: float | None = None) -> None:
        """Cancel a task's job; returns when it is over or gone, or when the platform accepted the cancel.

        Bytes that are not ours cannot be anybody's job here: they are answered with success and an alarm, since an
        engine would otherwise repeat the cancel for ever.

        Raises:
            UnreadableHandle: Another replica must do it.
            OutboardError: The platform could not be asked; the engine should ask again.
        """
        try:
            live = self._live_jobs.find(encoded)
        except ForeignHandle as error:
            FOREIGN.inc()
            TaskLog().error("cancel of a foreign handle", error_id=error.error_id, bytes=len(encoded))
            return
        agent = live.agent
        if not isinstance(agent, JobAgent):
            # A sensor has no job to stop; whoever asks again is told that it is over.
            live.last = TaskStatus(phase=Phase.ABORTED, message="cancelled")
            return
        give_up = None if timeout_s is None else time.monotonic() + timeout_s * _CALLERS_SHARE
        live.rest_until = 0.0  # finished work is left alone, so what is known must not be old
        if not agent.cancel_finished and (await self._statuses.observe(live, timeout_s)).phase.is_terminal:
            return
        key = live.handle.key.text
        if key not in self._watches:
            await self._hand_over(live, _left(give_up, _CALL_LIMIT_S))
        wait_s = self._wait_s if timeout_s is None else min(self._wait_s, timeout_s / 2)
        await self._await_end(live, _left(give_up, wait_s))

    async def drain(self, patience_s: float) -> None:
        """Wait for cancels that are being handed over."""
        await self._asks.drain(patience_s)

    async def close(self) -> None:
        """Stop watching; jobs whose cancel was accepted are left to their platform."""
        await self._asks.close()
        for watch in list(self._watches.values()):
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)

    async def _hand_over(self, live: LiveJob, patience_s: float) -> None:
        """Ask the platform and begin to watch; once begun, this goes on although the caller gives up."""

        async def ask() -> None:
            await self._ask(live)
            self._watch(live)

        flight = self._asks.join(live.handle.key.text, b"", ask)
        try:
            await asyncio.wait_for(flight, patience_s)
        except (asyncio.TimeoutError, TimeoutError):
            name = live.agent.platform.name
            raise Unavailable(f"{name} has not accepted the cancel yet; it is still being asked") from None

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
        live.rest_until = 0.0

    async def _await_end(self, live: LiveJob, wait_s: float) -> None:
        give_up = time.monotonic() + wait_s
        pause_s = _FIRST_LOOK_S
        while time.monotonic() + pause_s < give_up:
            await asyncio.sleep(pause_s)
            live.rest_until = 0.0
            if (await self._statuses.observe(live)).phase.is_terminal:
                return
            pause_s *= 2

    def _watch(self, live: LiveJob) -> None:
        key = live.handle.key.text
        task = asyncio.ensure_future(self._confirm(live))
        self._watches[key] = task
        task.add_done_callback(lambda _: self._watches.pop(key, None))

    async def _confirm(self, live: LiveJob) -> None:
        give_up = time.monotonic() + self._watch_s
        pause_s = _FIRST_REPEAT_S
        while time.monotonic() < give_up:
            await asyncio.sleep(pause_s)
            live.rest_until = 0.0
            status = await self._statuses.observe(live)
            if status.phase.is_terminal:
                live.log.info("cancel confirmed", phase=status.phase.value, state=status.state)
                return
            pause_s = min(pause_s * 2, _LONGEST_REPEAT_S)
            try:
                await self._ask(live)
            except OutboardError as error:
                live.log.warning("cancel not accepted", error=error.code, error_id=error.error_id)
        UNCONFIRMED.labels(live.agent.name).inc()
        live.log.error("cancel unconfirmed", minutes=round(self._watch_s / 60))


def _left(give_up: float | None, limit_s: float) -> float:
    return limit_s if give_up is None else max(0.0, min(limit_s, give_up - time.monotonic()))
