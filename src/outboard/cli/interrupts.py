"""Ctrl-C, in three steps: cancel and wait for the confirmation; stop waiting and say what is left; die.

SIGTERM counts like Ctrl-C, since whoever sends it (a supervisor, a CI system that gives up) wants no job left behind either.
The handlers belong to the event loop, so a step never interrupts a write to the journal. A second signal that comes when
the end is confirmed already, and the command only reports and closes, changes nothing.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from outboard.cli.exits import Exit


class Interrupts:
    """How often, and first by what, the command was told to stop."""

    def __init__(self) -> None:
        self.count = 0
        self.first: signal.Signals | None = None

    @property
    def exit_code(self) -> Exit:
        """What the process returns after one interrupt that was obeyed."""
        return Exit.TERMINATED if self.first is signal.SIGTERM else Exit.INTERRUPTED


@contextmanager
def interrupts(cancel: Callable[[], None], abandon: Callable[[], None]) -> Iterator[Interrupts]:
    """Call `cancel` at the first interrupt and `abandon` at the second; the third ends the process where it stands."""
    loop = asyncio.get_running_loop()
    seen = Interrupts()

    def receive(number: signal.Signals) -> None:
        seen.count += 1
        seen.first = seen.first or number
        if seen.count == 1:
            cancel()
        elif seen.count == 2:
            abandon()
        else:
            os._exit(Exit.LEFT_RUNNING)

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, receive, number)
    try:
        yield seen
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
        if seen.count:
            _await_the_end(numbers, seen.count)


def _await_the_end(numbers: Sequence[signal.Signals], count: int) -> None:
    """Let only the third signal end the process, and none when Python is about to take the handlers away."""

    def receive_late(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python's signature
        nonlocal count
        count += 1
        if count > 2:
            os._exit(Exit.LEFT_RUNNING)

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    for number in numbers:
        signal.signal(number, receive_late)
    atexit.register(ignore)
