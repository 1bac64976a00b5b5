"""Queries from their task to their result, over a fake platform that checks signatures and computes rows."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from integration.platforms.athena.athena_hosts import KEY, follow, host_for, run, sent
from outboard.agent import Inputs, Phase
from outboard.domain.provided import Provided
from outboard.domain.tasks import RawTask, RunAs
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType, ValueType
from outboard.domain.values import Schema, StructuredDataset
from outboard.errors import InvalidTask, Retry
from outboard.testing.cases.athena import athena_task, hive_task, presto_task, settings_for
from outboard.testing.faults import REPLY_LOST
from outboard.testing.ledger import Course
from outboard.testing.ledger_jobs import FAILED
from outboard.testing.platforms.athena import KEY_ID, QUOTAS, REGION, SECRET, FakeAthena
from outboard.testing.platforms.athena_queries import FakeQuery, Tables
from outboard.testing.platforms.athena_signatures import FakeKey
from outboard.testing.virtual_time import virtually

QUICK = Course(queued_s=1.0, running_s=2.0)
ORDERS = (
    "CREATE TABLE orders AS SELECT * FROM (VALUES (1, 'it''s', 1.5::DOUBLE, DATE '2026-01-02', TRUE), "
    "(2, 'plain', NULL, DATE '2026-01-03', FALSE), (3, NULL, 2.5::DOUBLE, DATE '2026-01-04', NULL)) "
    "t(id, word, amount, day, ok)"
)
INPUTS: Mapping[str, ValueType] = {
    "word": SimpleType.STRING,
    "n": SimpleType.INTEGER,
    "ds": SimpleType.DATETIME,
    "ids": ListType(SimpleType.INTEGER),
}
ROLE = "arn:aws:iam::222222222222:role/team"


def given(task: RawTask, **inputs: Any) -> RawTask:
    interface = Interface(inputs={name: INPUTS[name] for name in inputs}, outputs=task.interface.outputs)
    return replace(task, inputs=Inputs(inputs), interface=interface)


@virtually
async def test_a_query_is_started_signed_followed_and_told_with_its_cost() -> None:
    async with FakeAthena({"SELECT 1": FakeQuery(course=QUICK)}) as server, host_for(settings_for(server.url)) as host:
        task = sent(presto_task("SELECT 1"))
        seen = await follow(host, await host.create_task(task, timeout_s=10), task)
        body = server.bodies[0]
    assert [status.phase for status in seen] == [Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED]
    assert body["QueryExecutionContext"] == {"Catalog": "AwsDataCatalog", "Database": "shop"}
    assert body["WorkGroup"] == "etl"
    assert 32 <= len(body["ClientRequestToken"]) <= 128
    assert body["ResultConfiguration"]["OutputLocation"].startswith("s3://results/athena/ob-f1-n0-0-")
    assert "UNLOAD (\nSELECT 1\n) TO 's3://results/athena/ob-" in body["QueryString"]
    assert "outboard-key=ob-f1-n0-0-" in body["QueryString"]
    facts, links = seen[-1].custom_info or {}, [link.url for status in seen for link in status.links]
    assert facts["bytes_scanned"] == facts["bytes_billed"] == 5 * 2**30
    assert facts["estimated_price"] == pytest.approx(5 * 5 / 1024, abs=1e-6)
    assert f"{REGION}.console.aws.amazon.com/athena/home?region={REGION}#/query-editor/history/" in links[0]
    assert isinstance(seen[-1].outputs["results"], Schema)  # type: ignore[index]


@virtually
async def test_rows_of_a_select_lie_as_parquet_at_the_place_that_is_handed_over() -> None:
    async with FakeAthena(tables=Tables([ORDERS])) as server, host_for(settings_for(server.url)) as host:
        sql = "SELECT id, word FROM orders WHERE word = '{{ .Inputs.word }}' AND id < {{ .inputs.n }} -- all"
        status = await run(host, given(athena_task(sql), word="it's", n=3))
        table = status.outputs["rows"]  # type: ignore[index]
        files = {name: content for name, content in server.objects.items() if name.startswith(table.uri)}
    assert isinstance(table, StructuredDataset)
    assert table.format == "parquet"
    assert server.bodies[0]["ExecutionParameters"] == ["'it''s'", "3"]
    assert "it's" not in server.bodies[0]["QueryString"]
    import pyarrow.parquet as pq

    (content,) = files.values()
    assert pq.read_table(io.BytesIO(content)).to_pylist() == [{"id": 1, "word": "it's"}]


@virtually
async def test_a_task_that_wants_csv_gets_athenas_own_file() -> None:
    async with FakeAthena(tables=Tables([ORDERS])) as server, host_for(settings_for(server.url)) as host:
        status = await run(host, athena_task("SELECT id, amount FROM orders ORDER BY id", resultFormat="csv"))
        table = status.outputs["rows"]  # type: ignore[index]
    assert table.format == "csv"
    assert server.objects[table.uri].decode() == '"id","amount"\n"1","1.5"\n"2",\n"3","2.5"\n'


HOSTILE = "x' OR '1'='1'; DROP TABLE orders; --"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM orders WHERE word = '{{ .inputs.word }}'",
        "SELECT id FROM orders WHERE word = {{ .inputs.word }}",
        "SELECT id FROM orders WHERE word LIKE '%{{ .inputs.word }}%'",
        "SELECT id FROM orders WHERE word = ?",
    ],
)
@virtually
async def test_what_a_user_writes_is_never_more_than_a_value(sql: str) -> None:
    async with FakeAthena(tables=Tables([ORDERS])) as server, host_for(settings_for(server.url)) as host:
        hostile = await run(host, given(athena_task(sql, resultFormat="csv"), word=HOSTILE))
        assert server.objects[hostile.outputs["rows"].uri].decode() == '"id"\n'  # type: ignore[index]
        assert "DROP" not in server.bodies[0]["QueryString"]


@virtually
async def test_a_start_whose_answer_was_lost_is_sent_again_with_the_same_token_and_finds_the_first() -> None:
    async with FakeAthena({"SELECT 1": FakeQuery(course=QUICK)}) as server, host_for(settings_for(server.url)) as host:
        server.faults.add(REPLY_LOST, "create", times=1)
        status = await run(host, presto_task("SELECT 1"))
        tokens = [body["ClientRequestToken"] for body in server.bodies]
    assert status.phase is Phase.SUCCEEDED
    assert len(server.ledger.jobs) == 1
    assert len(tokens) == 2
    assert len(set(tokens)) == 1


@virtually
async def test_many_queries_are_asked_about_fifty_at_once_and_one_that_is_unknown_spoils_none() -> None:
    queries = {f"SELECT {n}": FakeQuery(course=Course(running_s=30.0)) for n in range(60)}
    async with FakeAthena(queries, quotas=QUOTAS) as server, host_for(settings_for(server.url)) as host:
        tasks = [sent(presto_task(f"SELECT {n}"), node=f"n{n}") for n in range(60)]
        handles = [await host.create_task(task, timeout_s=10) for task in tasks]
        lost = next(iter(server.executions))
        server.ledger.forget(lost)
        ends = await asyncio.gather(
            *(follow(host, handle, task, every_s=10.0) for handle, task in zip(handles, tasks, strict=True))
        )
    phases = [seen[-1].phase for seen in ends]
    assert phases.count(Phase.SUCCEEDED) == 59
    assert phases.count(Phase.RETRYABLE_FAILED) == 1
    assert server.calls["BatchGetQueryExecution"] < 60
    assert not server.throttled


@virtually
async def test_a_cancel_is_asked_for_and_the_end_is_seen() -> None:
    async with FakeAthena({"SELECT 1": FakeQuery(course=Course(running_s=None))}) as server:
        async with host_for(settings_for(server.url)) as host:
            task = sent(presto_task("SELECT 1"))
            handle = await host.create_task(task, timeout_s=10)
            await host.delete_task(handle, task_type=task.task_type, timeout_s=10)
        assert server.calls["StopQueryExecution"] >= 1
        assert not server.ledger.live()


@pytest.mark.parametrize(
    ("query", "phase", "code", "words"),
    [
        (FakeQuery(), Phase.FAILED, "1301", "does not exist"),
        (FakeQuery(error=(1, 200, None), reason="engine"), Phase.RETRYABLE_FAILED, "200", "engine"),
        (FakeQuery(error=(1, 200, False), reason="engine"), Phase.FAILED, "200", "engine"),
        (FakeQuery(error=(2, 1403, False), reason="S3 is busy"), Phase.RETRYABLE_FAILED, "1403", "busy"),
        (FakeQuery(error=(3, 233, None), reason="ICEBERG_COMMIT_ERROR: x"), Phase.RETRYABLE_FAILED, "233", "COMMIT"),
        (FakeQuery(error=None, reason="nobody knows"), Phase.FAILED, "FAILED", "nobody knows"),
        (FakeQuery(error=(7, 4242, None), reason="brand new"), Phase.FAILED, "4242", "brand new"),
        (FakeQuery(error=None, reason="Rate exceeded by Glue"), Phase.RETRYABLE_FAILED, "FAILED", "Rate"),
        (FakeQuery(error=(1, 2, False), reason="Query exhausted resources"), Phase.FAILED, "2", "at once"),
        (FakeQuery(error=(2, 4242, True), reason="new"), Phase.RETRYABLE_FAILED, "4242", "new"),
    ],
)
@virtually
async def test_failures_are_told_with_athenas_words_and_its_verdict(
    query: FakeQuery, phase: Phase, code: str, words: str
) -> None:
    query = replace(query, course=Course(running_s=1.0, outcome=FAILED))
    async with FakeAthena({"SELECT 1": query}) as server, host_for(settings_for(server.url)) as host:
        status = await run(host, presto_task("SELECT 1"))
    assert (status.phase, status.error.code if status.error else "") == (phase, code)
    assert words in status.message


@virtually
async def test_a_workgroups_limit_of_bytes_is_the_users_to_mend_and_a_stop_from_outside_is_nobodys() -> None:
    limit = FakeQuery(course=Course(running_s=None), reason="Bytes scanned limit was exceeded")
    stopped = FakeQuery(course=Course(running_s=None))
    async with (
        FakeAthena({"SELECT 1": limit, "SELECT 2": stopped}) as server,
        host_for(settings_for(server.url)) as host,
    ):
        seen = []
        for number in (1, 2):
            task = sent(presto_task(f"SELECT {number}"), node=f"n{number}")
            handle = await host.create_task(task, timeout_s=10)
            server.ledger.settle(list(server.executions)[-1], "CANCELLED")
            seen.append((await follow(host, handle, task))[-1])
    assert [status.phase for status in seen] == [Phase.FAILED, Phase.FAILED]
    assert [status.error.code for status in seen if status.error] == ["BYTES_SCANNED_LIMIT", "CANCELLED"]
    assert "workgroup's limit" in seen[0].message
    assert (seen[0].custom_info or {})["bytes_billed"] == 5 * 2**30


@virtually
async def test_a_query_whose_workgroup_keeps_its_rows_fails_with_what_to_do() -> None:
    query = FakeQuery(course=QUICK, has_location=False)
    async with FakeAthena({"SELECT 1": query}) as server, host_for(settings_for(server.url)) as host:
        status = await run(host, presto_task("SELECT 1", resultFormat="csv"))
    assert status.phase is Phase.FAILED
    assert "managed query" in status.message


@virtually
async def test_a_role_is_assumed_with_the_operators_keys_and_only_where_the_operator_allows() -> None:
    async with FakeAthena({"SELECT 1": FakeQuery(course=QUICK)}) as server:
        server.roles[ROLE] = "e-1"
        server.keys[KEY_ID].denied.add("athena:StartQueryExecution")
        settings = settings_for(server.url, allowed_roles=["arn:aws:iam::222222222222:role/*"], external_id="e-1")
        async with host_for(settings) as host:
            task = replace(presto_task("SELECT 1"), run_as=RunAs(iam_role=ROLE))
            assert (await run(host, task)).phase is Phase.SUCCEEDED
            other = replace(presto_task("SELECT 1"), run_as=RunAs(iam_role="arn:aws:iam::333333333333:role/admin"))
            with pytest.raises(InvalidTask, match="allowed_roles"):
                await host.create_task(sent(other), timeout_s=10)
    assert server.calls["STS"] == 1


@virtually
async def test_keys_that_the_engine_provides_go_before_the_operators_and_into_no_handle() -> None:
    async with FakeAthena({"SELECT 1": FakeQuery(course=QUICK)}) as server:
        server.keys = {"AKIATEAM": FakeKey("team-secret", "team-session")}
        provided = Provided(
            secrets={
                "aws_access_key_id": "AKIATEAM",
                "aws_secret_access_key": "team-secret",
                "aws_session_token": "team-session",
            },
            configs={},
        )
        async with host_for(settings_for(server.url)) as host:
            task = replace(sent(presto_task("SELECT 1")), provided=provided)
            handle = await host.create_task(task, timeout_s=10)
            assert (await follow(host, handle, task, provided=provided))[-1].phase is Phase.SUCCEEDED
    assert b"team-s" not in handle


@virtually
async def test_two_regions_have_their_own_queries_and_quotas() -> None:
    async with FakeAthena({"SELECT 1": FakeQuery(course=QUICK)}) as server:
        settings = settings_for(server.url, allowed_regions=["us-*"])
        async with host_for(settings) as host:
            here, there = presto_task("SELECT 1"), presto_task("SELECT 1", region="us-east-1")
            assert (await run(host, here)).phase is Phase.SUCCEEDED
            assert (await run(host, there, node="n1")).phase is Phase.SUCCEEDED
            with pytest.raises(InvalidTask, match="allowed_regions"):
                await host.create_task(sent(presto_task("SELECT 1", region="ap-south-1"), node="n2"), timeout_s=10)
    assert sorted(each.region for each in server.executions.values()) == [REGION, "us-east-1"]


@virtually
async def test_too_many_queries_at_once_wait_and_fail_nothing() -> None:
    queries = {f"SELECT {n}": FakeQuery(course=Course(running_s=60.0)) for n in range(4)}
    async with FakeAthena(queries, at_once=2) as server, host_for(settings_for(server.url)) as host:

        async def one(n: int) -> Phase:
            task = sent(presto_task(f"SELECT {n}"), node=f"n{n}")
            return (await follow(host, await host.create_task(task, timeout_s=10), task, every_s=5.0))[-1].phase

        assert set(await asyncio.gather(*(one(n) for n in range(4)))) == {Phase.SUCCEEDED}
    assert server.throttled["StartQueryExecution"] > 0


@virtually
async def test_result_reuse_is_asked_for_with_the_statement_as_it_is() -> None:
    query = FakeQuery(course=QUICK, is_reused=True)
    async with FakeAthena({"SELECT 1": query}) as server, host_for(settings_for(server.url)) as host:
        status = await run(host, presto_task("SELECT 1", resultFormat="csv", resultReuseMinutes=90.0))
    body: Mapping[str, Any] = server.bodies[0]
    assert body["QueryString"] == "SELECT 1"
    assert body["ResultReuseConfiguration"]["ResultReuseByAgeConfiguration"] == {"Enabled": True, "MaxAgeInMinutes": 90}
    assert (status.custom_info or {})["bytes_billed"] == 0


@virtually
async def test_a_hive_task_runs_in_the_database_that_its_cluster_label_names() -> None:
    async with FakeAthena({"SELECT 1": FakeQuery(course=QUICK)}) as server, host_for(settings_for(server.url)) as host:
        status = await run(host, hive_task("SELECT 1"))
    assert status.phase is Phase.SUCCEEDED
    assert server.bodies[0]["QueryExecutionContext"]["Database"] == "shop"
    assert server.bodies[0]["QueryString"].startswith("SELECT 1\n/* ")


@virtually
async def test_a_date_template_is_bound_by_its_type() -> None:
    async with FakeAthena(tables=Tables([ORDERS])) as server, host_for(settings_for(server.url)) as host:
        sql = "SELECT id FROM orders WHERE day > DATE '{{ .inputs.ds }}' AND ok IS NOT NULL AND id IN (1, {{ .inputs.n }})"
        task = given(athena_task(sql, resultFormat="csv"), ds=datetime(2026, 1, 2, tzinfo=timezone.utc), n=2)
        status = await run(host, task)
        assert server.objects[status.outputs["rows"].uri].decode() == '"id"\n"2"\n'  # type: ignore[index]
    assert server.bodies[0]["ExecutionParameters"] == ["DATE '2026-01-02'", "2"]


@virtually
async def test_a_secret_that_is_missing_or_no_keys_is_told_without_its_value() -> None:
    async with FakeAthena() as server:
        async with host_for(settings_for(server.url, access_key_id=""), {KEY: "swordfish"}) as host:
            status = await run(host, presto_task("SELECT 1"))
        assert "AccessKeyId" in status.message
        assert "swordfish" not in status.message
        whole = json.dumps({"AccessKey": {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET}})
        async with host_for(settings_for(server.url, access_key_id=""), {KEY: whole}) as host:
            assert (await run(host, presto_task("SELECT 1"))).phase is Phase.SUCCEEDED
    assert status.error is not None
    assert status.error.retry is Retry.YES


def test_structured_datasets_say_their_format() -> None:
    assert athena_task("SELECT 1").interface.outputs == {"rows": StructuredDatasetType()}


@virtually
async def test_queries_that_athena_lost_are_told_from_a_batch_in_which_another_one_lives() -> None:
    queries = {f"SELECT {n}": FakeQuery(course=Course(running_s=None)) for n in range(3)}
    async with FakeAthena(queries) as server, host_for(settings_for(server.url)) as host:
        tasks = [sent(presto_task(sql), node=f"n{n}") for n, sql in enumerate(queries)]
        handles = [await host.create_task(task, timeout_s=10) for task in tasks]
        lost = list(server.executions)[:2]
        for query_id in lost:
            server.ledger.forget(query_id)
        pairs = list(zip(handles, tasks, strict=True))
        watching = asyncio.ensure_future(follow(host, *pairs[2], every_s=10.0))
        ends = await asyncio.wait_for(
            asyncio.gather(*(follow(host, handle, task, every_s=10.0) for handle, task in pairs[:2])), 3_600
        )
        watching.cancel()
    assert [seen[-1].phase for seen in ends] == [Phase.RETRYABLE_FAILED] * 2
