"""A thousand jobs at once, at the quota that the vendor documents: what they cost, and how late their ends are known.

A warehouse's module hands in its fake platform, whose ledger knows when each job ended, and its tasks; an engine of this
process sends all of them and polls each as FlytePropeller does. Time is virtual.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from outboard.domain.endpoints import Endpoint
from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.testing.ledger import Ledger
from tables.sections import Section
from warehouses.measures import POLL_S

JOBS: Final = 1_000
"""What `make warehouses` sends; the tests beside it send fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Many jobs, from their creation until an engine knew of their ends.

    Attributes:
        handles_s: Until the last handle was there.
        all_s: Until the last end was known.
        polls: GetTask calls.
        phases: How the tasks ended.
        seen_at: When each task's end was known, in `time.time()`, in the order of the tasks.
        ended_at: When each job ended at the platform, likewise.
        jobs: How many jobs the platform had.
    """

    handles_s: float
    all_s: float
    polls: int
    phases: Mapping[str, int]
    seen_at: Sequence[float]
    ended_at: Sequence[float]
    jobs: int

    @property
    def lags_s(self) -> list[float]:
        """From each job's end to the answer that told it, in order of size."""
        return sorted(seen - ended for seen, ended in zip(self.seen_at, self.ended_at, strict=True))


async def follow_all(
    endpoint: Endpoint,
    tasks: Mapping[str, RawTask],
    ledger: Ledger,
    job_ids: Callable[[], Mapping[str, str]],
    *,
    poll_s: float = POLL_S,
) -> Followed:
    """Send all tasks at once and poll each until it has ended, as FlytePropeller does.

    Args:
        endpoint: The host.
        tasks: By name, as an engine sends them: each with an identity and an output prefix of its own.
        ledger: The platform's jobs.
        job_ids: Returns, once all have ended, each name's job in the ledger.
        poll_s: Between two polls of a job; the first comes after a random part of it.
    """
    began = time.monotonic()
    dice = random.Random(len(tasks))  # noqa: S311 - no secret
    polls = 0

    async def follow(handle: bytes, task: RawTask, first_s: float) -> tuple[str, float]:
        nonlocal polls
        await asyncio.sleep(first_s)
        while True:
            polls += 1
            status = await endpoint.get_task(handle, task_type=task.task_type, output_prefix=task.output_prefix)
            if status.phase.is_terminal:
                return status.phase.value, time.time()
            await asyncio.sleep(poll_s)

    handles = await asyncio.gather(*map(endpoint.create_task, tasks.values()))
    handles_s = time.monotonic() - began
    ends = await asyncio.gather(
        *(follow(handle, task, dice.uniform(0, poll_s)) for handle, task in zip(handles, tasks.values(), strict=True))
    )
    all_s, ids = time.monotonic() - began, job_ids()
    return Followed(
        handles_s=handles_s,
        all_s=all_s,
        polls=polls,
        phases=Counter(phase for phase, _ in ends),
        seen_at=[at for _, at in ends],
        ended_at=[ledger.jobs[ids[name]].ended_at() for name in tasks],
        jobs=len(ledger.jobs),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a platform saw of many jobs.

    Attributes:
        name: Of the agent or the kind of job.
        quotas: What is documented, and enforced by the fake, in words.
        followed: What the engine saw, and when the jobs ended.
        calls: How many calls the platform got, by method.
        throttled: How many it refused with "slow down".
    """

    name: str
    quotas: str
    followed: Followed
    calls: Mapping[str, int]
    throttled: int


def loads(title: str, measured: Sequence[Load], *, most_lag_s: float = 3 * POLL_S) -> Section:
    """Show loads; a job too many or too few, a task that did not succeed and a late end are failures."""
    rows, failures = [], []
    for load in measured:
        followed, lags = load.followed, load.followed.lags_s
        tasks = len(lags)
        at = {part: lags[min(tasks - 1, math.ceil(part * tasks) - 1)] for part in (0.5, 0.95, 1.0)}
        rows.append(
            {
                "jobs": f"{load.name}: {tasks:,}",
                "quota": load.quotas,
                "handles after s": round(followed.handles_s, 1),
                "all after s": round(followed.all_s, 1),
                "polls": followed.polls,
                "calls": ", ".join(f"{name} {count:,}" for name, count in load.calls.items() if count),
                "throttled": load.throttled,
                "lag s: median": round(at[0.5], 1),
                "p95": round(at[0.95], 1),
                "longest": round(at[1.0], 1),
            }
        )
        if followed.jobs != tasks or dict(followed.phases) != {Phase.SUCCEEDED.value: tasks}:
            failures.append(f"{load.name}: {tasks} tasks had {followed.jobs} jobs and ended {dict(followed.phases)}")
        if at[0.95] > most_lag_s:
            failures.append(f"{load.name}: 95 % of the ends were known after {at[0.95]:.1f} s only")
    columns = list(rows[0]) if rows else []
    notes = [f"polled every {POLL_S:g} s per job; lag: from the end at the platform to the answer that tells it"]
    return Section(title=title, columns=columns, rows=rows, failures=failures, notes=notes)
