"""Following many jobs: what is asked, and that nothing is concluded from what a listing leaves out."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from integration.platforms.bigquery.bigquery_hosts import TYPE, host_for, sent, settings_for
from outboard.agent import Phase
from outboard.host import Host
from outboard.platforms.bigquery.platform import BigQuery
from outboard.platforms.bigquery.settings import BigQuerySettings
from outboard.testing.cases.bigquery import query_task
from outboard.testing.faults import Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery
from outboard.testing.virtual_time import virtually

JOBS = 10
FOREVER = {"SELECT 1": FakeQuery(course=Course(running_s=None))}
CORPUS = Path(__file__).parents[3] / "migration" / "handles" / "flytekit-1.16.31" / "handles.json"


async def started(host: Host) -> list[bytes]:
    tasks = [sent(query_task("SELECT 1", Location="US"), node=f"n{number}") for number in range(JOBS)]
    handles = []
    for task in tasks:
        handles.append(await host.create_task(task, timeout_s=10))
        await asyncio.sleep(1)
    return handles


async def polled(host: Host, handles: list[bytes]) -> list[Phase]:
    await asyncio.sleep(10)
    await asyncio.gather(*(host.get_task(handle, task_type=TYPE) for handle in handles))
    await asyncio.sleep(10)
    answers = await asyncio.gather(*(host.get_task(handle, task_type=TYPE) for handle in handles))
    return [answer.phase for answer in answers]


@virtually
async def test_jobs_that_live_cost_one_page_for_all_of_them() -> None:
    async with FakeBigQuery(FOREVER) as server, host_for(settings_for(server)) as host:
        handles = await started(host)
        server.calls.clear()
        assert await polled(host, handles) == [Phase.RUNNING] * JOBS
        assert server.calls["jobs.get"] == 0
        assert 0 < server.calls["jobs.list"] <= 4


@virtually
async def test_jobs_of_others_on_the_pages_do_not_hide_ours() -> None:
    async with FakeBigQuery(FOREVER, page=3) as server, host_for(settings_for(server)) as host:
        handles = await started(host)
        server.calls.clear()
        assert await polled(host, handles) == [Phase.RUNNING] * JOBS
        assert server.calls["jobs.list"] <= 4, "listing stops where it is worth no more"
        assert server.calls["jobs.get"] > 0


@virtually
async def test_an_identity_that_may_not_list_asks_one_by_one() -> None:
    async with FakeBigQuery(FOREVER) as server, host_for(settings_for(server)) as host:
        handles = await started(host)
        server.faults.add(Refuse(status=403, code="accessDenied"), "get_many")
        server.calls.clear()
        assert await polled(host, handles) == [Phase.RUNNING] * JOBS
        assert server.calls["jobs.get"] >= JOBS


@virtually
async def test_one_job_that_cannot_be_asked_about_hides_no_other() -> None:
    async with FakeBigQuery(FOREVER) as server, host_for(settings_for(server)) as host:
        handles = await started(host)
        ids = [job.reference["jobId"] for job in server.jobs.values()]
        for job in list(server.ledger.jobs)[:-1]:
            server.ledger.settle(job, "SUCCEEDED")
        server.faults.add(Refuse(status=500), "get", about=ids[0])
        phases = await polled(host, handles)
    assert sorted(phase.value for phase in phases) == ["RUNNING"] * 2 + ["SUCCEEDED"] * (JOBS - 2)


@virtually
async def test_a_job_that_bigquery_forgot_ends_as_gone_and_worth_another_attempt() -> None:
    async with FakeBigQuery(FOREVER) as server, host_for(settings_for(server)) as host:
        handles = await started(host)
        assert set(await polled(host, handles)) == {Phase.RUNNING}
        for job in server.ledger.jobs:
            server.ledger.forget(job)
        for _ in range(40):  # ten minutes and more
            phases = await polled(host, handles)
    assert set(phases) == {Phase.RETRYABLE_FAILED}


def test_the_handle_of_flytekits_connector_in_the_corpus_is_read() -> None:
    cases: list[dict[str, Any]] = json.loads(CORPUS.read_text("utf-8"))
    (case,) = [each for each in cases if each["task_type"] == TYPE.name]
    (agent,) = BigQuery().agents()
    connection, job = agent.read_flytekit(json.loads(base64.b64decode(case["handle"])), TYPE)  # type: ignore[attr-defined]
    assert (connection.project, job.id, job.location) == (
        "analytics-prod",
        "6f2c1f0a-8d2f-4b0e-9c53-0f7f3b1d2e11",
        "EU",
    )
    assert agent.read_flytekit({"job_id": 7}, TYPE) is None  # type: ignore[attr-defined]
    (pinned,) = BigQuery(BigQuerySettings(location="asia-northeast1")).agents()
    _, job = pinned.read_flytekit({"job_id": "j1", "project": "p", "location": None}, TYPE)  # type: ignore[attr-defined]
    assert job.location == "asia-northeast1"
