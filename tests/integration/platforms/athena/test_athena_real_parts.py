"""Real parts: boto3 drives our fake, so its wire is AWS's; and the agent's calls run against moto's server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.platforms.athena.athena_hosts import follow, host_for, sent
from integration.platforms.athena.athena_moto import ask_witness, moto, tell
from outboard.agent import Phase
from outboard.testing.cases.athena import presto_task, settings_for
from outboard.testing.faults import REPLY_LOST
from outboard.testing.ledger import Course
from outboard.testing.lifecycle_proxy import Life, Stay
from outboard.testing.platforms.athena import FakeAthena
from outboard.testing.platforms.athena_queries import FakeQuery
from outboard.testing.platforms.athena_shape import AthenaProxy
from real_parts import environment


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("athena")


@pytest.fixture(scope="module")
def moto_url(python: Path) -> Iterator[str]:
    with moto(python) as url:
        yield url


def token() -> str:
    return uuid.uuid4().hex


async def test_awss_own_client_starts_shows_and_stops_queries_of_our_fake(python: Path) -> None:
    queries = {
        "SELECT 1": FakeQuery(course=Course(running_s=0.0)),
        "SELECT 2": FakeQuery(course=Course(running_s=None)),
    }
    first, second = token(), token()
    async with FakeAthena(queries) as server:
        (one,) = await ask_witness(
            python,
            server.url,
            {"name": "start_query_execution", "options": {"QueryString": "SELECT 1", "ClientRequestToken": first}},
        )
        two, again, got, batch, stopped, mismatch = await ask_witness(
            python,
            server.url,
            {"name": "start_query_execution", "options": {"QueryString": "SELECT 2", "ClientRequestToken": second}},
            {"name": "start_query_execution", "options": {"QueryString": "SELECT 1", "ClientRequestToken": first}},
            {"name": "get_query_execution", "options": {"QueryExecutionId": one["QueryExecutionId"]}},
            {
                "name": "batch_get_query_execution",
                "options": {"QueryExecutionIds": [one["QueryExecutionId"], "0" * 36]},
            },
            {"name": "stop_query_execution", "options": {"QueryExecutionId": one["QueryExecutionId"]}},
            {"name": "start_query_execution", "options": {"QueryString": "SELECT 3", "ClientRequestToken": first}},
        )
        (unsigned,) = await ask_witness(
            python,
            server.url,
            {"name": "stop_query_execution", "options": {"QueryExecutionId": "x"}},
            secret="wrong",  # noqa: S106 - of the test
        )
    assert one == again != two
    execution = got["QueryExecution"]
    assert execution["Status"]["State"] == "SUCCEEDED"
    assert execution["Statistics"]["DataScannedInBytes"] == 5 * 2**30
    assert [each["QueryExecutionId"] for each in batch["QueryExecutions"]] == [one["QueryExecutionId"]]
    assert batch["UnprocessedQueryExecutionIds"][0]["ErrorCode"] == "QUERY_EXECUTION_NOT_FOUND"
    assert stopped == {}
    assert mismatch == {"error": "InvalidRequestException", "words": "Idempotent parameters do not match"}
    assert unsigned["error"] == "InvalidSignatureException"


async def test_a_query_goes_through_motos_own_states_and_boto3_sees_what_we_sent(python: Path, moto_url: str) -> None:
    transition = {"progression": "manual", "times": 4}
    tell(moto_url, "state-manager/set-transition", {"model_name": "athena::execution", "transition": transition})
    async with host_for(settings_for(moto_url, workgroup="primary")) as host:
        task = sent(presto_task("SELECT 1 AS one", routingGroup="primary", resultFormat="csv"), node=token())
        seen = await follow(host, await host.create_task(task, timeout_s=10), task, every_s=0.5)
        query_id = (seen[-1].custom_info or {})["query_execution_id"]
        (shown,) = await ask_witness(
            python, moto_url, {"name": "get_query_execution", "options": {"QueryExecutionId": query_id}}
        )
    tell(moto_url, "state-manager/unset-transition", {"model_name": "athena::execution"})
    phases, order = [status.phase for status in seen], (Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED)
    # moto counts questions, and the host asks ahead of the engine's polls: on a slow machine one of the states may go by unseen.
    assert phases == [phase for phase in order if phase in phases]
    assert len(phases) > 1
    assert phases[-1] is Phase.SUCCEEDED
    execution = shown["QueryExecution"]
    assert execution["Query"].startswith("SELECT 1 AS one\n/* outboard-key=")
    assert execution["WorkGroup"] == "primary"
    assert execution["ResultConfiguration"]["OutputLocation"] == seen[-1].outputs["results"].uri  # type: ignore[index]


async def test_behind_the_life_cycle_proxy_tokens_hold_batches_answer_and_cancels_end(
    python: Path, moto_url: str
) -> None:
    import asyncio

    async with AthenaProxy(moto_url, Life(pending=Stay(polls=1), running=Stay(polls=2))) as proxy:
        async with host_for(settings_for(proxy.url)) as host:
            proxy.faults.add(REPLY_LOST, "create", times=1)
            tasks = [sent(presto_task("SELECT 1", routingGroup="primary"), node=f"{token()}-{n}") for n in range(8)]
            # One by one: the emulator's threads share what they write without a lock.
            handles = [await host.create_task(task, timeout_s=10) for task in tasks]
            pairs = zip(handles, tasks, strict=True)
            ends = await asyncio.gather(*(follow(host, handle, task, every_s=0.3) for handle, task in pairs))
        assert [seen[-1].message for seen in ends if seen[-1].phase is not Phase.SUCCEEDED] == []
        assert (len(proxy.jobs), proxy.duplicates) == (8, 1)
        assert proxy.faults.calls["get_many"] > 0
    async with AthenaProxy(moto_url, Life(running=Stay(seconds=None))) as proxy:
        async with host_for(settings_for(proxy.url)) as host:
            task = sent(presto_task("SELECT 1", routingGroup="primary"), node=token())
            handle = await host.create_task(task, timeout_s=10)
            await host.delete_task(handle, task_type=task.task_type, timeout_s=10)
        assert not any(job.is_live for job in proxy.jobs.values())
