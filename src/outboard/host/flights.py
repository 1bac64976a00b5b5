"""Single flight: one submission, or one answer of a sync agent, per key.

The work runs in a task of its own, shielded from its callers: a caller whose deadline passes or whose connection
breaks gives up waiting, never the work. Whoever asks again under the same key while it runs joins it; afterwards its
result is kept for a while, so that a request that the engine re-sends (its round was lost) gets the first answer.
Failures are not kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from outboard.errors import InvalidTask

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    fingerprint: bytes
    result: T
    until: float


class Flights(Generic[T]):
    """Work in flight, and results kept for repeated requests.

    Args:
        retention_s: How long results are kept.
        limit: How many are kept.
    """

    def __init__(self, retention_s: float, limit: int) -> None:
        self._retention_s = retention_s
        self._limit = limit
        self._running: dict[str, tuple[bytes, asyncio.Task[T]]] = {}
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()

    @property
    def running(self) -> int:
        """How much is in flight."""
        return len(self._running)

    async def join(self, key: str, fingerprint: bytes, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the key's work, starting it unless it runs or its result is kept.

        Raises:
            InvalidTask: Another request was made under the same key.
        """
        kept = self._find_kept(key)
        if kept is not None:
            _refuse_other(kept.fingerprint, fingerprint)
            return kept.result
        found = self._running.get(key)
        if found is None:
            task = asyncio.ensure_future(self._run(key, fingerprint, work))
            self._running[key] = (fingerprint, task)
        else:
            _refuse_other(found[0], fingerprint)
            task = found[1]
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait until nothing is in flight."""
        while self._running:
            await asyncio.wait([task for _, task in self._running.values()])

    def forget(self, key: str) -> None:
        """Drop a kept result."""
        self._kept.pop(key, None)

    async def _run(self, key: str, fingerprint: bytes, work: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await work()
            self._kept[key] = _Kept(fingerprint, result, time.monotonic() + self._retention_s)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
            return result
        finally:
            del self._running[key]

    def _find_kept(self, key: str) -> _Kept[T] | None:
        kept = self._kept.get(key)
        if kept is not None and kept.until < time.monotonic():
            del self._kept[key]
            return None
        return kept


def _refuse_other(known: bytes, asked: bytes) -> None:
    if known != asked:
        raise InvalidTask(
            "another task was already sent under this execution identity and output prefix; give each task its own",
            field="output_prefix",
        )
