"""Worker pools: blocking agents run here, each in a pool of its own.

A pool has a fixed number of daemon threads and a bounded queue, so a hanging SDK call stops neither other agents nor
the exit of the process. Whatever agent code raises, `SystemExit` and `KeyboardInterrupt` included, comes back as an
exception of the call; it never ends a thread or the process.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from outboard.errors import AgentFault, Overloaded

T = TypeVar("T")
_QUEUE_PER_THREAD: Final = 64
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class WorkerPool:
    """Threads for one blocking agent; they start when they are needed.

    Args:
        name: The agent's name, for thread names and messages.
        size: The number of threads.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._waiting = 0
        self._lock = threading.Lock()
        self._closed = False

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function` in the pool and return its result; `Overloaded` when too many calls wait already."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        with self._lock:
            if self._closed:
                raise Overloaded(f"agent {self.name} is being shut down; ask another replica")
            if self._waiting >= self.size * _QUEUE_PER_THREAD:
                raise Overloaded(
                    f"agent {self.name} has {self._waiting} calls waiting; raise its pool_size or add replicas"
                )
            self._waiting += 1
            if self._busy + self._waiting > len(self._threads) and len(self._threads) < self.size:
                self._start_thread()
        self._jobs.put((loop, result, lambda: function(*args, **kwargs)))
        return await result

    def close(self) -> None:
        """Let idle threads end; a busy one ends after its call, and never holds up the exit of the process."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)

    def _start_thread(self) -> None:
        name = f"outboard-{self.name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, result, call = job
            with self._lock:
                self._waiting -= 1
                self._busy += 1
            value: Any = None
            error: Exception | None = None
            try:
                value = None if result.cancelled() else call()
            except Exception as raised:  # noqa: BLE001 - handed to the caller
                error = raised
            except BaseException as raised:  # noqa: BLE001 - sys.exit in an agent must not end the thread
                error = AgentFault(f"agent {self.name} raised {type(raised).__name__}, which would end the process")
            finally:
                with self._lock:
                    self._busy -= 1
            try:
                loop.call_soon_threadsafe(_settle, result, value, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more


def _settle(result: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if result.done():
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(value)
