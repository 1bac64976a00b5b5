"""Slots: how many workers of one machine may talk to a database at once, by locks that end with their holders."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0


def take_slot(folder: Path, limit: int, is_told_to_stop: Callable[[], bool]) -> int | None:
    """Return the descriptor of a slot that is held until it is closed or this process ends; waits for a free one.

    Args:
        folder: Of the lock files.
        limit: How many slots there are.
        is_told_to_stop: Asked while waiting; None is returned once it says so.
    """
    import fcntl  # noqa: PLC0415 - Windows has none

    folder.mkdir(parents=True, exist_ok=True)
    pause_s = FIRST_PAUSE_S
    while not is_told_to_stop():
        for number in range(limit):
            slot = os.open(folder / f"{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(slot)
            else:
                return slot
        time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - so that crowds do not look at once
        pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)
    return None
