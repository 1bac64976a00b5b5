"""How cost grows with live jobs: 1,000 and 10,000, each polled every 10 s, and 100,000, each polled every 30 s.

30 s is FlytePropeller's own interval; 100,000 jobs every 10 s are more than one Python process on one core answers. The
platform has no quota here, so what is counted is what the service asks for by itself: with pages of 100, each job's state
once per interval is 10 calls per 1,000 jobs. Before it counts, ours is asked for every job once, as fast as it answers, and
then polled for two rounds (100,000 jobs: none), since it learns from a job's polls when the next will come. CPU is that of
the whole server process tree; of flytekit, which keeps nothing, a shorter stretch tells the same. Where a server cannot
answer so many polls with its core, the share of answers says so, and its CPU is what it used, not what it would need.

Memory is the resident set of the process when all jobs were answered for, less that of the same process before the first
job, per live job; each has a handle and an output prefix of its own, and a link.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import cores
import loader
import messages
import pacing
import platforms
import polls
import servers
import usage
from catalogue import FLYTEKIT, LIMIT, OURS
from pacing import Pace, Watched
from report import Row, row

_TASK_TYPE = "paged"
_PAGE = 100
_MINUTE_S = 60.0
_NAMES = {1_000: "1k", 10_000: "10k", 100_000: "100k"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """So many live jobs, how often each is polled, and for how long before it counts and while it does."""

    jobs: int
    every_s: float
    warm_s: float
    seconds: float


SIZES = (
    Size(jobs=1_000, every_s=10, warm_s=20, seconds=10),
    Size(jobs=10_000, every_s=10, warm_s=20, seconds=20),
    Size(jobs=100_000, every_s=30, warm_s=0, seconds=30),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes, and for how long flytekit is measured with each."""

    sizes: Sequence[Size] = SIZES
    peer_seconds: float = 6.0
    with_ours: bool = True


_AT_WORK: Final = 100
"""Jobs that a server follows when its memory is called its base: by then the platform's client is loaded and at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What so many live jobs cost a server in `seconds`: its CPU, platform calls, and memory beyond its base.

    Attributes:
        known: How many of the jobs the server had answered for before that.
        memory_bytes: The larger of what it had grown by then and at the end.
    """

    jobs: int
    every_s: float
    seconds: float
    watched: Watched
    cpu_s: float
    platform_calls: int
    known: int
    memory_bytes: int

    @property
    def cpu_per_minute(self) -> float:
        """CPU seconds per minute."""
        return self.cpu_s / self.seconds * _MINUTE_S

    @property
    def calls_per_minute(self) -> float:
        """Platform calls per minute."""
        return self.platform_calls / self.seconds * _MINUTE_S

    @property
    def calls_per_round(self) -> float:
        """Platform calls per 1,000 live jobs and round of polls."""
        return self.platform_calls / (self.jobs / 1_000) / (self.seconds / self.every_s)


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and every stage as details."""
    loader.build()
    stages: dict[str, dict[int, Stage]] = {}
    with cores.apart() as placing:
        if plan.with_ours:
            stages[OURS] = _climb(plan, OURS, placing)
        stages[FLYTEKIT] = _climb(plan, FLYTEKIT, placing)
    return _rows(plan, stages), {name: [_details(one) for one in each.values()] for name, each in stages.items()}


def _climb(plan: Plan, side: str, placing: cores.Placing) -> dict[int, Stage]:
    """Measure one size after the other, each with a process of its own."""
    stages = {}
    for size in plan.sizes:
        with (
            platforms.running() as platform,
            servers.running(_launch(side, platform.endpoint), cores=placing.server) as server,
        ):
            stages[size.jobs] = _stage(plan, side, size, server, platform)
    return stages


def _stage(plan: Plan, side: str, size: Size, server: servers.Running, platform: platforms.Platform) -> Stage:
    jobs, every_s = size.jobs, size.every_s
    bodies = polls.write(server, _TASK_TYPE, jobs)
    loader.ask_each(server, messages.GET, bodies, min(jobs, _AT_WORK), callers=_AT_WORK)
    base = usage.resident_bytes(server.pid)
    known = loader.ask_each(server, messages.GET, bodies, jobs) if side == OURS else 0
    grown = usage.resident_bytes(server.pid) - base
    seconds = size.seconds if side == OURS else plan.peer_seconds
    if side == OURS and size.warm_s:
        pacing.poll(server, bodies, Pace(every_s=every_s, seconds=size.warm_s, slots=jobs))
    platform.begin(time.time())
    watched = pacing.poll(server, bodies, Pace(every_s=every_s, seconds=seconds, slots=jobs))
    return Stage(
        jobs=jobs,
        every_s=every_s,
        seconds=seconds,
        watched=watched,
        cpu_s=watched.cpu_s,
        platform_calls=len(platform.calls()),
        known=known,
        memory_bytes=max(grown, usage.resident_bytes(server.pid) - base),
    )


def _launch(side: str, endpoint: str) -> servers.Launch:
    if side == FLYTEKIT:
        return servers.flytekit("flytekit_paged", {"BENCH_PLATFORM": endpoint})
    settings = servers.settings_file(
        "growth", host={"remembered": 200_000}, platforms={"Unlimited": {"endpoint": endpoint}}
    )
    return servers.ours("paged:Unlimited", settings=settings)


def _rows(plan: Plan, stages: Mapping[str, Mapping[int, Stage]]) -> list[Row]:
    rows = []
    for size in plan.sizes:
        here = {name: each[size.jobs] for name, each in stages.items()}
        pages = math.ceil(size.jobs / _PAGE) * _MINUTE_S / size.every_s
        rows.append(row(f"growth.cpu_{_NAMES[size.jobs]}", {name: one.cpu_per_minute for name, one in here.items()}))
        calls = {name: one.calls_per_minute for name, one in here.items()}
        rows.append(row(f"growth.calls_{_NAMES[size.jobs]}", {**calls, LIMIT: pages}))
    most = {name: each[plan.sizes[-1].jobs] for name, each in stages.items()}
    middle = {name: each[plan.sizes[1].jobs] for name, each in stages.items()}
    pages_asked = {name: one.calls_per_round for name, one in middle.items()}
    rows.append(row("growth.pages", {**pages_asked, LIMIT: 1_000 / _PAGE}))
    if plan.sizes[-1].jobs < 100_000:
        return rows
    if OURS in most and most[OURS].known == most[OURS].jobs:  # of jobs that it does not know, memory says nothing
        rows.append(row("growth.memory", {OURS: most[OURS].memory_bytes / most[OURS].jobs}))
    answered = {name: one.watched.codes.get("OK", 0) / one.watched.calls * 100 for name, one in most.items()}
    rows.append(row("growth.answered_100k", answered))
    return rows


def _details(stage: Stage) -> dict[str, Any]:
    watched = {name: value for name, value in asdict(stage.watched).items() if name not in {"outcomes", "timeline"}}
    return {
        **{name: value for name, value in asdict(stage).items() if name != "watched"},
        **watched,
        "cpu_per_minute": stage.cpu_per_minute,
        "calls_per_minute": stage.calls_per_minute,
    }
