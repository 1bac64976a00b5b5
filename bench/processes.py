"""`outboard serve --processes 2` against 1, on both cores, with the load generator on the same machine.

Here nothing is pinned: a server of two processes needs both cores, and the load generator takes its share of them, which on a
machine of its own it would not. So two processes cannot be twice one. What they can be is the limit: all CPU of the
machine, divided by what one call costs the server and the load generator together, as the rounds with one process measured it.
"""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cores
import loader
import messages
import polls
import servers
from catalogue import LIMIT, OURS
from loader import Load, Stretch
from report import Row, row


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rounds of `seconds` for each, `callers` calls in flight over `jobs` jobs."""

    rounds: int = 4
    seconds: float = 2.0
    callers: int = 64
    jobs: int = 1_000
    channels: int = 16
    with_ours: bool = True


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and every single round as details."""
    loader.build()
    if not plan.with_ours:
        return [], {}
    seen: dict[int, list[Stretch]] = {1: [], 2: []}
    with cores.shared(), contextlib.ExitStack() as stack:
        started = {count: stack.enter_context(servers.running(_launch(count))) for count in seen}
        bodies = polls.write(started[1], messages.TASK_TYPE, plan.jobs)
        load = Load(
            method=messages.GET, bodies=bodies, seconds=plan.seconds, callers=plan.callers, channels=plan.channels
        )
        for counted in range(-1, plan.rounds):
            for count, server in started.items():
                stretch = loader.apply(server, load)
                seen[count] += [stretch] if counted >= 0 else []
    return _rows(seen), {str(count): [asdict(one) for one in stretches] for count, stretches in seen.items()}


def _launch(count: int) -> servers.Launch:
    options = ("--processes", str(count)) if count > 1 else ()
    return servers.ours("noop:Noop", *options, name=f"outboard-{count}")


def _rows(seen: Mapping[int, Sequence[Stretch]]) -> list[Row]:
    per_call_us = statistics.median(one.cpu_us + one.load_cpu_us for one in seen[1])
    limit = (os.cpu_count() or 1) * 1e6 / per_call_us
    return [
        row(f"processes.{word}", {OURS: [one.rate for one in seen[count]], LIMIT: limit})
        for count, word in ((1, "one"), (2, "two"))
    ]
