"""Errands: what a thread of the user's asks of the engine's thread, and the queue by which it hears of it.

Everything that the asking thread gets to know comes through one queue: events, sentences, the result. So it shows them itself,
in its own context (a notebook files what is written under the cell whose thread writes), and Ctrl-C, which Python delivers
between two steps of the main thread, finds it in a wait that may be interrupted.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from outboard.engine.outcomes import TaskEvent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence that is not about one task."""

    words: str


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """The end of an errand: its result, or its error."""

    result: T | None = None
    error: BaseException | None = None


News = TaskEvent | Told


class Errand(Generic[T]):
    """One thing to do in the engine's thread.

    Args:
        work: Makes the coroutine; it is given the errand, to tell news by.

    Attributes:
        news: What the asking thread reads.
        is_sent: A job may exist, so cancelling is the run's business; before that the coroutine is simply stopped.
        task: The coroutine under way.
        is_awaited: Python waits for the asking thread before the process ends, as it does for all but daemons.
    """

    def __init__(self, work: Callable[[Errand[T]], Coroutine[Any, Any, T]]) -> None:
        self.work = work
        self.news: SimpleQueue[News | Ended[T]] = SimpleQueue()
        self.is_sent = False
        self.task: asyncio.Task[None] | None = None
        self.is_awaited = not threading.current_thread().daemon

    async def perform(self) -> None:
        """Do the work, and tell its end whatever happens."""
        try:
            ended = Ended(await self.work(self))
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
            ended = Ended(error=error)
        self.news.put(ended)
