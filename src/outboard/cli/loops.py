"""The event loop of a command: uvloop where there is one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

ResultT = TypeVar("ResultT")
_THREADS_END_S: Final = 0.5


def run_loop(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine to its end in a loop of its own and return its result."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


async def end_threads(code: int) -> None:
    """End the process here and now where a thread of the loop hangs: Python would wait for it at the exit, maybe for ever.

    To be called last, when all that is to be written was written.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.ensure_future(loop.shutdown_default_executor())
    if not (await asyncio.wait({ended}, timeout=_THREADS_END_S))[0]:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
