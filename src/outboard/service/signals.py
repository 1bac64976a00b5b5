"""The signals that end a service: the first lets it finish what is in flight, the second ends it where it stands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from typing import Any, Final, TypeVar

from outboard.service.ending import CLOSING_S, LastResort

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def told_to_end(last_resort: LastResort | None = None) -> Iterator[asyncio.Future[str]]:
    """Give a future that the first signal fulfils with its name.

    The second signal ends the process with the code that shells expect (128 + signal); children end with it.

    Args:
        last_resort: What bounds the end, and hears signals also while the loop stands still.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str] = loop.create_future()

    def receive(number: signal.Signals) -> None:
        if told.done():
            sys.stderr.flush()
            os._exit(128 + number)
        told.set_result(number.name)
        if last_resort is not None:
            last_resort.begin()

    for number in _SIGNALS:
        loop.add_signal_handler(number, receive, number)
    try:
        with last_resort.listening() if last_resort is not None else contextlib.nullcontext():
            yield told
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def unless_told(told: asyncio.Future[str], starting: Coroutine[Any, Any, T]) -> T | None:
    """Return what a start comes to; None where a signal came first, and the start was given up."""
    start = asyncio.ensure_future(starting)
    awaited: set[asyncio.Future[Any]] = {start, told}
    try:
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        return start.result() if start.done() else None
    finally:
        start.cancel()
        await asyncio.wait({start}, timeout=CLOSING_S)  # it may swallow its cancellation
