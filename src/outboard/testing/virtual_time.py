"""Virtual time: an event loop on which a day passes in a moment, and always in the same way.

`run_virtually` runs a coroutine on a loop whose clock stands still while anything is ready, and leaps to the next timer
when nothing is. While it runs, `time.monotonic`, `time.time` and their `_ns` twins answer by that clock, everywhere in
the process. `time.monotonic` never goes backwards; `time.time` adds the skew of the running `Process`, so two replicas
may disagree about the date. `time.perf_counter` stays real, to measure what things cost; so does `datetime.now`, which
Python offers no way to patch.

Real work still happens. Calls in executors, in the worker pools of blocking agents, in the engine's journal and in
extensions with threads of their own (obstore) are counted, and time stands still until they end; so it does inside
`real_work()`. What cannot be counted (sockets, other threads) is given a moment of real time, `patience_s`, before each
leap, where there is any. Counted work of which no processor sees anything for `HANGING_S` counts as hanging, and time goes on
without it: deadlines still pass for hung threads.
`time.sleep` is virtual too: in a worker thread it waits for the virtual clock; on the loop's own thread it moves the
clock while nobody else runs, which is what blocking a loop does.

When nothing is ready, no timer is set and no real work is under way, nothing can ever happen again: `Deadlock` says who
waits where, instead of hanging. `OutOfTime` does when timers go on for ever.
"""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from datetime import datetime, timezone
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakSet

from typing_extensions import TypeVarTuple, Unpack

from outboard.engine.group_commit import GroupCommit
from outboard.host.pools import WorkerPool
from outboard.testing.processes import Process, close_quietly, current_process, empty_graves, process_of

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

