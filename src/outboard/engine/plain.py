"""The engine for plain functions: scripts, and notebooks whose event loop is already running.

An event loop of our own runs in a thread; the caller's thread waits. So it does not matter whether the caller sits inside a
running loop. While the main thread waits, Ctrl-C is ours: the first cancels the jobs and goes on waiting for the confirmation,
the second gives up and says what is left running.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from outboard.agent.discovery import discover
from outboard.agent.registry import Registry
from outboard.domain.tasks import RawTask
from outboard.engine.addresses import ServiceAddress
from outboard.engine.engine import Engine
from outboard.engine.journal import Journal
from outboard.engine.outcomes import LeftRunning, TaskOutcome
from outboard.engine.runs import OnEvent
from outboard.engine.settings import EngineSettings
from outboard.host.host import Host

T = TypeVar("T")
Opening = Callable[[AsyncExitStack], Coroutine[Any, Any, Engine]]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C was pressed, and the jobs were cancelled.

    Attributes:
        left_running: What may still run, because its end was not confirmed or nobody waited for it.
    """

    def __init__(self, left_running: list[LeftRunning]) -> None:
        self.left_running = left_running
        listed = "".join(f"\n  {each}" for each in left_running)
        super().__init__(
            f"interrupted; still running:{listed}" if left_running else "interrupted; all jobs were cancelled"
        )


def run_task(
    task: RawTask,
    *,
    registry: Registry | None = None,
    endpoint: ServiceAddress | str | None = None,
    journal: Path | Journal | None = None,
    settings: EngineSettings | None = None,
    on_event: OnEvent | None = None,
) -> TaskOutcome:
    """Run a task to its end, from a script or a notebook.

    Args:
        task: The task.
        registry: Agents to run in this process; the installed ones where neither these nor an endpoint are given.
        endpoint: A service instead: its address, or a `ServiceAddress` where that needs certificates or a token.
        journal: Where to record the run.
        settings: The engine's settings.
        on_event: Called, in another thread, with every change.

    Raises:
        Interrupted: Ctrl-C; it says what is left running.
        OutboardError: The engine cannot be opened.
    """
    tasks = [task]
    found = run_tasks(
        tasks, registry=registry, endpoint=endpoint, journal=journal, settings=settings, on_event=on_event
    )
    return found[0]


def run_tasks(
    tasks: Iterable[RawTask],
    *,
    registry: Registry | None = None,
    endpoint: ServiceAddress | str | None = None,
    journal: Path | Journal | None = None,
    settings: EngineSettings | None = None,
    on_event: OnEvent | None = None,
) -> list[TaskOutcome]:
    """Run independent tasks to their ends; like `run_task`, outcomes in the order of the tasks."""

    async def open_engine(stack: AsyncExitStack) -> Engine:
        if endpoint is not None:
            engine = Engine.at(endpoint, journal=journal, settings=settings, on_event=on_event)
        else:
            host = await stack.enter_async_context(Host(registry if registry is not None else discover()))
            engine = Engine.in_process(host, journal=journal, settings=settings, on_event=on_event)
        return await stack.enter_async_context(engine)

    async def drive(engine: Engine) -> list[TaskOutcome]:
        return await engine.run_many(tasks)

    return run_sync(drive, open_engine)


def run_sync(main: Callable[[Engine], Coroutine[Any, Any, T]], open_engine: Opening) -> T:
    """Run `main(engine)` in an event loop of its own and return its result.

    Args:
        main: What to do with the engine.
        open_engine: Opens the engine, and what it needs, on an exit stack that is closed afterwards.

    Raises:
        Interrupted: Ctrl-C was pressed.
    """
    return _Session(main, open_engine).result()


class _Session(Generic[T]):
    """One event loop in a thread, and who waits for it."""

    def __init__(self, main: Callable[[Engine], Coroutine[Any, Any, T]], open_engine: Opening) -> None:
        self._main = main
        self._open_engine = open_engine
        self._loop = asyncio.new_event_loop()
        self._engine: Engine | None = None
        self._task: asyncio.Task[T] | None = None
        self._is_interrupted = False
        self._done: Future[T] = Future()

    def result(self) -> T:
        thread = threading.Thread(target=self._run, name="outboard-engine", daemon=True)
        with self._taking_interrupts():
            thread.start()
            try:
                value = self._done.result()
            except asyncio.CancelledError:
                raise Interrupted([]) from None
            finally:
                thread.join()
        if self._is_interrupted:
            raise Interrupted(self._engine.left_running if self._engine else [])
        return value

    @contextmanager
    def _taking_interrupts(self) -> Iterator[None]:
        """Turn Ctrl-C into a call of the engine; an exception could be raised anywhere, and lose the jobs."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python runs signal handlers in the main thread only
            return
        before = signal.signal(signal.SIGINT, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Python's signature
        self._is_interrupted = True
        with suppress(RuntimeError):  # the loop is closed: it was over anyway
            self._loop.call_soon_threadsafe(self._interrupt)

    def _interrupt(self) -> None:
        if self._engine is not None:
            self._engine.interrupt()
        elif self._task is not None:
            self._task.cancel()  # the engine is still being opened

    def _run(self) -> None:
        try:
            self._task = self._loop.create_task(self._session())
            value = self._loop.run_until_complete(self._task)
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
            self._done.set_exception(error)
        else:
            self._done.set_result(value)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _session(self) -> T:
        async with AsyncExitStack() as stack:
            self._engine = await self._open_engine(stack)
            return await self._main(self._engine)
