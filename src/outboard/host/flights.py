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
from functools import partial
from typing import Final, Generic, TypeVar

from outboard.errors import InvalidTask

T = TypeVar("T")
_CLOSING_S: Final = 1.0


@dataclass(slots=True)
class _Flight(Generic[T]):
    fingerprint: bytes
    task: asyncio.Task[T]
    wanted_until: float = float("-inf")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    fingerprint: bytes
    result: T
    until: float
    weight: int


class Flights(Generic[T]):
    """Work in flight, and results kept for repeated requests.

    Args:
        retention_s: How long results are kept.
        limit: How many are kept.
        heaviest: How much all that are kept may weigh together.
        weigh: The weight of a result; one that is too heavy by itself is not kept.
    """

    def __init__(
        self, retention_s: float, limit: int, *, heaviest: int = 0, weigh: Callable[[T], int] = lambda _: 0
    ) -> None:
        self._retention_s = retention_s
        self._limit = limit
        self._heaviest = heaviest
        self._weigh = weigh
        self._weight = 0
        self._running: dict[str, _Flight[T]] = {}
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()

    @property
    def running(self) -> int:
        """How much is in flight."""
        return len(self._running)

    async def join(
        self, key: str, fingerprint: bytes, work: Callable[[], Awaitable[T]], wanted_s: float = float("inf")
    ) -> T:
        """Return the result of the key's work, starting it unless it runs or its result is kept.

        Args:
            key: Of the work.
            fingerprint: Of what is asked.
            work: What to do.
            wanted_s: For how long what the work waits for is worth waiting for, to this caller; see `wanted_s`.

        Raises:
            InvalidTask: Another request was made under the same key.
        """
        flight = self.begin(key, fingerprint, work)
        if (running := self._running.get(key)) is not None:
            running.wanted_until = max(running.wanted_until, time.monotonic() + wanted_s)
        return await asyncio.shield(flight)

    def wanted_s(self, key: str) -> float:
        """Return for how long one of those who joined the key's work would still have it wait; for the work itself."""
        return self._running[key].wanted_until - time.monotonic()

    def begin(self, key: str, fingerprint: bytes, work: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Return the key's work in flight, or its kept result, starting it unless there is either; not to be cancelled.

        Raises:
            InvalidTask: Another request was made under the same key.
        """
        kept = self._find_kept(key)
        if kept is not None:
            _refuse_other(kept.fingerprint, fingerprint)
            landed: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            landed.set_result(kept.result)
            return landed
        found = self._running.get(key)
        if found is not None:
            _refuse_other(found.fingerprint, fingerprint)
            return found.task
        task = asyncio.ensure_future(self._run(key, fingerprint, work))
        self._running[key] = _Flight(fingerprint, task)
        task.add_done_callback(partial(self._landed, key))
        return task

    def is_running(self, key: str) -> bool:
        """Tell whether the key's work is in flight."""
        return key in self._running

    def recall(self, key: str) -> T | None:
        """Return the kept result of a key."""
        kept = self._find_kept(key)
        return kept.result if kept is not None else None

    async def drain(self, patience_s: float | None = None) -> int:
        """Wait until nothing is in flight, at most `patience_s`; return how much still is."""
        give_up = None if patience_s is None else time.monotonic() + patience_s
        while self._running:
            left = None if give_up is None else give_up - time.monotonic()
            if left is not None and left <= 0:
                break
            await asyncio.wait([each.task for each in self._running.values()], timeout=left)
            await asyncio.sleep(0)  # the flights that ended are taken off the list by their callbacks
        return len(self._running)

    async def close(self) -> None:
        """Cancel what is in flight."""
        tasks = [each.task for each in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSING_S)

    def forget(self, key: str) -> None:
        """Drop a kept result."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._weight -= kept.weight

    async def _run(self, key: str, fingerprint: bytes, work: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await work()
            self._keep(key, fingerprint, result)
            return result
        finally:
            self._running.pop(key, None)

    def _landed(self, key: str, task: asyncio.Task[T]) -> None:
        found = self._running.get(key)
        if found is not None and found.task is task:
            del self._running[key]  # it was cancelled before it began
        if not task.cancelled():
            task.exception()  # where every caller is gone, nobody else takes it, and asyncio would print a traceback

    def _keep(self, key: str, fingerprint: bytes, result: T) -> None:
        now = time.monotonic()
        weight = self._weigh(result)
        self._weight += weight
        self._kept[key] = _Kept(fingerprint, result, now + self._retention_s, weight)
        while self._kept:
            oldest = next(iter(self._kept))
            is_over = len(self._kept) > self._limit or self._weight > self._heaviest
            if not is_over and self._kept[oldest].until >= now:
                return
            self.forget(oldest)

    def _find_kept(self, key: str) -> _Kept[T] | None:
        kept = self._kept.get(key)
        if kept is not None and kept.until < time.monotonic():
            self.forget(key)
            return None
        return kept


def _refuse_other(known: bytes, asked: bytes) -> None:
    if known != asked:
        raise InvalidTask(
            "another task was already sent under this execution identity and output prefix; give each task its own",
            field="output_prefix",
        )
