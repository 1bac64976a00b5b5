"""The watchdog: names the code that blocks the event loop.

One `time.sleep` or blocking SDK call in an `async def` stops every agent and the health check with it, and from outside it only
looks as if the process were dead. The loop beats once a second; a thread looks whether the beats keep coming, and when they do
not, logs where the loop's thread stands. Python's frames can be read from another thread; nothing is interrupted.

Frames alone may end in a library that ten agents share, so the line also names the agent, from the time that `agent_time`
counts: the agent whose steps took at least half of the time since the last beat. If nobody did, the block is the host's own
or a library's, and no agent is blamed.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, Final

from outboard.host import agent_time
from outboard.host.logs import TaskLog
from outboard.service.loop_metrics import LoopLag, end_watch, watch_loop

_FRAMES: Final = 4
_BLAMED_SHARE: Final = 0.5


class Watchdog:
    """Watches the running event loop from a thread.

    Args:
        patience_s: How long the loop may be late.
        beat_s: How often it beats.
    """

    def __init__(self, patience_s: float = 5.0, beat_s: float = 1.0) -> None:
        self._patience_s = patience_s
        self._beat_s = beat_s
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._beat_at = time.monotonic()
        self._spent_before = agent_time.spent()
        self._handle: asyncio.TimerHandle | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="outboard-watchdog", daemon=True)
        self._log = TaskLog()
        self._lag = LoopLag(beat_s)

    def start(self) -> None:
        """Begin to watch."""
        watch_loop(self._lag)
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        end_watch(self._lag)
        self._ended.set()
        if self._handle is not None:
            self._handle.cancel()
        self._thread.join()

    def _beat(self) -> None:
        self._spent_before = agent_time.spent()
        self._beat_at = time.monotonic()
        self._lag.beat()
        self._handle = self._loop.call_later(self._beat_s, self._beat)

    def _watch(self) -> None:
        reported_at = 0.0
        while not self._ended.wait(self._beat_s):
            beat_at, spent_before = self._beat_at, self._spent_before
            seconds = time.monotonic() - beat_at
            if seconds > self._patience_s + self._beat_s and reported_at != beat_at:
                reported_at = beat_at
                culprit = self._culprit(seconds, spent_before)
                self._log.error("event loop blocked", seconds=round(seconds, 1), **culprit, where=self._where())

    def _culprit(self, seconds: float, spent_before: Mapping[str, float]) -> Mapping[str, Any]:
        """Return agent, method and seconds of who kept the loop; nothing when no agent did."""
        since_beat = {agent: spent - spent_before.get(agent, 0.0) for agent, spent in agent_time.spent().items()}
        step = agent_time.running_in(self._loop_thread)
        if step is not None:
            since_beat[step.agent] = since_beat.get(step.agent, 0.0) + time.perf_counter() - step.since
        agent = max(since_beat, key=lambda name: since_beat[name], default=None)
        if agent is None or since_beat[agent] < seconds * _BLAMED_SHARE:
            return {}
        culprit: dict[str, Any] = {"agent": agent, "agent_seconds": round(since_beat[agent], 1)}
        if step is not None and step.agent == agent:
            culprit["method"] = step.method
        return culprit

    def _where(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the documented way to another thread's frames
        if frame is None:
            return "unknown"
        innermost = traceback.extract_stack(frame)[-_FRAMES:]
        return " > ".join(f"{each.filename}:{each.lineno} {each.name}" for each in innermost)
