"""How many live jobs a poll rate carries, and the rates that suit a number of live jobs.

Flyte asks for the status of every live task once per `resyncInterval`: each sweep puts all of them into a queue, which
gives out `burst` at once and `qps` per second after that. A sweep that takes longer than the interval stretches it for
everybody: with the defaults (10 per second, 30 s) beyond 300 live tasks. `workers` take from the queue, and each waits for
one answer. (`pluginmachinery/internal/webapi/cache.go`, `flytestdlib/cache/in_memory_auto_refresh.go`; Flyte 2 kept both.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from outboard.errors import InvalidSettings

MOST_LIVE_JOBS: Final = 500_000
ANSWER_S: Final = 0.2
"""How long an answer to GetTask takes at most, but for the first one; `HostSettings.status_wait`."""

SILENCE: Final = timedelta(hours=24)
"""How much silence of the service, added up over a job's life, is survived."""

_FEW: Final = 1000
_HEADROOM: Final = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What to write below `webApi` and beside it for a number of live jobs."""

    live_jobs: int
    resync_s: int
    qps: int
    burst: int
    workers: int
    cache_size: int
    max_system_failures: int
    quota: int


def rates_for(live_jobs: int) -> Rates:
    """Return what suits a number of live jobs.

    Raises:
        InvalidSettings: No configuration of one engine carries that many.

    >>> rates_for(3000).qps
    150
    """
    if not 1 <= live_jobs <= MOST_LIVE_JOBS:
        raise InvalidSettings(
            f"--live-jobs {live_jobs}: Flyte follows 1 to {MOST_LIVE_JOBS} tasks (its cache); shard propeller for more",
            field="live_jobs",
        )
    resync_s = 10 if live_jobs <= _FEW else 30
    per_second = live_jobs / resync_s
    qps = max(10, math.ceil(per_second * _HEADROOM))
    return Rates(
        live_jobs=live_jobs,
        resync_s=resync_s,
        qps=qps,
        burst=min(10_000, max(100, qps * 2)),
        workers=min(10_000, max(10, math.ceil(2 * qps * ANSWER_S))),
        cache_size=MOST_LIVE_JOBS,
        max_system_failures=failures_within(SILENCE, timedelta(seconds=resync_s)),
        quota=max(1000, live_jobs),
    )


def failures_within(silence: timedelta, resync: timedelta) -> int:
    """Return how many polls fail during a silence."""
    return math.ceil(silence / resync)


def carried_jobs(qps: float, resync: timedelta) -> int:
    """Return how many live jobs are asked about once per interval.

    >>> carried_jobs(10, timedelta(seconds=30))
    300
    """
    return int(qps * resync.total_seconds())