START: Final = datetime(2030, 1, 1, tzinfo=timezone.utc)
"""The date on which a virtual run begins, unless told."""
HANGING_S: Final = 2.0
"""Real seconds after which counted work that does nothing counts as hanging."""
_LONGEST_WORK_S: Final = 60.0
_BUSY_SHARE: Final = 0.005
"""The part of a processor that a process takes at least while one of its threads works, on a busy machine too."""
_BOOT_S: Final = 100_000.0
_LIMIT_S: Final = 100 * 86_400.0
_LOOK_EVERY: Final = 64
_TOLD_TASKS: Final = 8
_real_sleep: Final = time.sleep


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set and no real work is under way; the message says who waits where."""


class OutOfTime(RuntimeError):
    """Timers went on past the limit of the run."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """The event loop of a virtual run; made by `run_virtually`.

    Args:
        start: The date at which it begins.
        patience_s: Real time given, before each leap, to sockets and threads that cannot be counted.
        limit_s: Virtual time after which the run is given up.
    """

    def __init__(self, *, start: datetime = START, patience_s: float = 0.002, limit_s: float = _LIMIT_S) -> None:
        self.patience_s = patience_s
        self.leaps = 0
        self._now = _BOOT_S
        self._ends_at = _BOOT_S + limit_s
        self._epoch = start.timestamp() - _BOOT_S
        self._working: set[object] = set()
        self._asleep: set[object] = set()
        self._sleepers: set[threading.Event] = set()
        self._bystanders = {
            thread.ident for thread in threading.enumerate()
        }  # some library's, and none of our business
        self._processes: WeakSet[Process] = WeakSet()
        self._thread = threading.get_ident()
        self._sockets = _LeapingSelector(self)
        super().__init__(self._sockets)

    def time(self) -> float:
        """Return the monotonic clock in seconds."""
        return self._now

    def wall_time(self) -> float:
        """Return the wall clock of the running process in seconds since 1970."""
        process = current_process()
        return self._epoch + self._now + (process.wall_skew_s if process is not None else 0.0)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: Unpack[Ts], context: Context | None = None
    ) -> asyncio.Handle:
        """Call soon, unless the process that asks is dead by then."""
        process = current_process() if context is None else process_of(context)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(process.step, callback, args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: Unpack[Ts], context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at a virtual time, unless the process that asks is dead by then."""
        process = current_process() if context is None else process_of(context)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, process.step, callback, args, context=context)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Create a task; it belongs to the running process."""
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        context = options.get("context")
        process = current_process() if context is None else process_of(context)
        if process is not None:
            process.adopt(task)
            if process not in self._processes:
                self._processes.add(process)
                process.on_death(self, functools.partial(self._sockets.sever, process))
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """Create a future; one that an extension asks for stands for real work until it is done."""
        future = super().create_future()
        # Python code that asks for a future names this method; a frame that does not has called into an extension.
        if "create_future" not in sys._getframe(1).f_code.co_names:  # noqa: SLF001 - the one way to see the caller
            self._working.add(future)
            future.add_done_callback(self.end_work, context=Context())
        return future

    def run_in_executor(  # type: ignore[override]  # Python's own is typed by version
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run a function in a thread; time stands still until it ends."""
        work = object()
        self._working.add(work)
        future: asyncio.Future[T] = super().run_in_executor(executor, self.in_worker(work, func), *args)
        future.add_done_callback(lambda _: self.end_work(work), context=Context())
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report what nobody caught, while the run lasts; afterwards only dead processes are left."""
        if not self.is_closed():
            super().call_exception_handler(context)

    def begin_work(self) -> object:
        """Note that real work is under way; time stands still until `end_work` is called with what this returns."""
        work = object()
        self._working.add(work)
        return work

    def end_work(self, work: object) -> None:
        """Note that real work is over."""
        self._working.discard(work)
        self._asleep.discard(work)

    def in_worker(self, work: object, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function as a worker thread runs it: with virtual `time.sleep`, in the caller's context."""
        context = copy_context()

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> T:
            _worker.work = work
            try:
                return context.copy().run(functools.partial(function, *args, **kwargs))
            finally:
                _worker.work = None

        return run

    def sleep(self, seconds: float) -> None:
        """Be `time.sleep` while the run lasts."""
        work = getattr(_worker, "work", None)
        if threading.get_ident() == self._thread:
            if seconds < 0:
                raise ValueError("sleep length must be non-negative")
            self._now += seconds
        elif work is None or self.is_closed():
            _real_sleep(seconds)
        else:
            awake = threading.Event()
            with suppress(RuntimeError):  # the run ended meanwhile: nobody waits for this thread
                self.call_soon_threadsafe(self._fall_asleep, work, seconds, awake)
                awake.wait()

    def _fall_asleep(self, work: object, seconds: float, awake: threading.Event) -> None:
        was_counted = work in self._working
        self._working.discard(work)
        self._asleep.add(work)

        def wake() -> None:
            if was_counted and work in self._asleep:
                self._working.add(work)
            self._asleep.discard(work)
            self._sleepers.discard(awake)
            awake.set()

        self._sleepers.add(awake)
        self.call_later(seconds, wake)

    def close(self) -> None:
        """Close the loop and wake the threads that sleep on it."""
        for awake in self._sleepers:
            awake.set()
        super().close()

    def pass_time(self, seconds: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let time pass until something happens: at most `seconds` of virtual time, None for as long as it takes."""
        while self._working:
            if found := self._await_work():
                return found
            self._working.clear()
        is_peopled = len(self._sockets.get_map()) > 1 or self._has_threads
        if is_peopled and self.patience_s and (found := self._sockets.look(self.patience_s)):
            return found
        if seconds is None:
            if is_peopled and (found := self._sockets.look(HANGING_S)):
                return found
            raise Deadlock(f"nothing can ever happen again; waiting: {_waiting(self)}")
        self._now += seconds
        self.leaps += 1
        if self._now > self._ends_at:
            raise OutOfTime(f"virtual time ran past its limit; waiting: {_waiting(self)}")
        return []

    def _await_work(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait in real time for what counted work brings; nothing where it hangs."""
        give_up = time.perf_counter() + _LONGEST_WORK_S
        while True:
            spent_s = time.process_time()
            found = self._sockets.look(HANGING_S)
            is_busy = time.process_time() - spent_s > _BUSY_SHARE * HANGING_S
            if found or not is_busy or time.perf_counter() > give_up:
                return found

    @property
    def _has_threads(self) -> bool:
        """Whether threads have begun since the run did."""
        return any(thread.ident not in self._bystanders for thread in threading.enumerate())

    def finish(self) -> None:
        """Kill what is left of the processes, cancel the driver's own tasks, and close."""
        for process in list(self._processes):
            process.kill()
        left = [task for task in asyncio.all_tasks(self) if not any(each.owns(task) for each in self._processes)]
        for task in left:
            task.cancel()
        try:
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            if not self._processes:
                self.run_until_complete(self.shutdown_asyncgens())
        except (Deadlock, OutOfTime):
            for task in left:
                close_quietly(task)
        finally:
            self.close()


class _LeapingSelector(selectors.DefaultSelector):
    """Asks the kernel without waiting, and leaves the waiting to the loop's clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; the loop passes 0 when callbacks are, and None when there is no timer either."""
        if timeout is not None and timeout <= 0:
            self._turns += 1
            return [] if self._turns % _LOOK_EVERY else self.look(0)
        return self.look(0) or self._loop.pass_time(timeout)

    def look(self, seconds: float) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for sockets and other threads in real time."""
        return super().select(seconds)

    def sever(self, process: Process) -> None:
        """Shut the sockets of a process that died, as the kernel would, and hear nothing of them any more."""
        for key in list(self.get_map().values()):
            handles = [handle for handle in key.data if handle is not None]
            if not any(process_of(handle._context) is process for handle in handles):  # noqa: SLF001 - public from 3.12
                continue
            process.has_sockets = True
            self.unregister(key.fileobj)
            with suppress(OSError), socket.socket(fileno=os.dup(key.fd)) as shut:
                shut.shutdown(socket.SHUT_RDWR)


_worker: Final = threading.local()


def run_virtually(
    main: Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T],
    *,
    start: datetime = START,
    patience_s: float = 0.002,
    limit_s: float = _LIMIT_S,
) -> T:
    """Run a coroutine, or what an async function returns, in virtual time, and return its result.

    When it ends, replicas that still live are killed and other tasks are cancelled.

    Args:
        main: What to run.
        start: The wall clock at the beginning.
        patience_s: Real time given, before each leap, to sockets and threads that cannot be counted; 0 where a long
            scenario has none. A process that has neither pays nothing.
        limit_s: Virtual time after which the run is given up.

    Raises:
        Deadlock: Nothing can ever happen again.
        OutOfTime: The limit passed.

    >>> async def sleep_a_day() -> float:
    ...     began = time.monotonic()
    ...     await asyncio.sleep(86_400)
    ...     return time.monotonic() - began
    >>> run_virtually(sleep_a_day)
    86400.0
    """
    empty_graves()
    loop = VirtualLoop(start=start, patience_s=patience_s, limit_s=limit_s)
    with _clocks_of(loop), _counting_pools(loop), _counting_commits(loop):
        try:
            return loop.run_until_complete(main() if callable(main) else main)
        finally:
            loop.finish()


def virtually(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Turn an async function, a test say, into a plain one that runs in virtual time.

    >>> @virtually
    ... async def test_a_day_passes() -> None:
    ...     await asyncio.sleep(86_400)
    >>> test_a_day_passes()
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtually(functools.partial(function, *args, **kwargs))

    return run


@contextmanager
def real_work() -> Iterator[None]:
    """Hold virtual time still while the block awaits something real: another process, a socket, an extension's thread.

    Changes nothing on an ordinary loop.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield
        return
    work, process = loop.begin_work(), current_process()
    if process is not None:
        process.on_death(work, functools.partial(loop.end_work, work))
    try:
        yield
    finally:
        loop.end_work(work)
        if process is not None:
            process.on_death(work, None)


@contextmanager
def _clocks_of(loop: VirtualLoop) -> Iterator[None]:
    clocks: dict[str, Callable[..., Any]] = {
        "monotonic": loop.time,
        "monotonic_ns": lambda: round(loop.time() * 1e9),
        "time": loop.wall_time,
        "time_ns": lambda: round(loop.wall_time() * 1e9),
        "sleep": loop.sleep,
    }
    before = {name: getattr(time, name) for name in clocks}
    for name, clock in clocks.items():
        setattr(time, name, clock)
    try:
        yield
    finally:
        for name, clock in before.items():
            setattr(time, name, clock)


@contextmanager
def _counting_pools(loop: VirtualLoop) -> Iterator[None]:
    """Count the calls of blocking agents as real work, while the run lasts."""
    run = WorkerPool.run

    async def counted(pool: WorkerPool, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        work, process = loop.begin_work(), current_process()
        if process is not None:
            process.on_death(work, functools.partial(loop.end_work, work))
        try:
            return await run(pool, loop.in_worker(work, function), *args, **kwargs)
        finally:
            loop.end_work(work)
            if process is not None:
                process.on_death(work, None)

    WorkerPool.run = counted  # type: ignore[method-assign, assignment]  # undone below
    try:
        yield
    finally:
        WorkerPool.run = run  # type: ignore[method-assign]


@contextmanager
def _counting_commits(loop: VirtualLoop) -> Iterator[None]:
    """Count what the engine's journal writes as real work, while the run lasts: a disk is no part of virtual time."""
    submit = GroupCommit.submit

    def counted(journal: GroupCommit, work: Any) -> Any:
        future = submit(journal, work)
        future.add_done_callback(functools.partial(_end, loop, loop.begin_work()), context=Context())
        return future

    GroupCommit.submit = counted  # type: ignore[method-assign, assignment]  # undone below
    try:
        yield
    finally:
        GroupCommit.submit = submit  # type: ignore[method-assign]


def _end(loop: VirtualLoop, work: object, _: object) -> None:
    loop.end_work(work)


def _waiting(loop: VirtualLoop) -> str:
    waiting = [task for task in asyncio.all_tasks(loop) if not task.done()]
    told = sorted(f"{task.get_name()} in {_place(task)}" for task in waiting)
    more = [f"{len(told) - _TOLD_TASKS} more"] if len(told) > _TOLD_TASKS else []
    return "; ".join((*told[:_TOLD_TASKS], *more)) or "nobody"


def _place(task: asyncio.Task[Any]) -> str:
    """Return where a suspended task stands: the innermost frame of its own."""
    coroutine: Any = task.get_coro()
    while getattr(inner := getattr(coroutine, "cr_await", None), "cr_frame", None) is not None:
        coroutine = inner
    frame = getattr(coroutine, "cr_frame", None)
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    return f"{name}, line {frame.f_lineno}" if frame is not None else name
