"""SQL statements on a warehouse of the test kit, through the real host, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from integration.platforms.databricks.databricks_hosts import site
from outboard.agent import Cause, Inputs, Sql, StructuredDataset, Task
from outboard.domain.phases import Phase
from outboard.domain.types import BlobType, Interface, ListType, SimpleType, StructuredDatasetType, ValueType
from outboard.errors import Unavailable
from outboard.testing.cases.databricks import sql_task
from outboard.testing.faults import REPLY_LOST, Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks import RULES
from outboard.testing.platforms.databricks_sql import Answer
from outboard.testing.virtual_time import virtually

COLUMNS = [("id", "LONG"), ("name", "STRING"), ("price", "DOUBLE")]
DATA = [[str(n), f"n{n}" if n % 2 else None, f"{n}.5"] for n in range(5)]
ROWS = [{"id": n, "name": f"n{n}" if n % 2 else None, "price": n + 0.5} for n in range(5)]
SELECT = "SELECT * FROM t WHERE day = :day"
QUICK, LONG = sql_task("SELECT 1 AS one"), sql_task("SELECT forever")


def asking(statement: str, outputs: dict[str, ValueType], **inputs: Any) -> Task[Any]:
    return Task(
        type="databricks_sql",
        config={},
        sql=Sql(statement=statement),
        inputs=Inputs(inputs),
        interface=Interface(outputs=outputs),
    )


@virtually
async def test_rows_come_with_their_types_chunk_by_chunk() -> None:
    async with site() as at:
        at.server.answers[SELECT] = Answer(columns=COLUMNS, rows=DATA)
        task = asking(SELECT, {"rows": ListType(SimpleType.STRUCT), "n": SimpleType.INTEGER}, day="2026-01-01")
        status = await at.end(await at.start(task))
        assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {"rows": ROWS, "n": 5})
        assert status.custom_info is not None
        assert status.custom_info["bytes_read"] == 1_048_576
        (body,) = at.server.asked.values()
        assert body["parameters"] == [{"name": "day", "type": "STRING", "value": "2026-01-01"}]
        assert "2026-01-01" not in body["statement"]
        assert at.server.faults.calls["find"] <= 1


@pytest.mark.parametrize("kind", [StructuredDatasetType(), BlobType(format="parquet")], ids=["dataset", "file"])
def test_a_table_is_written_as_parquet_at_the_output_prefix(kind: ValueType, tmp_path: Path) -> None:
    @virtually
    async def check() -> None:
        async with site() as at:
            at.server.answers["SELECT * FROM t"] = Answer(columns=COLUMNS, rows=DATA)
            sent = replace(at.sent(asking("SELECT * FROM t", {"t": kind})), output_prefix=str(tmp_path / "0"))
            status = await at.end(await at.host.create_task(sent))
            assert status.phase is Phase.SUCCEEDED
            assert status.outputs is not None
            assert status.outputs["t"].uri == f"{tmp_path}/0/t"
            if isinstance(kind, StructuredDatasetType):
                assert status.outputs["t"] == StructuredDataset(f"{tmp_path}/0/t", "parquet")
            table = parquet.read_table(tmp_path / "0" / "t")
            assert table.to_pylist() == ROWS
            assert [str(field.type) for field in table.schema] == ["int64", "string", "double"]
            assert at.server.links_followed == 3

    check()


@virtually
async def test_an_empty_result_is_a_table_too() -> None:
    async with site() as at:
        at.server.answers["DELETE FROM t"] = Answer()
        assert (await at.end(await at.start(asking("DELETE FROM t", {})))).outputs == {}
        rows = asking("DELETE FROM t", {"rows": ListType(SimpleType.STRUCT)})
        assert (await at.end(await at.start(rows))).outputs == {"rows": []}


@virtually
async def test_inputs_of_every_kind_are_bound() -> None:
    async with site() as at:
        sql = "SELECT :a, :b, :c, :d, :e"
        at.server.answers[sql] = Answer()
        moment = datetime(2026, 1, 2, tzinfo=timezone.utc)
        task = asking(sql, {}, a=1, b=1.5, c=True, d=moment, e=timedelta(seconds=1))
        assert (await at.end(await at.start(task))).phase is Phase.SUCCEEDED
        types = [each["type"] for each in at.server.asked.popitem()[1]["parameters"]]
        assert types == ["BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "INTERVAL DAY TO SECOND"]


@virtually
async def test_a_statement_whose_answer_was_lost_is_found_and_not_started_again() -> None:
    async with site() as at:
        at.server.faults.add(REPLY_LOST, "create", times=1)
        status = await at.end(await at.start(QUICK))
        assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {"rows": [{"one": 1}]})
        assert len(at.server.asked) == 1


@virtually
async def test_statements_of_others_in_the_history_are_not_taken_for_ours() -> None:
    async with site() as at:
        await at.start(LONG)
        at.server.faults.add(REPLY_LOST, "create", times=1)
        status = await at.end(await at.start(QUICK))
        assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {"rows": [{"one": 1}]})
        at.server.faults.add(REPLY_LOST, "create", times=1)
        handle = await at.start(LONG)
        while len(at.server.ledger.live()) > 1:
            with contextlib.suppress(Unavailable):  # an engine asks again
                await at.host.delete_task(handle)
            await asyncio.sleep(5)
        assert next(iter(at.server.ledger.jobs.values())) in at.server.ledger.live()


@virtually
async def test_a_history_that_is_late_starts_nothing_twice() -> None:
    async with site() as at:
        at.server.ledger.rules = replace(RULES, visible_after=timedelta(minutes=4))
        at.server.faults.add(REPLY_LOST, "create", times=1)
        assert (await at.end(await at.start(QUICK))).phase is Phase.SUCCEEDED
        assert len(at.server.asked) == 1


@virtually
async def test_a_login_that_fails_starts_no_search_for_what_cannot_have_been_sent() -> None:
    login = {"auth": "oauth_m2m", "client_id": "sp-1"}
    async with site(settings=login, secrets={"databricks_client_secret": "s3cret"}) as at:
        at.server.access.principals["sp-1"] = "s3cret"
        at.server.faults.add(Refuse(status=503), "login", times=5)
        assert (await at.end(await at.start(QUICK))).phase is Phase.SUCCEEDED
        assert (len(at.server.asked), at.server.faults.calls["find"]) == (1, 0)


@virtually
async def test_a_cancel_ends_the_statement() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        await at.host.get_task(handle)
        await at.host.delete_task(handle)
        assert not at.server.ledger.live()


@virtually
async def test_a_statement_that_somebody_else_cancelled_says_so() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        at.server.ledger.settle(next(iter(at.server.ledger.jobs)), "CANCELLED")
        status = await at.end(handle)
        assert status.error is not None
        assert (status.phase, status.error.cause) == (Phase.FAILED, Cause.CANCELLED_OUTSIDE)


@virtually
async def test_a_warehouse_in_trouble_is_worth_another_attempt() -> None:
    async with site() as at:
        lost = Answer(course=Course(outcome="FAILED"), error=("RESOURCE_EXHAUSTED", "too busy"))
        at.server.answers["SELECT 2"] = lost
        status = await at.end(await at.start(asking("SELECT 2", {})))
        assert (status.phase, status.message) == (Phase.RETRYABLE_FAILED, "too busy")


@virtually
async def test_live_statements_of_many_are_asked_for_at_once() -> None:
    async with site() as at:
        handles = await asyncio.gather(*(at.start(LONG) for _ in range(60)))
        before = {name: at.server.faults.calls[name] for name in ("get", "get_many")}
        await asyncio.sleep(30)
        statuses = await asyncio.gather(*(at.host.get_task(handle) for handle in handles))
        await asyncio.sleep(10)
        statuses = await asyncio.gather(*(at.host.get_task(handle) for handle in handles))
        assert {status.phase for status in statuses} == {Phase.RUNNING}
        assert at.server.faults.calls["get_many"] - before["get_many"] <= 6
        assert at.server.faults.calls["get"] - before["get"] <= 16


@virtually
async def test_metrics_that_cannot_be_had_keep_no_statement_from_its_end() -> None:
    async with site() as at:
        at.server.faults.add(Refuse(status=403, code="PERMISSION_DENIED", words="no"), "metrics")
        assert (await at.end(await at.start(QUICK))).phase is Phase.SUCCEEDED


@virtually
async def test_more_rows_than_values_may_hold_are_told_so() -> None:
    async with site() as at:
        at.server.answers["SELECT many"] = Answer(columns=[("x", "INT")], rows=[["1"]] * 10_001, chunk_rows=20_000)
        status = await at.end(await at.start(sql_task("SELECT many")))
        assert status.phase is Phase.FAILED
        assert "10,000" in status.message
