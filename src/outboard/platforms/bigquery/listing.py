"""Many jobs at once.

One `jobs.list` of the jobs that are pending or running answers for all that live, in a page per thousand. Whichever of
ours is not on it has ended, is too new to be listed, or belongs to a location that cannot be reached just now; each of
these is asked about by itself. That one call is needed anyway when a job has ended, for its statistics. So the cost of
following N jobs is one page per round of polls, and one `jobs.get` per job in its whole life.

Listing stops after as many pages as are worth it: an identity with thousands of other jobs must not make ours wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from outboard.agent import JobRef
from outboard.errors import AgentError, Forbidden, Unauthorized
from outboard.platforms.bigquery.client import BigQueryClient, Job, job_id_of

LEAST: int = 4
"""For fewer jobs a call for each is as good."""
_JOBS_PER_PAGE = 20
_AT_ONCE = 32
_MARGIN_S = 0.2


class BigQueryJob(JobRef):
    """A query job.

    Attributes:
        location: Where it runs; empty for a job of flytekit's service whose task named none.
        created_ms: When BigQuery created it, in milliseconds since 1970; 0 where that is not known.
        output: By which name its result is handed over; empty where the task declares none.
    """

    location: str = ""
    created_ms: int = 0
    output: str = "results"


Look = Callable[[BigQueryJob], Awaitable[object]]


async def live_among(jobs: Sequence[BigQueryJob], client: BigQueryClient, timeout_s: float) -> Mapping[str, Job]:
    """Return those of the jobs that a listing shows alive; all others are to be asked about one by one."""
    wanted = {job.id for job in jobs if job.created_ms}
    if len(wanted) < LEAST:
        return {}
    times = [job.created_ms for job in jobs if job.created_ms]
    pages = 1 + len(wanted) // _JOBS_PER_PAGE
    found: dict[str, Job] = {}
    try:
        async for job in client.live_jobs(min(times), max(times), pages=pages, timeout_s=timeout_s):
            if job_id_of(job) in wanted:
                found[job_id_of(job)] = job
            if len(found) == len(wanted):
                break
    except Forbidden:
        return found  # an identity that may read its jobs but list none
    return found


async def each(jobs: Sequence[BigQueryJob], look: Look, timeout_s: float) -> dict[str, object]:
    """Return what `look` says of each job, or the `AgentError` it raised; those not heard of in time are left out.

    Raises:
        Unauthorized: The login was refused, which is about none of the jobs: the host logs in again, and asks again.
    """
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(job: BigQueryJob) -> object:
        async with turns:
            try:
                return await look(job)
            except Unauthorized:
                raise
            except AgentError as error:
                return error

    asked = {asyncio.ensure_future(ask(job)): job.id for job in jobs}
    if not asked:
        return {}
    try:
        limit_s = max(0.0, timeout_s - _MARGIN_S)
        done, _ = await asyncio.wait(asked, timeout=limit_s, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for question in asked:
            question.cancel()
    refusals = [error for question in done if (error := question.exception()) is not None]
    if refusals:
        raise refusals[0]
    return {asked[question]: question.result() for question in done}
