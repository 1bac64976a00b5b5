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
from outboard.errors import ForeignHandle, OutboardError
from outboard.host.calls import Calls
from outboard.host.jobs import LiveJob, LiveJobs
from outboard.host.logs import TaskLog
from outboard.host.metrics import FOREIGN, UNCONFIRMED
from outboard.host.settings import HostSettings
from outboard.host.statuses import Statuses

_FIRST_LOOK_S: Final = 0.02
_FIRST_REPEAT_S: Final = 5.0
_LONGEST_REPEAT_S: Final = 60.0
_CALL_LIMIT_S: Final = 30.0


class Cancellations:
    """Cancels jobs and confirms it."""

    def __init__(self, settings: HostSettings, live_jobs: LiveJobs, statuses: Statuses, calls: Calls) -> None:
        self._live_jobs = live_jobs
        self._statuses = statuses
        self._calls = calls
        self._wait_s = settings.cancel_wait.total_seconds()
        self._watch_s = settings.cancel_watch.total_seconds()
        self._watches: dict[str, asyncio.Task[None]] = {}

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
        if not agent.cancel_finished and (await self._statuses.observe(live, timeout_s)).phase.is_terminal:
            return
        if live.handle.key.text not in self._watches:
            await self._ask(live, timeout_s)
            self._watch(live)
        wait_s = self._wait_s if timeout_s is None else min(self._wait_s, timeout_s / 2)
        await self._await_end(live, wait_s)

    async def close(self) -> None:
        """Stop watching; jobs whose cancel was accepted are left to their platform."""
        for watch in list(self._watches.values()):
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)

    async def _ask(self, live: LiveJob, timeout_s: float | None) -> None:
        limit_s = _CALL_LIMIT_S if timeout_s is None else min(_CALL_LIMIT_S, timeout_s)
        live.log.info("cancel asked")
        await self._calls.about_job(live, "cancel", live.job, timeout_s=limit_s)
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
                await self._ask(live, None)
            except OutboardError as error:
                live.log.warning("cancel not accepted", error=error.code, error_id=error.error_id)
        UNCONFIRMED.labels(live.agent.name).inc()
        live.log.error("cancel unconfirmed", minutes=round(self._watch_s / 60))
