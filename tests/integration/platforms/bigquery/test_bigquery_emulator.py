"""The agent on bqemulator behind the life-cycle proxy; Google's own client sees the same rows, types and jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from integration.platforms.bigquery import bigquery_emulator
from integration.platforms.bigquery.bigquery_hosts import TYPE, follow, host_for, sent, settings_for
from outboard.agent import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import Inputs, RawTask
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType
from outboard.domain.values import Binary
from outboard.host import Host
from outboard.testing.cases.bigquery import query_task
from outboard.testing.faults import Cut, Refuse, When
from outboard.testing.lifecycle_proxy import Life, LifecycleProxy, Stay
from outboard.testing.platforms.bigquery_shape import OPERATIONS, BigQueryShape
from real_parts import tried

PROJECT = "p1"
ORDERS = ((1, "EU", "1.5"), (2, "US", "2.5"), (3, "EU", "3.5"))
ROWS = " UNION ALL ".join(
    f"SELECT {n} AS id, '{region}' AS region, NUMERIC '{amount}' AS amount" for n, region, amount in ORDERS
)
TABLE = f"CREATE TABLE shop.orders AS {ROWS}"
SLOW = Life(pending=Stay(polls=1), running=Stay(polls=2))
ENDLESS = Life(running=Stay(seconds=None))


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    tried(bigquery_emulator.prepared)
    with bigquery_emulator.emulator() as url:
        bigquery_emulator.ask_witness(url, project=PROJECT, setup=["CREATE SCHEMA shop", TABLE])
        yield url


@asynccontextmanager
async def proxied(url: str, life: Life | None = None) -> AsyncIterator[tuple[LifecycleProxy, Host]]:
    async with (
        LifecycleProxy(url, OPERATIONS, BigQueryShape(), life) as proxy,
        host_for(settings_for(proxy.url)) as host,
    ):
        yield proxy, host


def task_of(
    sql: str, inputs: dict[str, tuple[Any, Any]] | None = None, *, has_result: bool = True, **custom: Any
) -> RawTask:
    types = {name: value_type for name, (value_type, _) in (inputs or {}).items()}
    outputs = {"results": StructuredDatasetType()} if has_result else {}
    task = query_task(sql, ProjectID=PROJECT, Location="US", **custom)
    values = Inputs({name: value for name, (_, value) in (inputs or {}).items()})
    return replace(task, inputs=values, interface=Interface(inputs=types, outputs=outputs))


async def done(url: str, task: RawTask) -> TaskStatus:
    async with proxied(url) as (_, host):
        statuses: list[TaskStatus] = await follow(host, await host.create_task(sent(task), timeout_s=30), every_s=0.05)
        return statuses[-1]


async def witness(url: str, **question: Any) -> Any:
    # In a thread, since the proxy that it may ask is served by this loop.
    return await asyncio.to_thread(bigquery_emulator.ask_witness, url, project=PROJECT, **question)


def into(table: str, sql: str) -> str:
    """Return the statement that keeps a query's rows: the emulator ignores destination tables."""
    return f"CREATE OR REPLACE TABLE shop.{table} AS {sql}"


async def test_a_query_walks_through_its_states_and_its_table_holds_what_googles_client_reads(emulator: str) -> None:
    sql = "SELECT region, SUM(amount) AS total, COUNT(*) AS n FROM shop.orders GROUP BY region"
    async with proxied(emulator, SLOW) as (proxy, host):
        handle = await host.create_task(sent(task_of(into("totals", sql))), timeout_s=30)
        seen = await follow(host, handle, every_s=0.3)
        (job,) = proxy.jobs
        shown = await witness(proxy.url, job=job)
    assert [status.phase for status in seen] == [Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED]
    outputs: Any = seen[-1].outputs
    assert outputs["results"].uri == "bq://p1:shop.totals"
    ours, theirs = await witness(emulator, table="p1.shop.totals"), await witness(emulator, query=sql)
    assert ours["rows"] == theirs["rows"]
    assert [field[:2] for field in ours["schema"]] == [field[:2] for field in theirs["schema"]]
    assert (shown["state"], shown["error"], shown["sql"], shown["labels"]["outboard-key"]) == (
        "DONE",
        None,
        into("totals", sql),
        job,
    )


async def only_row(url: str, sql: str) -> dict[str, Any]:
    (row,) = (await witness(url, query=sql))["rows"]
    found: dict[str, Any] = json.loads(row)
    return found


NOON = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
DECLARED = [
    {"name": name, "parameterType": {"type": kind}}
    for name, kind in (("day", "DATE"), ("at", "TIMESTAMP"), ("price", "NUMERIC"))
]
INPUTS = {
    "n": (SimpleType.INTEGER, 7),
    "ratio": (SimpleType.FLOAT, 0.25),
    "flag": (SimpleType.BOOLEAN, True),
    "name": (SimpleType.STRING, "it's; DROP TABLE shop.orders; --"),
    "raw": (SimpleType.BINARY, Binary(b"raw")),
    "day": (SimpleType.DATETIME, NOON),
    "at": (SimpleType.DATETIME, NOON),
    "civil": (SimpleType.DATETIME, NOON),
    "price": (SimpleType.STRING, "12.345"),
    "ids": (ListType(SimpleType.INTEGER), [3, 1]),
}
THEIRS = [
    ["n", "INT64", 7],
    ["ratio", "FLOAT64", 0.25],
    ["flag", "BOOL", True],
    ["raw", "BYTES", "raw"],
    ["name", "STRING", "it's; DROP TABLE shop.orders; --"],
    ["day", "DATE", "2026-03-01"],
    ["at", "TIMESTAMP", "2026-03-01 12:00:00+00:00"],
    ["civil", "DATETIME", "2026-03-01T12:00:00"],
    ["price", "NUMERIC", "12.345"],
    ["ids", "ARRAY:INT64", [3, 1]],
]


