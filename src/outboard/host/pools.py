"""Worker pools: blocking agents run here, each in a pool of its own.

A pool has a fixed number of daemon threads and a bounded queue, so a hanging SDK call stops neither other agents nor
the exit of the process. A thread whose caller gave up is written off: another one takes its seat, up to a bound, so that
an agent whose calls hang now and then does not run out of threads; should it ever come back, it finds a seat or ends.
When that bound is reached and every seat holds a call that was given up, further calls are refused at once: waiting for a
thread that never comes would only hold up whoever asks. The hanging method is named in a log line, at most one per agent
and minute, and each pool's threads and queue are metrics.
Whatever agent code raises, `SystemExit` and `KeyboardInterrupt` included, comes back as an
exception of the call; it never ends a thread or the process.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from typing import Any, Final, TypeVar

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric

from outboard.errors import AgentFault, Overloaded
from outboard.host.logs import TaskLog
from outboard.host.metrics import HANGING

T = TypeVar("T")
_QUEUE_PER_THREAD: Final = 64
_THREADS_PER_SEAT: Final = 4
"""How many threads there may be for each of the pool's size, hanging ones included."""
_TOLD_APART_S: Final = 60.0


class _Stage(Enum):
    """Where a call stands."""

    QUEUED = "no thread has it yet"
    DROPPED = "given up before a thread had it; it never begins"
    RUNNING = "a thread works on it, and somebody waits"
    WRITTEN_OFF = "given up; it runs on, and another thread has its thread's seat"
    STUCK = "given up; it runs on in its seat"
    OVER = "its thread has left it"


class _Call:
    """One call, the loop and the future that wait for it; `since` is when a thread began with it."""

    __slots__ = ("function", "late", "loop", "method", "result", "since", "stage")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        result: asyncio.Future[Any],
        function: Callable[[], Any],
        late: Callable[[Any], None] | None,
    ) -> None:
        self.loop = loop
        self.result = result
        named = function.func if isinstance(function, partial) else function
        self.method = getattr(named, "__name__", type(named).__name__)
        self.function = function
        self.late = late
        self.since = 0.0
        self.stage = _Stage.QUEUED


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
        self._stuck = 0
        self._told_at: float | None = None
        self._lock = threading.Lock()
        self._closed = False
        with _POOLS_LOCK:
            _POOLS.add(self)

    @property
    def busy(self) -> int:
        """How many threads are in calls that somebody waits for."""
        return self._busy - self._stuck

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return self._waiting

    @property
    def hanging(self) -> int:
        """How many threads are in calls that nobody waits for any more."""
        return self._hanging + self._stuck

    async def run(self, function: Callable[[], T], late: Callable[[Any], None] | None = None) -> T:
        """Run `function` in the pool and return its result.

        Args:
            function: What to run.
            late: Gets the result, in the loop, when it comes after the caller has given up.

        Raises:
            Overloaded: Too many calls wait already, or every thread hangs.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        call = _Call(loop, result, function, late)
        with self._lock:
            if self._closed:
                raise Overloaded(f"agent {self.name} is being shut down; ask another replica")
            if self._stuck >= self.size:
                raise Overloaded(
                    f"all {self.hanging} threads of agent {self.name} hang in calls that nobody waits for any more; "
                    "restart this replica, and give the calls of its client time limits"
                )
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
            self._give_up(call)
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

    def _give_up(self, call: _Call) -> None:
        """Drop a call that nobody waits for any more, or give another thread the seat of the one that may hang in it for ever."""
        with self._lock:
            if call.stage is _Stage.QUEUED:
                call.stage = _Stage.DROPPED
                self._waiting -= 1
            if call.stage is not _Stage.RUNNING:
                return
            if self._hanging >= self.size * (_THREADS_PER_SEAT - 1):
                call.stage = _Stage.STUCK
                self._stuck += 1
            else:
                call.stage = _Stage.WRITTEN_OFF
                self._hanging += 1
                self._serving -= 1
                self._busy -= 1
                if not self._closed:
                    self._staff()
        HANGING.labels(self.name).inc()
        self._tell(call.method, time.monotonic() - call.since)

    def _tell(self, method: str, seconds: float) -> None:
        now = time.monotonic()
        if self._told_at is not None and now - self._told_at < _TOLD_APART_S:
            return
        self._told_at = now
        log = TaskLog(agent=self.name)
        record = log.error if self._stuck else log.warning
        record(
            "call of a blocking agent was given up and still runs",
            method=method,
            seconds=round(seconds, 3),
            hanging=self.hanging,
        )

    def _work(self) -> None:
        while (call := self._jobs.get()) is not None:
            if not self._serve(call):
                return
            del call  # an idle thread must not hold on to what the last call held

    def _serve(self, call: _Call) -> bool:
        """Run a call; tell whether this thread goes on."""
        with self._lock:
            if call.stage is _Stage.DROPPED:
                return True
            call.stage, call.since = _Stage.RUNNING, time.monotonic()
            self._waiting -= 1
            self._busy += 1
        value: Any = None
        error: Exception | None = None
        try:
            value = call.function()
        except StopIteration:
            error = RuntimeError(f"agent {self.name} raised StopIteration")  # a future refuses to hold that one
        except Exception as raised:  # noqa: BLE001 - handed to the caller
            error = raised
        except BaseException as raised:  # noqa: BLE001 - sys.exit in an agent must not end the thread
            error = AgentFault(f"agent {self.name} raised {type(raised).__name__}, which would end the process")
        goes_on = self._leave(call)
        try:
            call.loop.call_soon_threadsafe(_settle, call, value, error)
        except RuntimeError:
            return False  # the loop is closed: nobody waits any more
        return goes_on

    def _leave(self, call: _Call) -> bool:
        """Give the seat back; a thread that was written off takes a free one, or ends."""
        with self._lock:
            stage, call.stage = call.stage, _Stage.OVER
            if stage is not _Stage.WRITTEN_OFF:
                self._busy -= 1
                self._stuck -= stage is _Stage.STUCK
                return True
            self._hanging -= 1
            if self._serving >= self.size or self._closed:
                return False
            self._serving += 1
            return True


def _settle(call: _Call, value: Any, error: BaseException | None) -> None:
    result = call.result
    if result.done():
        if call.late is not None and error is None:
            call.late(value)
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(value)


_POOLS: Final[weakref.WeakSet[WorkerPool]] = weakref.WeakSet()
_POOLS_LOCK: Final = threading.Lock()


class _Collector:
    """Makes Prometheus' samples of the pools, in the scraper's thread."""

    def collect(self) -> Iterator[Metric]:
        threads = GaugeMetricFamily(
            "outboard_pool_threads",
            "Threads of blocking agents: busy, or hanging in calls that nobody waits for.",
            labels=["agent", "state"],
        )
        waiting = GaugeMetricFamily(
            "outboard_pool_waiting", "Calls of blocking agents without a thread.", labels=["agent"]
        )
        pools: dict[str, list[WorkerPool]] = defaultdict(list)
        with _POOLS_LOCK:
            for pool in _POOLS:
                pools[pool.name].append(pool)
        for agent, each in pools.items():
            threads.add_metric([agent, "busy"], sum(pool.busy for pool in each))
            threads.add_metric([agent, "hanging"], sum(pool.hanging for pool in each))
            waiting.add_metric([agent], sum(pool.waiting for pool in each))
        yield from (threads, waiting)


REGISTRY.register(_Collector())
