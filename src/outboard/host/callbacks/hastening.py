"""Hastening: a job that its platform called about is asked about at once, and then at most once a second.

Callbacks cost their sender nothing, and each question costs the account some of its quota. So of those about one job that come
within a second of the first, the last is heard when the second is over: none is lost, and however many there are, they are one
question a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

PAUSE_S: Final = 1.0


class Hastening:
    """Paces questions that callbacks lead to.

    Args:
        ask: Asks about jobs of an agent at once, and returns how many of them are alive here.
    """

    def __init__(self, ask: Callable[[str, Sequence[str]], int]) -> None:
        self._ask = ask
        self._pauses: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._again: set[tuple[str, str]] = set()

    def hasten(self, agent: str, job_ids: Sequence[str]) -> int:
        """Ask about jobs at once, or as soon as they may be asked about again; return how many live ones are asked about now."""
        return sum(self._hasten((agent, job_id)) for job_id in job_ids)

    def close(self) -> None:
        """Ask no more."""
        for pause in self._pauses.values():
            pause.cancel()
        self._pauses.clear()
        self._again.clear()

    def _hasten(self, job: tuple[str, str]) -> int:
        if job in self._pauses:
            self._again.add(job)
            return 0
        agent, job_id = job
        live = self._ask(agent, (job_id,))
        if live:  # ids that nobody follows here are nothing to remember
            self._pauses[job] = asyncio.get_running_loop().call_later(PAUSE_S, self._resume, job)
        return live

    def _resume(self, job: tuple[str, str]) -> None:
        del self._pauses[job]
        if job in self._again:
            self._again.discard(job)
            self._hasten(job)
