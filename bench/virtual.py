"""10,000 live jobs at a platform with a quota, in process and in virtual time: what the service decides, without its sockets.

The host that a service runs is polled for minutes that pass in seconds, by the schedule of `fleet` (spread evenly, an open loop)
and as FlytePropeller polls: all jobs at once every 10 s, by ten workers that each wait for an answer before the next. There one
slow answer holds back a thousand others, so the length of a round counts too. The platform takes 50 to 200 ms, allows 10 calls
per second with a burst of 10, and refuses what is beyond, to the call: no clock of two machines and no network are in between.
The first minute is warm-up. A job's lag counts as in `fleet`; what ended in the last 20 s does not count.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from flyteidl.admin import agent_pb2

import messages
import pacing
import polls
from catalogue import LIMIT, OURS
from outboard.agent.registry import Registry
from outboard.domain.statuses import TaskStatus
from outboard.errors import OutboardError
from outboard.host import Host, HostSettings
from outboard.testing.virtual_time import run_virtually
from outboard.wire.tasks import decode_create_request
from places import BENCH
from report import Row, row

_LEAST_BURST_LAG_S = 20 - 10**0.5
"""Two independent waits, each spread evenly over a period of 10 s, are together longer in 5 % of all cases."""
_DEADLINE_S = 3.0
_WARM_S = 60.0
_TAIL_S = 20.0
_LIFE_S = 300.0
_EVERY_S = 10.0
_TICK_S = 0.01
_WORKERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many jobs, and for how many minutes of platform time by each schedule."""

    jobs: int = 10_000
    minutes: float = 4.0


@dataclass(slots=True, kw_only=True)
class Sight:
    """What an engine saw: seconds after the start, negative where it did not happen."""

    end: float
    first_poll: float = -1.0
    seen: float = -1.0


