"""Worker pools: blocking agents run here, each in a pool of its own.

A pool has a fixed number of daemon threads and a bounded queue, so a hanging SDK call stops neither other agents nor
the exit of the process. A thread whose caller gave up is written off: another one takes its seat, up to a bound, so that
an agent whose calls hang now and then does not run out of threads; should it ever come back, it finds a seat or ends.
Whatever agent code raises, `SystemExit` and `KeyboardInterrupt` included, comes back as an
exception of the call; it never ends a thread or the process.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from outboard.errors import AgentFault, Overloaded
from outboard.host.metrics import HANGING

T = TypeVar("T")
_QUEUE_PER_THREAD: Final = 64
_THREADS_PER_SEAT: Final = 4
"""How many threads there may be for each of the pool's size, hanging ones included."""


class _Call:
    """One call: the loop and the future that wait for it, and whether a thread works on it."""

    __slots__ = ("function", "is_written_off", "loop", "result", "thread")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, result: asyncio.Future[Any], function: Callable[[], Any]
    ) -> None:
        self.loop = loop
        self.result = result
        self.function = function
        self.thread: threading.Thread | None = None
        self.is_written_off = False


class WorkerPool:
    """Threads for one blocking agent; they start when they are needed.

    Args:
        name: The agent's name, for thread names and messages.
        size: The number of calls that run at once; threads that hang do not count.
    """

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._jobs: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._started = 0
        self._serving = 0
        self._busy = 0
        self._waiting = 0
        self._hanging = 0
        self._lock = threading.Lock()
        self._closed = False

    @property
    def hanging(self) -> int:
        """How many threads are in calls that nobody waits for any more."""
        return self._hanging

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `function` in the pool and return its result; `Overloaded` when too many calls wait already."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        call = _Call(loop, result, lambda: function(*args, **kwargs))
        with self._lock:
            if self._closed:
                raise Overloaded(f"agent {self.name} is being shut down; ask another replica")
            if self._waiting >= self.size * _QUEUE_PER_THREAD:
                raise Overloaded(
                    f"agent {self.name} has {self._waiting} calls waiting; raise its pool_size or add replicas"
                )
            self._waiting += 1
            self._staff()
        self._jobs.put(call)
        try:
            return await result
        except asyncio.CancelledError:
            self._write_off(call)
            raise

    def close(self) -> None:
        """Let idle threads end; a busy one ends after its call, and never holds up the exit of the process."""
        with self._lock:
            self._closed = True
            for _ in range(self._serving):
                self._jobs.put(None)

    def _staff(self) -> None:
        """Start a thread if a call would wait otherwise; the lock is held."""
        if self._busy + self._waiting > self._serving < self.size:
            name = f"outboard-{self.name}-{self._started}"
            self._started += 1
            self._serving += 1
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _write_off(self, call: _Call) -> None:
        """Let another thread take the seat of one whose call nobody waits for; it may hang for ever."""
        with self._lock:
            is_running = call.thread is not None
            if not is_running or self._hanging >= self.size * (_THREADS_PER_SEAT - 1):
                return
            call.is_written_off = True
            self._hanging += 1
            self._serving -= 1
            self._busy -= 1
            if not self._closed:
                self._staff()
        HANGING.labels(self.name).inc()

    def _work(self) -> None:
        while (call := self._jobs.get()) is not None:
            if not self._serve(call):
                return
            del call  # an idle thread must not hold on to what the last call held

    def _serve(self, call: _Call) -> bool:
        """Run a call; tell whether this thread goes on."""
        with self._lock:
            self._waiting -= 1
            self._busy += 1
            call.thread = threading.current_thread()
        value: Any = None
        error: Exception | None = None
        try:
            value = None if call.result.cancelled() else call.function()
        except StopIteration:
            error = RuntimeError(f"agent {self.name} raised StopIteration")  # a future refuses to hold that one
        except Exception as raised:  # noqa: BLE001 - handed to the caller
            error = raised
        except BaseException as raised:  # noqa: BLE001 - sys.exit in an agent must not end the thread
            error = AgentFault(f"agent {self.name} raised {type(raised).__name__}, which would end the process")
        goes_on = self._leave(call)
        try:
            call.loop.call_soon_threadsafe(_settle, call.result, value, error)
        except RuntimeError:
            return False  # the loop is closed: nobody waits any more
        return goes_on

    def _leave(self, call: _Call) -> bool:
        """Give the seat back; a thread that was written off takes a free one, or ends."""
        with self._lock:
            call.thread = None
            if not call.is_written_off:
                self._busy -= 1
                return True
            self._hanging -= 1
            if self._serving >= self.size or self._closed:
                return False
            self._serving += 1
            return True


def _settle(result: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if result.done():
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(value)