async def test_parameters_of_every_type_arrive_as_googles_client_sends_them(emulator: str) -> None:
    sql = f"SELECT {', '.join(f'@{name} AS {name}' for name in INPUTS)}"
    task = task_of(into("parameters", sql), INPUTS, queryParameters=DECLARED)
    status = await done(emulator, task)
    assert status.phase is Phase.SUCCEEDED, status.message
    ours, theirs = (
        await witness(emulator, table="p1.shop.parameters"),
        await witness(emulator, query=sql, parameters=THEIRS),
    )
    assert ours == theirs
    assert len(ours["schema"]) == len(INPUTS)
    assert len((await witness(emulator, query="SELECT * FROM shop.orders"))["rows"]) == 3, "nothing was injected"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "Syntax error"),
        ("SELECT * FROM shop.nowhere", "nowhere"),
        ("SELECT nothing FROM shop.orders", "nothing"),
    ],
)
async def test_a_wrong_query_fails_for_good_in_the_platforms_words(emulator: str, sql: str, words: str) -> None:
    status = await done(emulator, task_of(sql))
    assert status.phase is Phase.FAILED
    assert words.lower() in status.message.lower()


async def test_ddl_dml_and_scripts_run(emulator: str) -> None:
    made = await done(
        emulator, task_of("CREATE OR REPLACE TABLE shop.eu AS SELECT * FROM shop.orders WHERE region = 'EU'")
    )
    changed = await done(emulator, task_of("UPDATE shop.eu SET amount = 9 WHERE id = 1", has_result=False))
    script = "DECLARE n INT64 DEFAULT 5; CREATE OR REPLACE TABLE shop.five AS SELECT n AS n; SELECT n FROM shop.five;"
    scripted = await done(emulator, task_of(script, has_result=False))
    assert [made.phase, changed.phase, scripted.phase] == [Phase.SUCCEEDED] * 3, [
        made.message,
        changed.message,
        scripted.message,
    ]
    outputs: Any = made.outputs
    assert outputs["results"].uri == "bq://p1:shop.eu"
    assert await only_row(emulator, "SELECT amount FROM shop.eu WHERE id = 1") == {"amount": "9.000000000"}
    assert await only_row(emulator, "SELECT n FROM shop.five") == {"n": 5}


async def test_a_lost_answer_is_recognised_by_the_refusal_of_its_id_and_runs_once(emulator: str) -> None:
    await witness(emulator, setup=["CREATE OR REPLACE TABLE shop.log (n INT64)"])
    async with proxied(emulator) as (proxy, host):
        proxy.faults.add(Cut(when=When.AFTER), "create", times=1)
        task = task_of("INSERT INTO shop.log VALUES (1)", has_result=False)
        statuses = await follow(host, await host.create_task(sent(task), timeout_s=30), every_s=0.1)
        assert (len(proxy.jobs), proxy.duplicates) == (1, 1)
    assert statuses[-1].phase is Phase.SUCCEEDED
    assert len((await witness(emulator, query="SELECT n FROM shop.log"))["rows"]) == 1


async def test_a_cancel_ends_the_job_for_us_and_for_googles_client(emulator: str) -> None:
    async with proxied(emulator, ENDLESS) as (proxy, host):
        handle = await host.create_task(sent(task_of("SELECT 1 AS one")), timeout_s=30)
        assert (await host.get_task(handle, task_type=TYPE, timeout_s=10)).phase is Phase.RUNNING
        await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        (job,) = proxy.jobs
        assert (await witness(proxy.url, job=job))["error"]["reason"] == "stopped"
        assert not proxy.jobs[job].is_live


async def test_many_jobs_are_followed_by_listing_them(emulator: str) -> None:
    async with proxied(emulator, Life(running=Stay(seconds=1.5))) as (proxy, host):
        handles = [
            await host.create_task(sent(task_of(f"SELECT {n} AS n"), node=f"n{n}"), timeout_s=30) for n in range(8)
        ]
        ends = await asyncio.gather(*(follow(host, handle, every_s=0.1) for handle in handles))
        assert [statuses[-1].phase for statuses in ends] == [Phase.SUCCEEDED] * 8
        assert proxy.faults.calls["get_many"] > 0


async def test_throttling_and_server_errors_fail_nothing(emulator: str) -> None:
    async with proxied(emulator, SLOW) as (proxy, host):
        proxy.faults.add(Refuse(status=429, code="TOO_MANY_REQUESTS"), "create", times=1)
        proxy.faults.add(Refuse(status=500), "get", times=2)
        handle = await host.create_task(sent(task_of("SELECT 1 AS one")), timeout_s=30)
        assert (await follow(host, handle, every_s=0.2))[-1].phase is Phase.SUCCEEDED
        assert len(proxy.jobs) == 1
