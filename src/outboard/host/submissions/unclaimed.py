"""Unclaimed jobs: started here, and then nobody asked for them.

The answer to the last attempt's CreateTask may be lost, and then no engine knows the job: nobody will adopt it, nobody
will cancel it. It is not ours to stop, since the engine may only be slow; but it must show. A job whose handle was never
brought here within ten minutes is counted and logged with its key, which is its label on the platform. Behind a load
balancer that sends all calls of one engine to one replica, that may be another replica.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from outboard.host.logs import TaskLog
from outboard.host.metrics import CLAIMED, UNCLAIMED

_PATIENCE_S: Final = 600.0
_SWEEP_S: Final = 60.0
_MOST: Final = 20_000


class UnclaimedJobs:
    """Remembers jobs until somebody asks for them."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, tuple[float, str, TaskLog]] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def started(self, encoded: bytes, agent: str, log: TaskLog) -> None:
        """Remember a job that was started."""
        if len(self._waiting) >= _MOST:
            return
        self._waiting[encoded] = (time.monotonic(), agent, log)
        if self._sweeper is None:
            self._sweeper = asyncio.ensure_future(self._sweep())

    def asked(self, encoded: bytes) -> None:
        """Forget a job that somebody asked for, and count how long that took."""
        waiting = self._waiting.pop(encoded, None)
        if waiting is not None:
            started_at, agent, _ = waiting
            CLAIMED.labels(agent).observe(time.monotonic() - started_at)

    async def close(self) -> None:
        """Stop looking."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            while self._waiting:
                encoded, (started_at, agent, log) = next(iter(self._waiting.items()))
                if now - started_at < _PATIENCE_S:
                    break
                del self._waiting[encoded]
                UNCLAIMED.labels(agent).inc()
                log.warning("job that nobody asks for", minutes=round((now - started_at) / 60))
