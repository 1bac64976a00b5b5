"""Crash points: the same scenario again and again, killed each time at another await.

A scenario is an async function that takes a `CrashPoint`, arms it with the replicas that may die, does its work, and
returns what it counted. `crash_points` runs it once without a crash to learn how many steps the armed replicas take, and
then once for every step (or a seeded sample of them), each time in a virtual run of its own, killing the replica that
is about to take that step. Between two awaits nothing can be interleaved, so these are all the points there are.

Everything is the same in every run up to the crash: virtual time, and `CrashPoint.random`, which is seeded. A scenario
must take its randomness from there.

Look at each run before asking for the next one, or have the scenario return plain values: when the next run begins, the
dead of the last one are given up, and their `finally` blocks may then change objects that were returned.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from outboard.testing.processes import Process
from outboard.testing.replicas import Fleet, Replica
from outboard.testing.virtual_time import START, run_virtually

T = TypeVar("T")


class CrashPoint:
    """Where one run of a scenario crashes.

    Args:
        at: The step before which it strikes, counted from 1 over all armed replicas; None never.
        seed: Of `random`.

    Attributes:
        random: The scenario's source of randomness, the same in all its runs.
        steps: How many steps the armed replicas have taken, or were about to.
        victim: The name of the replica that was killed.
        struck_at: Monotonic virtual time of the kill.
    """

    def __init__(self, at: int | None, *, seed: int = 0) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a scenario's choices, no secrets
        self.steps = 0
        self.victim: str | None = None
        self.struck_at: float | None = None
        self._at = at

    def arm(self, *armed: Replica[Any] | Fleet[Any], restart_after_s: float | None = None) -> None:
        """Let these replicas be struck, from now on.

        Args:
            armed: Replicas, or fleets: then all of theirs. Their steps are counted together.
            restart_after_s: When the killed one is started again, in virtual seconds; None: the scenario sees to it.
        """
        for each in armed:
            for replica in each.replicas if isinstance(each, Fleet) else [each]:
                replica.on_step = self._stepper(replica, restart_after_s)

    def disarm(self, *armed: Replica[Any] | Fleet[Any]) -> None:
        """Count and strike these no more."""
        for each in armed:
            for replica in each.replicas if isinstance(each, Fleet) else [each]:
                replica.on_step = None

    def _stepper(self, replica: Replica[Any], restart_after_s: float | None) -> Callable[[Process], None]:
        def step(process: Process) -> None:
            self.steps += 1
            if self.steps != self._at:
                return
            loop = asyncio.get_running_loop()
            self.victim, self.struck_at = process.name, loop.time()
            replica.kill()
            if restart_after_s is not None:
                # In a context of its own: what the dead process begins is dropped.
                Context().run(loop.call_later, restart_after_s, replica.restart)

        return step


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashRun(Generic[T]):
    """One run of a scenario.

    Attributes:
        at: The step it was to crash at; None for the run without a crash.
        victim: The replica that was killed; None when the run ended before that step.
        result: What the scenario returned.
        seed: Of the scenario's randomness.
    """

    at: int | None
    victim: str | None
    result: T
    seed: int


def crash_points(
    scenario: Callable[[CrashPoint], Coroutine[Any, Any, T]],
    *,
    sample: int | None = None,
    seed: int = 0,
    start: datetime = START,
    patience_s: float = 0.002,
) -> Iterator[CrashRun[T]]:
    """Run a scenario without a crash, and then once per crash point; yield each run as it ends.

    Args:
        scenario: Makes its world anew, arms the crash point, and returns what it counted.
        sample: How many points to try, chosen by the seed; None tries all.
        seed: Of the choice, and of the scenario's randomness.
        start: The wall clock at the beginning of each run.
        patience_s: See `run_virtually`.

    Raises:
        ValueError: The scenario armed no replica, or one that took no step: nothing would be tested.
    """
    whole = CrashPoint(None, seed=seed)
    result = run_virtually(lambda: scenario(whole), start=start, patience_s=patience_s)
    if not whole.steps:
        raise ValueError("the scenario took no step that could crash; arm a replica before it is called")
    yield CrashRun(at=None, victim=None, result=result, seed=seed)
    for at in chosen_steps(whole.steps, sample, seed):
        point = CrashPoint(at, seed=seed)
        result = run_virtually(lambda point=point: scenario(point), start=start, patience_s=patience_s)  # type: ignore[misc]  # mypy infers no lambda with a default
        yield CrashRun(at=at, victim=point.victim, result=result, seed=seed)


def chosen_steps(steps: int, sample: int | None, seed: int) -> list[int]:
    """Return the steps to crash at, in order: all from 1 to `steps`, or a seeded sample of them.

    >>> chosen_steps(4, None, 0), chosen_steps(1000, 3, 7) == chosen_steps(1000, 3, 7)
    ([1, 2, 3, 4], True)
    """
    everything = range(1, steps + 1)
    if sample is None or sample >= steps:
        return list(everything)
    return sorted(random.Random(seed).sample(everything, sample))  # noqa: S311 - a choice that can be repeated
