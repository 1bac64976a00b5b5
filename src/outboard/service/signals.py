"""The signals that end a service: the first lets it finish what is in flight, the second ends it where it stands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def told_to_end() -> Iterator[asyncio.Future[str]]:
    """Give a future that the first signal fulfils with its name.

    The second signal ends the process with the code that shells expect (128 + signal); children end with it.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[str] = loop.create_future()

    def receive(number: signal.Signals) -> None:
        if told.done():
            sys.stderr.flush()
            os._exit(128 + number)
        told.set_result(number.name)

    for number in _SIGNALS:
        loop.add_signal_handler(number, receive, number)
    try:
        yield told
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
