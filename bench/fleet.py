"""10,000 live jobs, each polled every 10 s, at a platform that allows 10 calls per second: what a busy installation is.

Real time, real sockets: a platform process with a quota (`peers/paged_platform.py`), the service, and a load generator that
polls in an open loop with FlytePropeller's deadline of 3 s and lets a new job take the place of each that was answered as
ended. About 33 jobs end in a second, at random times that only the platform knows. flytekit asks once per job and poll,
1,000 calls per second, and gets the platform's 429 for nearly all of them; the same platform, jobs, ends and schedule.

The lag counts from a job's end at the platform to the answer that says so. Jobs that end in the last 20 s do not count; others
that were never answered as ended count with the time until the run stopped, which flatters. The first 20 s are
warm-up: nothing is known of 10,000 jobs then, and learning of all of them takes 10 s of the whole quota.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cores
import loader
import pacing
import platforms
import polls
import servers
from catalogue import FLYTEKIT, LIMIT, OURS
from pacing import Pace, Watched
from report import Row, row

RATE = 10.0
"""Platform calls per second that are allowed."""
BURST = 12.0
"""What the platform's bucket holds: ten, and two for calls that the way has bunched."""
_TASK_TYPE = "paged"
_LIFE_S = 300.0
_TAIL_S = 20.0
_HEAD_START_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many jobs, how often each is polled, and for how long after the warm-up."""

    jobs: int = 10_000
    every_s: float = 10.0
    warm_s: float = 20.0
    seconds: float = 40.0
    peer_seconds: float = 22.0
    with_ours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One side's run: what the load generator saw, and the platform's calls as (seconds after the start, was it refused)."""

    watched: Watched
    calls: Sequence[tuple[float, bool]]
    plan: Plan
    seconds: float

    @property
    def ended(self) -> list[tuple[float, float]]:
        """When each of the jobs that count ended, and when that was answered."""
        return pacing.ended(self.watched.outcomes, self.plan.warm_s, self.plan.warm_s + self.seconds - _TAIL_S)

    @property
    def lags(self) -> list[float]:
        """Their lags, sorted."""
        return pacing.lags(self.ended, self.plan.warm_s + self.seconds)

    @property
    def counted(self) -> list[bool]:
        """Whether the platform refused, for each call after the warm-up."""
        return [refused for at, refused in self.calls if at >= self.plan.warm_s]


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and what was seen second by second."""
    loader.build()
    seen: dict[str, Seen] = {}
    with cores.apart() as placing:
        if plan.with_ours:
            seen[OURS] = _run(plan, OURS, plan.seconds, placing)
        seen[FLYTEKIT] = _run(plan, FLYTEKIT, plan.peer_seconds, placing)
    return _rows(seen), {name: _details(one) for name, one in seen.items()}


def _run(plan: Plan, side: str, seconds: float, placing: cores.Placing) -> Seen:
    spare = int(plan.jobs * (plan.warm_s + seconds) / _LIFE_S * 1.3)
    ends = pacing.write_ends("fleet", pacing.draw_ends(live=plan.jobs, spare=spare, life_s=_LIFE_S))
    with (
        platforms.running(rate=RATE, burst=BURST, ends=ends) as platform,
        servers.running(_launch(side, platform.endpoint), cores=placing.server) as server,
    ):
        bodies = polls.write(server, _TASK_TYPE, plan.jobs + spare)
        epoch = time.time() + _HEAD_START_S
        platform.begin(epoch)
        pace = Pace(
            every_s=plan.every_s,
            seconds=plan.warm_s + seconds,
            slots=plan.jobs,
            warm_s=plan.warm_s,
            ends=ends,
            epoch=epoch,
        )
        watched = pacing.poll(server, bodies, pace)
        calls = platform.calls()
    return Seen(watched=watched, calls=calls, plan=plan, seconds=seconds)


def _launch(side: str, endpoint: str) -> servers.Launch:
    if side == FLYTEKIT:
        return servers.flytekit("flytekit_paged", {"BENCH_PLATFORM": endpoint})
    settings = servers.settings_file("fleet", platforms={"Metered": {"endpoint": endpoint}})
    return servers.ours("paged:Metered", settings=settings)


def _rows(seen: Mapping[str, Seen]) -> list[Row]:
    def line(key: str, **values: Any) -> Row:
        return row(key, values)

    def each(read: Any) -> dict[str, float]:
        return {name: read(one) for name, one in seen.items()}

    return [
        line("fleet.over", **each(lambda s: sum(s.counted))),
        line("fleet.errors", **each(lambda s: s.watched.failed - s.watched.missed)),
        line("fleet.misses", **each(lambda s: s.watched.missed)),
        line("fleet.lag", **each(lambda s: pacing.quantile(s.lags, 0.95))),
        line("fleet.p99", **each(lambda s: s.watched.p99_ms)),
        line("fleet.rate", **each(lambda s: len(s.counted) / s.seconds), **{LIMIT: RATE}),
        line("fleet.cpu", **each(lambda s: s.watched.cpu_s / (s.plan.warm_s + s.seconds) * 60)),
    ]


def _details(seen: Seen) -> dict[str, Any]:
    per_second = Counter(int(at) for at, refused in seen.calls if at >= 0)
    refusals = Counter(int(at) for at, refused in seen.calls if at >= 0 and refused)
    span = range(int(seen.plan.warm_s + seen.seconds))
    watched = {name: value for name, value in asdict(seen.watched).items() if name != "outcomes"}
    jobs = seen.ended
    return {
        **watched,
        "ends_counted": len(jobs),
        "ends_answered": sum(answered >= 0 for _, answered in jobs),
        "lags": pacing.told(jobs),
        "platform_calls": [per_second[second] for second in span],
        "platform_refusals": [refusals[second] for second in span],
        "refusals_while_warming": sum(refused for at, refused in seen.calls if at < seen.plan.warm_s),
    }
