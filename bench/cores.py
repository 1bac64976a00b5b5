"""Who runs on which core: servers on one of their own, the load on the others, so that neither takes time from the other.

With a core of its own a server's rate is its rate per core, which is what its capacity is planned by. On one core, or with
`shared()`, the scheduler decides.
"""

from __future__ import annotations

import os
from types import TracebackType

from typing_extensions import Self


class Placing:
    """A context in which this process and what it starts keep off the servers' cores."""

    def __init__(self, server: frozenset[int] | None, load: frozenset[int]) -> None:
        self.server = server
        self._load = load
        self._before: set[int] = set()

    def __enter__(self) -> Self:
        self._before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._load)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.sched_setaffinity(0, self._before)


def apart() -> Placing:
    """One core for the server under test, the others for the load; shared on a machine with one core."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        return shared()
    return Placing(frozenset(available[:1]), frozenset(available[1:]))


def shared() -> Placing:
    """Everything everywhere."""
    return Placing(None, frozenset(os.sched_getaffinity(0)))
