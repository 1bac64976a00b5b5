"""Statements on an account of the test kit, through the real host, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import REGISTRY

from integration.platforms.snowflake.snowflake_hosts import key_pair, site
from outboard.agent import Cause, Inputs, Phase, Retry, Sql, StructuredDataset
from outboard.domain.provided import Provided
from outboard.domain.tasks import RawTask
from outboard.errors import Unavailable
from outboard.testing.cases.snowflake import statement_task
from outboard.testing.faults import REPLY_LOST, Refuse, throttled
from outboard.testing.ledger import Course
from outboard.testing.platforms.snowflake import Answer, Engine, failing
from outboard.testing.virtual_time import virtually

pytest.importorskip("cryptography", reason="cryptography is not installed")
QUICK, LONG = statement_task("SELECT quick"), statement_task("SELECT long")


def asking(sql: str, inputs: dict[str, Any] | None = None, **config: Any) -> RawTask:
    return replace(statement_task(sql, **config), inputs=Inputs(inputs or {}))


@virtually
async def test_a_statement_runs_with_a_key_pair_and_leaves_its_result_where_it_is() -> None:
    async with site() as at:
        status = await at.run(QUICK)
        handle = next(iter(at.server.asked))
        assert status.phase is Phase.SUCCEEDED
        uri = f"snowflake://FLYTE:myorg-checks/LOADING/SALES/PUBLIC/{handle}"
        assert status.outputs == {"results": StructuredDataset(uri)}
        assert status.custom_info == {"query_id": handle, "rows": 1, "result_partitions": 1, "result_bytes": 100}
        tag = json.loads(at.only["parameters"]["QUERY_TAG"])
        assert tag["outboard-key"].startswith("ob-f7")
        assert "p" in tag.values()
        assert all(header.startswith("Bearer ey") for header in at.server.access.seen)
        assert at.server.woken == 0, "no look at a statement takes a warehouse"


@virtually
async def test_the_link_is_in_the_first_answer() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        (link,) = (await at.host.get_task(handle)).links
        assert link.name == "Snowflake Query Details"
        assert link.url.endswith(f"/history/queries/{next(iter(at.server.asked))}/detail")
        await at.host.delete_task(handle)


@virtually
async def test_a_token_is_renewed_while_a_statement_runs_for_hours() -> None:
    long = Answer(course=Course(running_s=3 * 3_600))
    async with site({"SELECT hours": long}) as at:
        handle = await at.start(statement_task("SELECT hours"))
        status = await at.end(handle, every_s=300)
        assert status.phase is Phase.SUCCEEDED
        assert len(set(at.server.access.seen)) == 4


@pytest.mark.parametrize(("auth", "kind"), [("oauth", "OAUTH"), ("pat", "PROGRAMMATIC_ACCESS_TOKEN")])
def test_a_token_of_either_kind_is_a_login(auth: str, kind: str) -> None:
    @virtually
    async def check() -> None:
        async with site(settings={"auth": auth}, secrets={"snowflake_token": "t0p"}) as at:
            at.server.access.tokens["t0p"] = kind
            assert (await at.run(QUICK)).phase is Phase.SUCCEEDED

    check()


@virtually
async def test_a_key_that_flyte_2_provides_is_used_and_travels_nowhere() -> None:
    pem, public = key_pair()
    async with site(secrets={"other": "x"}) as at:
        at.server.access.keys["JANE"] = public
        task = replace(asking("SELECT quick"), settings={}, config={**QUICK.settings, "user": "jane"})
        provided = Provided(secrets={"snowflake_private_key": pem})
        handle = await at.host.create_task(at.sent(replace(task, provided=provided)))
        status = await at.end(handle, provided=provided)
        assert status.phase is Phase.SUCCEEDED
        assert status.outputs is not None
        assert status.outputs["results"].uri.startswith("snowflake://jane/myorg-checks/LOADING/")
        assert b"PRIVATE" not in handle


@virtually
async def test_inputs_run_as_values_whatever_they_say() -> None:
    evil = "x'); DROP TABLE t; --"
    async with site(engine=Engine()) as at:
        inputs = {"a": evil, "n": 5, "f": 1.5, "b": True, "d": datetime(2026, 1, 2, tzinfo=timezone.utc), "l": [5, 6]}
        sql = "SELECT %(a)s AS a, %(n)s + 1 AS n, %(f)s AS f, %(b)s AS b, CAST(%(d)s AS TIMESTAMP) AS d, 5 IN (%(l)s) AS l"
        status = await at.run(asking(sql, inputs))
        assert status.phase is Phase.SUCCEEDED, status.message
        assert evil not in at.only["statement"]
        (row,) = at.only["answer"].rows
        assert row == [evil, "6", "1.5", "true", "1767312000.000000000", "true"]


@virtually
async def test_rows_are_inserted_in_a_batch() -> None:
    engine = Engine()
    engine.run("CREATE TABLE t (id INTEGER, name VARCHAR)", {})
    async with site(engine=engine) as at:
        task = replace(
            asking("INSERT INTO t (id, name) VALUES (%(id)s, %(name)s)", {"id": [1, 2], "name": ["a", "b'"]}),
            settings={},
            config={**QUICK.settings, "batch": True},
        )
        assert (await at.run(task)).phase is Phase.SUCCEEDED
        assert engine.run("SELECT * FROM t ORDER BY id", {}).rows == [["1", "a"], ["2", "b'"]]


@virtually
async def test_of_several_statements_the_last_ones_result_counts() -> None:
    both = "CREATE TABLE t (x INT); SELECT * FROM t"
    async with site({both: Answer(children=2)}) as at:
        status = await at.run(asking(both, statement_count="2"))
        assert status.phase is Phase.SUCCEEDED
        assert status.outputs is not None
        assert status.outputs["results"].uri.endswith("/01b2c3d4-0002-1e5f-0000-000000000001")
        wrong = await at.run(asking(both))
        assert "statement_count" in wrong.message


@virtually
async def test_a_lost_answer_starts_nothing_twice() -> None:
    async with site() as at:
        at.server.faults.add(REPLY_LOST, "create", times=2)
        assert (await at.run(QUICK)).phase is Phase.SUCCEEDED
        assert (len(at.server.asked), len(set(at.server.request_ids)), len(at.server.request_ids)) == (1, 1, 3)
        assert at.server.woken == 0


@virtually
async def test_a_statement_that_nobody_heard_of_is_found_by_its_tag_and_stopped() -> None:
    async with site() as at:
        at.server.faults.add(REPLY_LOST, "create", times=1)
        at.server.faults.add(Refuse(status=503), "create", times=50)
        handle = await at.start(LONG)
        while at.server.ledger.live():
            with contextlib.suppress(Unavailable):  # an engine asks again
                await at.host.delete_task(handle)
            await asyncio.sleep(5)
        assert not at.server.ledger.live()
        assert len(at.server.ledger.jobs) == 1
        assert at.server.woken >= 1


@virtually
async def test_a_cancel_ends_the_statement_and_one_that_is_over_is_left_alone() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        await at.host.get_task(handle)
        await at.host.delete_task(handle)
        assert not at.server.ledger.live()
        await at.host.delete_task(handle)
        done = await at.start(QUICK)
        await at.end(done)
        await at.host.delete_task(done)
        assert at.server.ledger.effects["cancelled"] == 1


@virtually
async def test_no_end_is_asked_of_a_statement_that_has_just_ended() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        await at.host.get_task(handle)
        at.server.ledger.settle(next(iter(at.server.ledger.jobs)), "SUCCEEDED")
        await at.host.delete_task(handle)
        assert at.server.faults.calls["cancel"] == 0


def ended(status: Any) -> tuple[Phase, Cause, Retry]:
    assert status.error is not None
    return status.phase, status.error.cause, status.error.retry


INCIDENT = failing(
    "000603", "XX000", "SQL execution internal error:\nProcessing aborted by error 300010:1; incident 2."
)


@pytest.mark.parametrize(
    ("answer", "phase", "cause", "words"),
    [
        (failing("002003", "42S02", "Object 'X' does not exist"), Phase.FAILED, Cause.USER, "Object 'X'"),
        (failing("003001", "42501", "Insufficient privileges"), Phase.FAILED, Cause.USER, "grant it to the role"),
        (failing("001003", "42000", "syntax error", is_at_once=True), Phase.FAILED, Cause.USER, "syntax error"),
        (INCIDENT, Phase.RETRYABLE_FAILED, Cause.PLATFORM, "incident 2"),
        (failing("000625", "57014", "has locked table"), Phase.RETRYABLE_FAILED, Cause.PLATFORM, "locked"),
        (Answer(course=Course(outcome="LOST")), Phase.RETRYABLE_FAILED, Cause.PLATFORM, "internal error"),
        (Answer(course=Course(outcome="CANCELLED")), Phase.FAILED, Cause.CANCELLED_OUTSIDE, "canceled"),
    ],
)
def test_a_failed_statement_says_whose_doing_it_was(answer: Answer, phase: Phase, cause: Cause, words: str) -> None:
    @virtually
    async def check() -> None:
        async with site({"SELECT 2": answer}) as at:
            status = await at.run(statement_task("SELECT 2"))
            assert (status.phase, words in status.message) == (phase, True), status.message
            assert status.error is not None
            assert status.error.cause is cause

    check()


@virtually
async def test_snowflake_ends_a_statement_whose_time_is_up() -> None:
    async with site() as at:
        task = replace(at.sent(LONG), timeout=timedelta(seconds=30))
        status = await at.end(await at.host.create_task(task))
        assert at.only["timeout"] == 30
        assert ended(status) == (Phase.FAILED, Cause.USER, Retry.NEVER)
        assert "timeout of 30 second(s)" in status.message
        assert not at.server.ledger.live()


@virtually
async def test_somebody_elses_408_ends_nothing() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        at.server.faults.add(Refuse(status=408, code="", words=""), "get", times=3)
        await asyncio.sleep(10)
        assert (await at.host.get_task(handle)).phase is Phase.RUNNING
        await at.host.delete_task(handle)


@virtually
async def test_a_statement_that_snowflake_forgot_is_lost() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        await at.host.get_task(handle)
        at.server.ledger.forget(next(iter(at.server.ledger.jobs)))
        status = await at.end(handle, every_s=10)
        assert status.phase in (Phase.FAILED, Phase.RETRYABLE_FAILED)


@virtually
async def test_throttled_calls_wait_and_come_through() -> None:
    async with site() as at:
        at.server.faults.add(throttled(timedelta(seconds=2)), "create", times=2)
        at.server.faults.add(throttled(timedelta(seconds=2)), "get", times=2)
        assert (await at.run(QUICK)).phase is Phase.SUCCEEDED


def spent(unit: str) -> float:
    labels = {"agent": "snowflake", "account": "snowflake:myorg-checks", "unit": unit}
    return REGISTRY.get_sample_value("outboard_usage_total", labels) or 0.0


@virtually
async def test_what_a_statement_consumed_is_told_where_the_operator_wants_it() -> None:
    settings = {"query_history": True, "price_per_credit": Decimal(3)}
    async with site(settings=settings) as at:
        before = {unit: spent(unit) for unit in ("cost", "estimated_credits", "bytes_scanned")}
        status = await at.run(QUICK)
        info = dict(status.custom_info or {})
        assert (info["bytes_scanned"], info["elapsed_ms"], info["warehouse_size"]) == (1_048_576, 4_200, "Medium")
        assert (info["estimated_credits"], info["cloud_services_credits"]) == (0.004, 0.000041)
        assert info["usage"]["cost"] == 0.012
        assert {unit: spent(unit) - before[unit] for unit in before} == pytest.approx(
            {"cost": 0.012, "estimated_credits": 0.004, "bytes_scanned": 1_048_576}
        )
        assert at.server.woken == 1
        at.server.faults.add(Refuse(status=403, code="003001", words="no"), "find")
        assert (await at.run(QUICK)).phase is Phase.SUCCEEDED


@virtually
async def test_a_refused_login_is_the_operators_and_a_key_that_is_mended_helps() -> None:
    async with site() as at:
        (pem, public), at.server.access.keys["FLYTE"] = key_pair(), other_key()
        handle = await at.start(QUICK)
        status = await at.end(handle)
        assert ended(status) == (Phase.RETRYABLE_FAILED, Cause.PLATFORM, Retry.YES)
        assert "JWT token is invalid" in status.message
        at.server.access.keys["FLYTE"] = public
        assert (await at.run(QUICK)).phase is Phase.SUCCEEDED
        assert "PRIVATE KEY" in pem


def other_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()


@virtually
async def test_a_running_statement_survives_a_refused_login() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        await at.host.get_task(handle)
        public, at.server.access.keys["FLYTE"] = at.server.access.keys["FLYTE"], other_key()
        await asyncio.sleep(600)
        assert (await at.host.get_task(handle)).phase is Phase.RUNNING
        at.server.access.keys["FLYTE"] = public
        await asyncio.sleep(60)
        assert (await at.host.get_task(handle)).phase is Phase.RUNNING
        await at.host.delete_task(handle)
        assert not at.server.ledger.live()


@virtually
async def test_a_query_of_flytekits_service_is_followed() -> None:
    async with site(accept_flytekit_handles=True) as at:
        await at.start(QUICK)
        query_id = next(iter(at.server.asked))
        place = {name: QUICK.settings[name] for name in ("user", "account", "database", "schema", "warehouse")}
        meta = json.dumps({**place, "query_id": query_id, "has_output": True}).encode()
        status = await at.end(meta, task_type=QUICK.task_type, output_prefix="memory://elsewhere")
        assert status.phase is Phase.SUCCEEDED
        assert status.outputs is not None
        assert status.outputs["results"].uri.endswith(f"/{query_id}")


@virtually
async def test_sql_that_is_missing_is_told_before_anything_is_sent() -> None:
    async with site() as at:
        status = await at.run(replace(QUICK, sql=None))
        assert (status.phase, "no SQL" in status.message) == (Phase.FAILED, True)
        empty = await at.run(replace(QUICK, sql=Sql(statement=" ")))
        assert empty.phase is Phase.FAILED
        assert not at.server.access.seen