@dataclass(slots=True, kw_only=True)
class Engine:
    """Polls one host's jobs, and lets the next spare job take the place of each that was answered as ended."""

    host: Host
    handles: list[bytes]
    sights: list[Sight]
    live: list[int]
    began: float
    spare: int
    polls: int = 0
    failed: int = 0
    slowest_s: float = 0.0
    rounds_s: list[float] = field(default_factory=list)

    async def poll(self, slot: int) -> None:
        """Poll the job of a slot as the service does: from memory, or else from the host."""
        job = self.live[slot]
        if job >= len(self.handles):
            return
        sight, begun = self.sights[job], time.monotonic()
        if sight.first_poll < 0:
            sight.first_poll = begun - self.began
        self.polls += 1
        status: TaskStatus | None = self.host.recall_task(self.handles[job])
        if status is None:
            try:
                status = await self.host.get_task(self.handles[job], timeout_s=_DEADLINE_S)
            except OutboardError:
                self.failed += 1
                return
            took = time.monotonic() - begun
            self.slowest_s = max(self.slowest_s, took)
            self.failed += took > _DEADLINE_S
        if status.phase.is_terminal and self.live[slot] == job:
            sight.seen = time.monotonic() - self.began
            self.live[slot] = self.spare
            self.spare += 1


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and what either schedule saw."""
    if str(BENCH / "agents") not in sys.path:
        sys.path.append(str(BENCH / "agents"))
    seen = {name: _run(plan, polling) for name, polling in (("spread", _spread), ("bursts", _bursts))}
    rows = [
        row("virtual.over", {OURS: sum(one["over"] for one in seen.values())}),
        row("virtual.errors", {OURS: sum(one["failed"] for one in seen.values())}),
        row("virtual.lag", {OURS: seen["spread"]["lag_p95_s"]}),
        row("virtual.burst_lag", {OURS: seen["bursts"]["lag_p95_s"], LIMIT: _LEAST_BURST_LAG_S}),
        row("virtual.burst_round", {OURS: max(seen["bursts"]["rounds_s"], default=0.0)}),
    ]
    return rows, seen


def _run(plan: Plan, polling: Callable[[Engine, float], Awaitable[None]]) -> dict[str, Any]:
    begun = time.perf_counter()
    stopped = _WARM_S + plan.minutes * 60
    found: dict[str, Any] = run_virtually(lambda: _scenario(plan, polling, stopped), patience_s=0)
    return {**found, "virtual_s": stopped, "real_s": round(time.perf_counter() - begun, 1)}


async def _scenario(plan: Plan, polling: Callable[[Engine, float], Awaitable[None]], stopped: float) -> dict[str, Any]:
    from in_process import MeteredPlatform  # noqa: PLC0415 - found beside the other agents

    platform = MeteredPlatform()
    spare = int(plan.jobs * stopped / _LIFE_S * 1.3)
    ends = pacing.draw_ends(live=plan.jobs, spare=spare, life_s=_LIFE_S)
    async with Host(Registry([platform]), HostSettings(remembered=len(ends))) as host:
        serial = messages.serial(0)
        request = messages.create_request(serial, "metered")
        handle = await host.create_task(decode_create_request(agent_pb2.CreateTaskRequest.FromString(request)))
        renamed = polls.renaming(handle, serial)
        engine = Engine(
            host=host,
            handles=[renamed(number) for number in range(len(ends))],
            sights=[Sight(end=end) for end in ends],
            live=list(range(plan.jobs)),
            began=time.monotonic(),
            spare=plan.jobs,
        )
        platform.ends = [engine.began + end for end in ends]
        await polling(engine, stopped)
    calls = [(at - engine.began, refused) for at, refused in platform.calls]
    outcomes = [{"end": s.end, "first_poll": s.first_poll, "seen": s.seen} for s in engine.sights if s.first_poll >= 0]
    jobs = pacing.ended(outcomes, _WARM_S, stopped - _TAIL_S)
    return {
        "polls": engine.polls,
        "failed": engine.failed,
        "slowest_ms": engine.slowest_s * 1000,
        "over": sum(refused for at, refused in calls if at >= _WARM_S),
        "over_while_warming": sum(refused for at, refused in calls if at < _WARM_S),
        "calls_per_second": sum(at >= _WARM_S for at, _ in calls) / (stopped - _WARM_S),
        "ends_counted": len(jobs),
        "lag_p95_s": pacing.quantile(pacing.lags(jobs, stopped), 0.95),
        "lags": pacing.told(jobs),
        "rounds_s": [
            round(took, 2) for at, took in zip(_starts(engine), engine.rounds_s, strict=True) if at >= _WARM_S
        ],
        "warming_rounds_s": [round(took, 2) for took in engine.rounds_s[:6]],
    }


def _starts(engine: Engine) -> list[float]:
    """Return when each round of polls began."""
    starts, at = [], 0.0
    for took in engine.rounds_s:
        starts.append(at)
        at += max(took, _EVERY_S)
    return starts


async def _spread(engine: Engine, stopped: float) -> None:
    """Every job once in ten seconds, evenly, whether others were answered or not."""
    slots = len(engine.live)
    under_way: set[asyncio.Task[None]] = set()
    sent = 0
    while (now := time.monotonic() - engine.began) < stopped:
        due = int(now / _EVERY_S * slots)
        for number in range(sent, due):
            task = asyncio.ensure_future(engine.poll(number % slots))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        sent = due
        await asyncio.sleep(_TICK_S)
    await asyncio.gather(*under_way)


async def _bursts(engine: Engine, stopped: float) -> None:
    """All jobs at once every ten seconds, by ten workers; a round that takes longer holds back the next."""
    while (begun := time.monotonic()) - engine.began < stopped:
        waiting = iter(range(len(engine.live)))

        async def work(slots: Any = waiting) -> None:
            for slot in slots:
                await engine.poll(slot)

        await asyncio.gather(*(work() for _ in range(_WORKERS)))
        engine.rounds_s.append(time.monotonic() - begun)
        await asyncio.sleep(max(0.0, _EVERY_S - engine.rounds_s[-1]))
