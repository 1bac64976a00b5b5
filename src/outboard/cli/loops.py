"""The event loop of a command: uvloop where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def run_loop(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run a coroutine to its end in a loop of its own and return its result."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)
