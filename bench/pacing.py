"""Polls on a schedule, from the load generator: an open loop, as an engine polls its live jobs. See `load/paced.go`."""

from __future__ import annotations

import array
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import loader
import messages
import usage
from places import SCRATCH
from servers import Running


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`slots` live jobs, each polled every `every_s` for `seconds`, calls of the first `warm_s` not counted.

    Attributes:
        ends: Where the ends of all jobs stand, spares included; see `write_ends`.
        epoch: Unix seconds at which it begins; None is at once.
    """

    every_s: float
    seconds: float
    slots: int
    warm_s: float = 0.0
    timeout_s: float = 3.0
    ends: Path | None = None
    epoch: float | None = None
    channels: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What the load generator saw, and what the server used meanwhile.

    Attributes:
        codes: Calls after the warm-up by gRPC code.
        cpu_s: CPU of the server's process tree, and `load_cpu_s` of the load generator, over the whole run.
        timeline: Per second of the whole run, answers that were OK and that were not.
        outcomes: Jobs whose end fell into the run: `end`, `first_poll`, `seen` in seconds, negative where it was not.
        late_calls: Calls that the load generator itself began too late.
    """

    calls: int
    codes: dict[str, int]
    details: dict[str, str]
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: float
    load_cpu_s: float
    timeline: Sequence[dict[str, int]]
    outcomes: Sequence[dict[str, float]]
    late_calls: int
    jobs_polled: int

    @property
    def failed(self) -> int:
        """Calls that did not end with OK, deadlines included."""
        return sum(count for code, count in self.codes.items() if code != "OK")

    @property
    def missed(self) -> int:
        """Calls that had no answer within the deadline."""
        return self.codes.get("DeadlineExceeded", 0)


def poll(server: Running, bodies: Path, pace: Pace) -> Watched:
    """Poll a server's jobs and return what came of it."""
    options = ["-every", f"{pace.every_s}s", "-for", f"{pace.seconds}s", "-warm", f"{pace.warm_s}s"]
    options += ["-slots", str(pace.slots), "-timeout", f"{pace.timeout_s}s", "-channels", str(pace.channels)]
    if pace.ends is not None:
        options += ["-ends", str(pace.ends)]
    if pace.epoch is not None:
        options += ["-epoch", str(int(pace.epoch * 1e9))]
        time.sleep(max(0.0, pace.epoch - time.time() - 1))
    before = usage.cpu_seconds(server.pid)
    seen: dict[str, Any] = loader.run(server.address, messages.GET, bodies, *options)
    spent = usage.cpu_seconds(server.pid) - before
    seen["details"] = {code: words.strip().splitlines()[-1] for code, words in seen["details"].items() if words.strip()}
    names = Watched.__dataclass_fields__
    return Watched(cpu_s=spent, **{name: value for name, value in seen.items() if name in names})


def draw_ends(*, live: int, spare: int, life_s: float) -> array.array[float]:
    """Return when each job ends, in seconds after the start.

    The live ones end at random times over `life_s`, so that ends come at an even rate; a spare takes over when one has ended
    and lives for between half and one and a half `life_s`.
    """
    chance = random.Random(20300101)  # noqa: S311 - the same ends for all sides
    ends = array.array("d", (chance.uniform(0, life_s) for _ in range(live)))
    ends.extend((number / live + chance.uniform(0.5, 1.5)) * life_s for number in range(spare))
    return ends


def write_ends(name: str, ends: array.array[float]) -> Path:
    """Write ends as the load generator and the platform read them, and return where."""
    path = SCRATCH / f"ends-{name}.bin"
    path.write_bytes(ends.tobytes())
    return path


def ended(outcomes: Sequence[dict[str, float]], since_s: float, until_s: float) -> list[tuple[float, float]]:
    """Return when jobs ended, for those that ended in the given span, and when that was answered; negative if never.

    A job that ended before its first poll counts from that poll.
    """
    found = ((max(one["end"], one["first_poll"]), one["seen"]) for one in outcomes)
    return [(end, seen) for end, seen in found if since_s <= end < until_s]


def lags(jobs: Sequence[tuple[float, float]], stopped_s: float) -> list[float]:
    """Return, sorted, how long after its end each job was answered as ended.

    One that never was counts with the time until the run stopped, which is less than the truth.
    """
    return sorted((seen if seen >= 0 else stopped_s) - end for end, seen in jobs)


def told(jobs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the distribution of the lags: after so many seconds, such a share of all the jobs was answered as ended."""
    known = sorted(seen - end for end, seen in jobs if seen >= 0)
    points = [known[round(place * (len(known) - 1) / 100)] for place in range(101)] if known else []
    share = len(known) / max(1, len(jobs))
    return [(round(lag, 2), round(place * share, 2)) for place, lag in enumerate(points)]


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values; 0 of none."""
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0
