"""Operating-system processes, played inside one event loop, so that they can be killed at any await.

A `Process` is a context (`contextvars`) that marks everything begun inside it: tasks, callbacks, timers, sockets. The
virtual loop asks that mark before it runs a callback. When a process is dead its callbacks are dropped, so not one line
of its code runs any more: no `finally`, no `except`, no timer. That is SIGKILL, and it is cheaper and more exact than
a real one: it can strike before any single step.

What must not happen afterwards either is that Python tidies up: collecting a suspended coroutine runs its `finally`
blocks. Dead processes are therefore kept whole, and given up when the next virtual run begins, when nobody looks at the
world of the last one any more.

The world outside (platforms, object stores, the network) belongs to no process: what a process has sent takes its
course although the sender dies. Doubles of it run that part under `outside`, and ask `outside_time` for the date.

A thread cannot be killed: a blocking agent's call goes on to its end, as a request that was already sent would, and
its result finds nobody.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import time
import warnings
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, NoReturn, TypeVar
from weakref import WeakSet

T = TypeVar("T")

_current: Final[ContextVar[Process | None]] = ContextVar("outboard_testing_process", default=None)
_graves: Final[list[Process]] = []
_CLOSINGS: Final = 50
"""How often a coroutine that awaits in its `finally` blocks is closed before it is left alone."""


class Process:
    """Something that can be killed, with a wall clock of its own.

    Args:
        name: For people.
        wall_skew_s: How far its `time.time()` is off; may be changed at any moment. Its monotonic clock is never off.
        on_step: Called before each step with this process; may kill it, and then the step does not happen.

    Attributes:
        steps: How many steps (from one await to the next) it has run.
        is_dead: Whether it was killed.
    """

    def __init__(
        self, name: str = "process", *, wall_skew_s: float = 0.0, on_step: Callable[[Process], None] | None = None
    ) -> None:
        self.name = name
        self.wall_skew_s = wall_skew_s
        self.on_step = on_step
        self.steps = 0
        self.is_dead = False
        self.has_sockets = False
        self._context = copy_context()
        self._context.run(_current.set, self)
        self._tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        self._kept: list[object] = []
        self._mourners: dict[object, Callable[[], None]] = {}

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a plain function as this process's own code, at once."""
        return self._context.copy().run(function, *args)

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as this process's own code.

        Raises:
            RuntimeError: The running loop is not virtual: it would go on running what is dead.
        """
        loop = asyncio.get_running_loop()
        if not hasattr(loop, "pass_time"):
            coroutine.close()
            raise RuntimeError("a Process needs a virtual loop; run this through `run_virtually`")
        return self.run(loop.create_task, coroutine)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Note a task that was begun in this process; the virtual loop calls this."""
        self._tasks.add(task)

    def keep(self, thing: object) -> None:
        """Keep something of this process from being collected, and thereby tidied up, after its death."""
        self._kept.append(thing)

    def on_death(self, key: object, call: Callable[[], None] | None) -> None:
        """Have `call` called once, outside the process, when it is killed; None takes that back."""
        if call is None:
            self._mourners.pop(key, None)
        else:
            self._mourners[key] = call

    def step(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Run one callback, unless the process is dead or dies of it; the virtual loop calls this."""
        if self.is_dead:
            return
        self.steps += 1
        if self.on_step is None or self._survives(self.on_step):
            callback(*args)

    def _survives(self, on_step: Callable[[Process], None]) -> bool:
        on_step(self)
        return not self.is_dead

    def kill(self) -> None:
        """Kill it as SIGKILL does: none of its code runs any more.

        Called by its own code, the step that is running goes on to its next await; `die` does not even do that.
        """
        if self.is_dead:
            return
        self.is_dead = True
        for task in self._tasks:
            if not task.done():
                self._kept.append(task)
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as asyncio's own gather
        _graves.append(self)
        mourners = list(self._mourners.values())
        self._mourners.clear()
        for call in mourners:
            Context().run(call)

    def owns(self, task: asyncio.Task[Any]) -> bool:
        """Tell whether a task was begun in this process."""
        return task in self._tasks

    def give_up(self) -> None:
        """Close what is left of it, quietly."""
        kept, self._kept = self._kept, []
        for thing in kept:
            if isinstance(thing, asyncio.Task):
                close_quietly(thing)


def current_process() -> Process | None:
    """Return the process whose code is running; None for the driver and the world outside."""
    return _current.get()


def process_of(context: Context) -> Process | None:
    """Return the process that a context belongs to."""
    return context.get(_current)


async def die() -> NoReturn:
    """Kill the process whose code awaits this; nothing after it happens. For faults planted in agents and doubles.

    Raises:
        RuntimeError: Awaited by code that belongs to no process.
    """
    process = _current.get()
    if process is None:
        raise RuntimeError("only the code of a Process can die; run it through Process.start or a Replica")
    process.kill()
    await asyncio.get_running_loop().create_future()
    raise AssertionError  # a dead process is never resumed


async def outside(work: Coroutine[Any, Any, T]) -> T:
    """Await work of the world outside: it goes on to its end although the caller dies, or is cancelled.

    What reaches a platform takes effect there, whatever becomes of the sender.
    """
    context = copy_context()
    context.run(_current.set, None)
    task = context.run(asyncio.get_running_loop().create_task, work)
    task.add_done_callback(_take_exception, context=context)
    return await asyncio.shield(task)


def outside_time() -> float:
    """Return the world's wall clock in seconds since 1970: `time.time()` without the skew of the running process."""
    return Context().run(time.time)


def _take_exception(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # nobody may be left to hear it, and asyncio would print it


def empty_graves() -> None:
    """Give up all dead processes; a virtual run begins with this."""
    if not _graves:
        return
    dead = _graves[:]
    _graves.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for process in dead:
            process.give_up()
        has_sockets = any(process.has_sockets for process in dead)
        del dead
        if has_sockets:
            gc.collect()  # transports and sessions that nobody closed warn when they are collected: here, unheard


def close_quietly(task: asyncio.Task[Any]) -> None:
    """Close the coroutine of a task that will never be resumed."""
    coroutine: Any = task.get_coro()
    for _ in range(_CLOSINGS):
        with contextlib.suppress(BaseException):
            coroutine.close()
            return


atexit.register(empty_graves)
