"""The caller's side of an errand: it shows what happens until the end, and takes Ctrl-C for the time it waits.

Python runs signal handlers in the main thread, so there Ctrl-C is taken: the first cancels the jobs of all threads and the
wait goes on until that is confirmed, the second ends it at once. Then `Interrupted` is raised, a `KeyboardInterrupt` that no
`except Exception` of a plugin swallows; `pyflyte` turns it into an exit code that is not 0. SIGTERM counts like Ctrl-C where the
program has no handler of its own. While another thread waits and the main thread does not, flytekit's own handler calls ours.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

from flytekit.core.context_manager import FlyteContextManager

from outboard.engine.outcomes import LeftRunning, TaskEvent, TaskOutcome
from outboard.engine.plain import Interrupted
from outboard.flytekit.running.errands import Ended, Errand, Told
from outboard.flytekit.running.shared_engine import SharedEngine, current_engine
from outboard.local.notes import write_note
from outboard.local.views import View, open_view

T = TypeVar("T")
CANCELLING: Final = "cancelling; Ctrl-C again stops waiting for the confirmation"
_TERMINATED: Final = 128 + signal.SIGTERM


def wait_for(errand: Errand[T], engine: SharedEngine) -> T:
    """Have an errand done, show what happens, and return its result.

    Raises:
        Interrupted: Ctrl-C.
        BaseException: Whatever the errand raised.
    """
    engine.start(errand)
    with _taking_interrupts(errand, engine) as seen, _SCREEN.shown(is_quiet=engine.settings.is_quiet) as view:
        while True:
            news = errand.news.get()
            if isinstance(news, Ended):
                break
            if isinstance(news, Told):
                view.say(news.words)
            else:
                view.show(news.task_id, news)
    if seen:
        raise _interruption(seen, news.result)
    if isinstance(news.error, asyncio.CancelledError):
        raise Interrupted([])  # by another thread's Ctrl-C, before anything was sent
    if news.error is not None:
        raise news.error
    return news.result  # type: ignore[return-value]  # there is one where there is no error


def _interruption(seen: list[int], result: Any) -> BaseException:
    """Say what became of the jobs, and return what ends the program."""
    left: list[LeftRunning] = []
    if isinstance(result, TaskOutcome):
        if result.left_running is not None:
            left.append(result.left_running)
            write_note(f"left running: {result.left_running}")
            write_note(f"cancel it later: outboard cancel {result.run_id}/{result.task_id}")
        else:
            write_note(
                f"{result.task_id} {'had ended' if result.is_success else 'is cancelled'}: nothing is left running"
            )
    return SystemExit(_TERMINATED) if seen[0] == signal.SIGTERM else Interrupted(left)


@contextmanager
def _taking_interrupts(errand: Errand[Any], engine: SharedEngine) -> Iterator[list[int]]:
    """Give the list of signals that came meanwhile; in the main thread they are taken from whoever had them."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        _be_told_by_flytekit()
        yield seen
        return

    def receive(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python's signature
        seen.append(number)
        if len(seen) == 1:
            errand.news.put(Told(CANCELLING))
        engine.interrupt()

    taken = {signal.SIGINT: signal.signal(signal.SIGINT, receive)}
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        taken[signal.SIGTERM] = signal.signal(signal.SIGTERM, receive)
    try:
        yield seen
    finally:
        for number, before in taken.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)


def _be_told_by_flytekit() -> None:
    if _on_flytekit_signal not in FlyteContextManager.signal_handlers:
        FlyteContextManager.add_signal_handler(_on_flytekit_signal)


def _on_flytekit_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python's signature
    """Cancel and wait; flytekit ends the process afterwards. A second signal nests in the first one's wait."""
    engine = current_engine()
    if engine is None or engine.is_idle:
        return
    write_note(CANCELLING)
    engine.interrupt()
    engine.wait_idle()


class _Screen:
    """The one view of this process, there while anybody waits: a terminal has room for one live table."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._view: View | None = None
        self._waiting = 0

    @contextmanager
    def shown(self, *, is_quiet: bool) -> Iterator[_Shared]:
        with self._lock:
            if self._view is None:
                self._view = open_view(is_quiet=is_quiet)
                self._view.__enter__()
            view = self._view
            self._waiting += 1
        try:
            yield _Shared(view, self._lock)
        finally:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._view = None
                    view.__exit__(None, None, None)


class _Shared:
    """A view for several threads."""

    def __init__(self, view: View, lock: threading.RLock) -> None:
        self._view = view
        self._lock = lock

    def show(self, name: str, event: TaskEvent) -> None:
        with self._lock:
            self._view.show(name, event)

    def say(self, words: str) -> None:
        with self._lock:
            self._view.say(words)


_SCREEN: Final = _Screen()
