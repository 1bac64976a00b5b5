"""The event loop of a service, which somebody's `sys.exit` does not end.

Code that agents start beside their calls (tasks, callbacks, timers of their SDK) runs bare on the loop, and asyncio lets
`SystemExit` out of any of it end the loop, and with it every agent. A loop that ended so is whole: nothing but the callback
that raised is lost, and running it again goes on where it stood. So that is what happens, with a log line that names the place.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from outboard.host.logs import TaskLog

T = TypeVar("T")
_FRAMES: Final = 2
_LEFT_S: Final = 2.0
"""How long what is left when all is done may take to end."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own (uvloop where there is one) and return its result."""
    loop = _new_loop()
    try:
        asyncio.set_event_loop(loop)
        return _run_to_end(loop, loop.create_task(main))
    finally:
        _cancel_all(loop)
        loop.run_until_complete(asyncio.wait({loop.create_task(loop.shutdown_asyncgens())}, timeout=_LEFT_S))
        asyncio.set_event_loop(None)
        loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _run_to_end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T]) -> T:
    while True:
        try:
            return loop.run_until_complete(task)
        except SystemExit as stray:
            if task.done():
                raise
            frames = traceback.extract_tb(stray.__traceback__)[-_FRAMES:]
            where = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
            TaskLog().error("background code raised SystemExit, which would end the process", where=where)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=_LEFT_S))  # some swallow their cancellation
