"""Tallies: how often something happened, and a way to wait until it did.

A test that must act at a certain point (kill a replica once the platform took a create, say) awaits that point rather
than sleeping. What counts may run in another thread than what waits: a `PlatformServer` in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter


class Tally:
    """Counts by word.

    >>> tally = Tally()
    >>> tally.add("create")
    >>> tally["create"], tally["cancel"]
    (1, 0)
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()

    def add(self, word: str) -> None:
        """Count one more."""
        with self._lock:
            self._counts[word] += 1
            if self._waiting:
                self._wake()

    def __getitem__(self, word: str) -> int:
        return self._counts[word]

    def __repr__(self) -> str:
        return f"Tally({dict(self._counts)})"

    def total(self) -> int:
        """Return the sum over all words."""
        with self._lock:
            return sum(self._counts.values())

    async def reaches(self, word: str, count: int = 1) -> None:
        """Wait until `word` was counted `count` times; at once when it was."""
        reached = asyncio.Event()
        with self._lock:
            self._waiting.append((word, count, asyncio.get_running_loop(), reached))
            self._wake()
        await reached.wait()

    def _wake(self) -> None:
        still = []
        for entry in self._waiting:
            word, count, loop, reached = entry
            if self._counts[word] < count:
                still.append(entry)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(reached.set)
        self._waiting = still
