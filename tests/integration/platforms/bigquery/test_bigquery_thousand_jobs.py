"""1,000 jobs at the documented quota, in virtual time: what it costs in calls, and how late an end is seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from integration.platforms.bigquery.bigquery_hosts import TYPE, host_for, sent, settings_for
from outboard.agent import Phase
from outboard.host import Host
from outboard.testing.cases.bigquery import query_task
from outboard.testing.ledger import Course
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery
from outboard.testing.virtual_time import virtually

JOBS = 1_000
RUNNING_S = 120.0
POLL_S = 10.0
QUOTA = 100
QUERIES = {f"SELECT {n}": FakeQuery(course=Course(queued_s=5.0, running_s=RUNNING_S + n / 50)) for n in range(JOBS)}


async def watched(host: Host, server: FakeBigQuery, number: int) -> float:
    """Start a job and poll it as FlytePropeller does; return how long after its end it was answered."""
    task = sent(query_task(f"SELECT {number}", Location="US"), node=f"n{number}")
    handle = await host.create_task(task, timeout_s=10)
    while True:
        status = await host.get_task(handle, task_type=TYPE, output_prefix=task.output_prefix, timeout_s=10)
        if status.phase.is_terminal:
            assert status.phase is Phase.SUCCEEDED
            key = status.custom_info["job_id"] if status.custom_info else ""
            return time.time() - server.ledger.jobs[f"analytics-prod:US.{key}"].ended_at()
        await asyncio.sleep(POLL_S)


@virtually
async def test_a_thousand_jobs_stay_within_the_quota_and_end_in_time() -> None:
    async with FakeBigQuery(QUERIES, quota=QUOTA) as server, host_for(settings_for(server)) as host:
        lags = sorted(await asyncio.gather(*(watched(host, server, number) for number in range(JOBS))))
        report(server.calls, lags)
        assert sum(server.throttled.values()) == 0, "the declared quota is the platform's"
        assert len(server.ledger.jobs) == JOBS
        assert server.calls["jobs.insert"] == JOBS
        assert server.calls["jobs.get"] < 1.5 * JOBS, "one for each end, and a few that a listing missed"
        assert server.calls["jobs.list"] < JOBS, "pages answer for all that live"
        assert lags[-1] < 3 * POLL_S


def report(calls: Mapping[str, int], lags: list[float]) -> None:
    print(  # noqa: T201 - shown with -s
        f"\n{JOBS} jobs: {dict(calls)}, throttled 0, lag median {lags[len(lags) // 2]:.1f} s, "
        f"95 % {lags[int(len(lags) * 0.95)]:.1f} s, worst {lags[-1]:.1f} s at a poll every {POLL_S:g} s"
    )
