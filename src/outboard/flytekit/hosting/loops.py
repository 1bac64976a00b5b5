"""An event loop of a connector's own, in a thread of its own.

Connectors written as `async def` block: an SDK's call, a Kubernetes client, a sensor's file system. On our loop one such call
would stop the whole service, health check included. Here it stops its connector's other calls, for as long as it takes. A loop
that does not come back is abandoned and replaced, so that one call that hangs for ever does not end its connector; a few times,
since each leaves a thread behind. `sys.exit` ends neither loop nor process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import weakref
from collections.abc import Awaitable
from typing import Any, Final

from outboard.errors import AgentFault, Overloaded
from outboard.host.logs import TaskLog

_DOUBT_S: Final = 1.0
_LEAVE_S: Final = 0.1
_MOST_ABANDONED: Final = 8


class ConnectorLoop:
    """Runs coroutines of one connector, from any thread.

    Args:
        name: The connector's, for thread names and messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._abandoned: list[threading.Thread] = []

    def run(self, work: Awaitable[Any], timeout_s: float | None = None) -> Any:
        """Return what `work` comes to; the calling thread waits.

        Args:
            work: A coroutine, or anything else that can be awaited.
            timeout_s: When to cancel it; None never does.

        Raises:
            TimeoutError: It took longer.
            Overloaded: Too many loops of this connector hang.
            AgentFault: It tried to end the process.
        """
        loop = self._running()
        future = asyncio.run_coroutine_threadsafe(self._contained(work), loop)
        try:
            return future.result(timeout_s)
        except (concurrent.futures.TimeoutError, TimeoutError):
            if future.done() and not future.cancelled():
                raise  # its own
            future.cancel()
            self._doubt(loop)
            raise TimeoutError(f"connector {self.name} took longer than {timeout_s:g} s") from None

    async def _contained(self, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except (SystemExit, KeyboardInterrupt) as error:
            raise AgentFault(
                f"connector {self.name} raised {type(error).__name__}, which would end the process"
            ) from None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
                if len(self._abandoned) >= _MOST_ABANDONED:
                    raise Overloaded(
                        f"{len(self._abandoned)} event loops of connector {self.name} hang in calls that block them; "
                        "restart this replica, and give the calls of its client time limits"
                    )
                self._loop = asyncio.new_event_loop()
                name = f"outboard-{self.name}-loop"
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name=name, daemon=True)
                self._thread.start()
                weakref.finalize(self, _end, self._loop, self._thread)
            return self._loop

    def _doubt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Abandon a loop that does not come back."""
        is_there = threading.Event()
        loop.call_soon_threadsafe(is_there.set)
        if is_there.wait(_DOUBT_S):
            return
        with self._lock:
            if self._loop is not loop or self._thread is None:
                return
            self._abandoned.append(self._thread)
            self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)  # should it ever come back
        TaskLog(agent=self.name).error(
            "event loop of a hosted connector hangs in a call that blocks it; it gets another one",
            abandoned=len(self._abandoned),
        )


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    """End a loop whose connector is gone, or with the process."""
    with contextlib.suppress(RuntimeError):  # it has ended already, or this is its own thread
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_LEAVE_S)
