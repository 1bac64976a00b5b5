"""Watching: how long an agent's code keeps the event loop between two awaits.

A step is timed by two clocks. The real one shows a call that waits for a network or computes, less the time for which the
kernel kept the thread waiting for a processor: neighbours' work is no fault of the agent's. The loop's own shows
`time.sleep` where time is virtual. A step that does not end at all would end the whole run with it, so a thread watches
and ends it by a signal, which interrupts whatever the step waits for; that needs the main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final, NoReturn

from outboard.host.agent_time import SLOW_STEP_S

HANGING_STEP_S: Final = 4.0
"""Real seconds after which a step is ended."""
_VIRTUAL_STEP_S: Final = 0.001
_LOOK_EVERY_S: Final = 0.25


class Interrupted(BaseException):
    """A step that kept the event loop was ended; no `Exception`, so that agents do not catch it."""


class Watch:
    """Times the steps of one agent.

    Attributes:
        slow: The longest step by method, where it was too long; in seconds.
    """

    def __init__(self) -> None:
        self.slow: dict[str, float] = {}
        self._since: float | None = None

    async def run(self, method: str, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Await a coroutine of the agent and time its steps."""
        return await _Timed(self, method, coroutine)

    def step(self, method: str, coroutine: Coroutine[Any, Any, Any], sent: Any, error: BaseException | None) -> Any:
        """Run one step."""
        loop = asyncio.get_running_loop()
        began_at, self._since = loop.time(), perf_counter()
        real_began_at, starved_before_s = self._since, _starved_s()
        try:
            return coroutine.send(sent) if error is None else coroutine.throw(error)
        finally:
            self._since = None
            real_s, loop_s = perf_counter() - real_began_at, loop.time() - began_at
            if real_s > SLOW_STEP_S:
                real_s -= _starved_s() - starved_before_s
            is_virtual = hasattr(loop, "pass_time")
            if real_s > SLOW_STEP_S or (is_virtual and loop_s > _VIRTUAL_STEP_S):
                self.slow[method] = max(self.slow.get(method, 0.0), real_s, loop_s)

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """End steps that hang, while the block runs; without effect outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        stop, main = threading.Event(), threading.main_thread().ident
        before = signal.signal(signal.SIGVTALRM, _interrupt)

        def look() -> None:
            told: float | None = None
            while not stop.wait(_LOOK_EVERY_S):
                since = self._since
                if since is not None and since != told and perf_counter() - since > HANGING_STEP_S and main:
                    told = since
                    signal.pthread_kill(main, signal.SIGVTALRM)

        thread = threading.Thread(target=look, name="conformance watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            with contextlib.suppress(Interrupted):  # one that was on its way
                signal.signal(signal.SIGVTALRM, before)


def _starved_s() -> float:
    """Return how long this thread was ready to run and had no processor, so far; 0 where the system does not say."""
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:  # noqa: PTH123 - each step comes by
            return int(file.read(64).split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise Interrupted("the step kept the event loop and was ended")


class _Timed(Awaitable[Any]):
    """A coroutine whose steps are timed."""

    __slots__ = ("_coroutine", "_method", "_watch")

    def __init__(self, watch: Watch, method: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._watch = watch
        self._method = method
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        sent: Any = None
        error: BaseException | None = None
        while True:
            try:
                waiting_for = self._watch.step(self._method, self._coroutine, sent, error)
            except StopIteration as done:
                return done.value
            try:
                sent, error = (yield waiting_for), None
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - cancellation must reach the coroutine
                sent, error = None, raised
