"""Query jobs through a host, on the fake platform: what a user sees of each thing that may happen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from prometheus_client import REGISTRY

from integration.platforms.bigquery.bigquery_hosts import TYPE, follow, host_for, run, sent, settings_for
from outboard.agent import Phase, Sql, StructuredDataset
from outboard.domain.provided import Provided
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RunAs
from outboard.errors import Forbidden, InvalidTask, OutboardError, Unavailable
from outboard.service.metrics import MetricsServer
from outboard.testing.cases.bigquery import query_task
from outboard.testing.faults import Cut, Refuse, When
from outboard.testing.ledger import Course
from outboard.testing.ledger_jobs import FAILED, LOST
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery
from outboard.testing.virtual_time import virtually

HERE: dict[str, Any] = {"Location": "US"}
SELECT = query_task("SELECT 1", **HERE)
STATEMENT = query_task("statement", **HERE)


def fake(query: FakeQuery | None = None, **more: Any) -> FakeBigQuery:
    return FakeBigQuery({"statement": query or FakeQuery()}, **more)


async def ended(query: FakeQuery, task: Any = STATEMENT, **settings: Any) -> TaskStatus:
    async with fake(query) as server, host_for(settings_for(server, **settings)) as host:
        status: TaskStatus = await run(host, task)
        return status


@virtually
async def test_a_query_goes_from_pending_to_its_result_with_its_link_in_the_first_answer() -> None:
    query = FakeQuery(course=Course(queued_s=5, running_s=30), bytes_processed=2**40)
    prices = {"price_per_tib": "6.25"}
    async with fake(query) as server, host_for(settings_for(server, **prices)) as host:
        handle = await host.create_task(sent(STATEMENT), timeout_s=10)
        seen = await follow(host, handle)
        (body,) = server.bodies
        assert len(handle) <= 512
    key = body["jobReference"]["jobId"]
    assert [status.phase for status in seen] == [Phase.INITIALIZING, Phase.RUNNING, Phase.SUCCEEDED]
    (link,) = seen[0].links
    assert link.name == "BigQuery Console"
    assert link.url == (
        f"https://console.cloud.google.com/bigquery?project=analytics-prod&j=bq:US:{key}&page=queryresults"
    )
    assert seen[-1].outputs == {"results": StructuredDataset(f"bq://analytics-prod:_anonymous.anon{key}")}
    assert seen[-1].message == f"{2**40:,} bytes billed"
    facts = seen[-1].custom_info or {}
    assert facts["usage"] == {"bytes_billed": 2.0**40, "slot_ms": 1500.0, "duration_s": 30.0, "cost": 6.25}
    assert (facts["statement_type"], facts["cache_hit"], facts["location"]) == ("SELECT", False, "US")
    assert body["configuration"]["labels"]["outboard-key"] == key
    assert body["configuration"]["labels"]["flyte-project"] == "shop"
    labels = {"agent": "bigquery", "account": "bigquery:analytics-prod", "unit": "cost"}
    assert (REGISTRY.get_sample_value("outboard_usage_total", labels) or 0) >= 6.25


@virtually
async def test_a_task_without_a_location_is_pinned_to_where_its_data_are() -> None:
    query = FakeQuery(location="europe-west3")
    async with fake(query) as server, host_for(settings_for(server)) as host:
        status = await run(host, query_task("statement", Location=None))
        dry, real = server.bodies
    assert status.phase is Phase.SUCCEEDED
    assert (dry["configuration"]["dryRun"], dry["jobReference"]) == (True, {"projectId": "analytics-prod"})
    assert real["jobReference"]["location"] == "europe-west3"


@virtually
async def test_the_operators_location_saves_the_dry_run() -> None:
    async with fake() as server, host_for(settings_for(server, location="US")) as host:
        assert (await run(host, query_task("statement", Location=None))).phase is Phase.SUCCEEDED
        assert len(server.bodies) == 1


@virtually
async def test_a_lost_answer_leaves_one_job_that_is_recognised_by_its_label() -> None:
    async with fake() as server, host_for(settings_for(server)) as host:
        server.faults.add(Cut(when=When.AFTER), "create", times=1)
        assert (await run(host, STATEMENT)).phase is Phase.SUCCEEDED
        assert len(server.ledger.jobs) == 1
        assert server.calls["jobs.insert"] == 2


@virtually
async def test_somebody_elses_job_of_our_id_is_not_taken_for_ours() -> None:
    async with fake() as server, host_for(settings_for(server)) as host:
        await run(host, STATEMENT)
        (body,) = server.bodies
        foreign = server.jobs.popitem()[1]
        foreign.configuration = {**body["configuration"], "labels": {"outboard-key": "somebody-else"}}
        server.jobs[foreign.ledger_id] = foreign
    async with server, host_for(settings_for(server)) as host:
        status = await run(host, STATEMENT)
    assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "duplicate")
    assert "was not started here" in status.message


@virtually
async def test_errors_that_a_job_got_over_do_not_fail_it() -> None:
    status = await ended(FakeQuery(warnings=(("invalid", "a row could not be read"),)))
    assert status.phase is Phase.SUCCEEDED


@virtually
async def test_a_cached_result_costs_nothing() -> None:
    status = await ended(FakeQuery(cache_hit=True), price_per_tib="6.25")
    assert status.message == "from the cache, nothing billed"
    assert (status.custom_info or {})["usage"]["cost"] == 0


@virtually
async def test_slots_of_a_reservation_are_priced_by_the_hour() -> None:
    query = FakeQuery(reservation="p:US.r", slot_ms=7_200_000)
    status = await ended(query, price_per_tib="6.25", price_per_slot_hour="0.06")
    assert (status.custom_info or {})["usage"]["cost"] == 0.12


@virtually
async def test_dml_gives_no_table_but_tells_the_rows() -> None:
    query = FakeQuery(statement_type="UPDATE", affected_rows=1234)
    status = await ended(query, query_task("statement", has_result=False, **HERE))
    assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {})
    assert status.message.startswith("1,234 rows affected")


@virtually
async def test_a_declared_result_that_the_statement_does_not_give_fails_with_what_to_do() -> None:
    status = await ended(FakeQuery(statement_type="UPDATE", affected_rows=1))
    assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "NoResult")
    assert "UPDATE gives no table" in status.message


@virtually
async def test_ddl_gives_the_table_that_it_made() -> None:
    status = await ended(FakeQuery(statement_type="CREATE_TABLE_AS_SELECT", target="daily"))
    assert status.outputs == {"results": StructuredDataset("bq://analytics-prod:analytics.daily")}


@virtually
async def test_a_script_gives_the_result_of_its_last_select_and_the_statistics_of_its_statements() -> None:
    children = (
        FakeQuery(statement_type="CREATE_TABLE_AS_SELECT", target="made"),
        FakeQuery(statement_type="SELECT", bytes_processed=5),
        FakeQuery(statement_type="INSERT"),
    )
    status = await ended(FakeQuery(statement_type="SCRIPT", children=children))
    facts = status.custom_info or {}
    assert facts["child_jobs"] == 3
    assert {child["statement_type"] for child in facts["children"]} == {"CREATE_TABLE_AS_SELECT", "SELECT", "INSERT"}
    outputs: Any = status.outputs
    assert outputs["results"].uri.endswith("_1"), "the anonymous table of the SELECT"


@virtually
async def test_a_cancel_is_asked_and_confirmed() -> None:
    async with fake(FakeQuery(course=Course(running_s=None))) as server, host_for(settings_for(server)) as host:
        handle = await host.create_task(sent(STATEMENT), timeout_s=10)
        await host.get_task(handle, task_type=TYPE)
        await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        assert server.ledger.live() == []
        assert server.calls["jobs.cancel"] == 1
        await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        assert server.calls["jobs.cancel"] == 1, "finished work is left alone"


@virtually
async def test_a_refused_cancel_is_none_and_a_job_that_may_not_be_read_is_not_gone() -> None:
    query = FakeQuery(location="europe-west3", course=Course(running_s=None))
    async with fake(query) as server, host_for(settings_for(server)) as host:
        handle = await host.create_task(sent(query_task("statement", Location="europe-west3")), timeout_s=10)
        refusal = Refuse(status=403, code="accessDenied", words="Access Denied")
        since = time.time()
        server.faults.add(refusal, "get", within=(since, since + 3600))
        server.faults.add(refusal, "cancel", within=(since, since + 7200))
        for _ in range(100):
            status = await host.get_task(handle, task_type=TYPE, timeout_s=10)
            assert not status.phase.is_terminal, status
            await asyncio.sleep(30)
        with pytest.raises(Forbidden):
            await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        await asyncio.sleep(7200)
        assert server.ledger.live() == []


@virtually
async def test_a_job_that_somebody_stops_at_the_console_fails_and_is_not_retried() -> None:
    async with fake(FakeQuery(course=Course(running_s=None))) as server, host_for(settings_for(server)) as host:
        handle = await host.create_task(sent(STATEMENT), timeout_s=10)
        server.ledger.cancel(next(iter(server.ledger.jobs)))
        status = (await follow(host, handle))[-1]
    assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "stopped")


@virtually
async def test_the_next_attempt_takes_over_the_living_job_of_a_lost_one() -> None:
    async with fake(FakeQuery(course=Course(running_s=600))) as server, host_for(settings_for(server)) as host:
        await host.create_task(sent(STATEMENT), timeout_s=10)
        handle = await host.create_task(sent(STATEMENT, attempt=1), timeout_s=10)
        assert (await follow(host, handle))[-1].phase is Phase.SUCCEEDED
        assert len(server.ledger.jobs) == 1


@virtually
async def test_a_living_job_of_our_id_without_our_label_is_not_taken_over() -> None:
    async with fake(FakeQuery(course=Course(running_s=None))) as server, host_for(settings_for(server)) as host:
        await host.create_task(sent(STATEMENT), timeout_s=10)
        (job,) = server.jobs.values()
        job.configuration = {**job.configuration, "labels": {}}
        async with host_for(settings_for(server)) as other:  # which has no record of the first attempt
            await other.create_task(sent(STATEMENT, attempt=1), timeout_s=10)
            await asyncio.sleep(300)  # whether the first attempt's create is still on its way shows within a while
        assert len(server.ledger.jobs) == 2


@virtually
async def test_a_location_that_no_dry_run_tells_is_read_from_the_refusal_of_the_id() -> None:
    query = FakeQuery(location="europe-west3", refuses_dry_runs=True)
    async with fake(query) as server, host_for(settings_for(server)) as host:
        server.faults.add(Cut(when=When.AFTER), "create", times=1)
        status = await run(host, query_task("statement", Location=None))
        assert len(server.ledger.jobs) == 1
    assert status.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_job_that_nobody_heard_of_is_found_although_no_dry_run_tells_its_location(is_cancelled: bool) -> None:
    @virtually
    async def check() -> None:
        query = FakeQuery(location="europe-west3", refuses_dry_runs=True, course=Course(running_s=None))
        async with fake(query) as server, host_for(settings_for(server)) as host:
            server.faults.add(Cut(when=When.AFTER), "create", times=1)
            server.faults.add(Refuse(status=503), "create")
            handle = await host.create_task(sent(query_task("statement", Location=None)), timeout_s=10)
            await asyncio.sleep(0 if is_cancelled else 1800)  # beyond the time in which a create is sent again
            status = await host.get_task(handle, task_type=TYPE, timeout_s=10)
            assert not status.phase.is_terminal, status
            while server.ledger.live():
                with contextlib.suppress(Unavailable):  # an engine asks again
                    await host.delete_task(handle, task_type=TYPE, timeout_s=10)
                status = await host.get_task(handle, task_type=TYPE, timeout_s=10)
                assert not (status.phase.is_terminal and server.ledger.live()), status
                await asyncio.sleep(5)
            assert len(server.ledger.jobs) == 1

    check()


@virtually
async def test_a_query_beyond_its_limit_is_never_started_where_the_operator_asks_for_estimates() -> None:
    query = FakeQuery(bytes_processed=10**12)
    async with fake(query) as server, host_for(settings_for(server, preflight=True)) as host:
        status = await run(host, query_task("statement", maximumBytesBilled="1000000", **HERE))
        assert server.ledger.jobs == {}
    assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "bytesBilledLimitExceeded")
    assert "would read 1,000,000,000,000 bytes, more than the limit of 1,000,000; nothing was started" in status.message


@virtually
async def test_the_operators_limit_holds_for_tasks_that_set_none() -> None:
    status = await ended(FakeQuery(bytes_processed=10**12), maximum_bytes_billed=10**9)
    assert (status.phase, status.error and status.error.code) == (Phase.FAILED, "bytesBilledLimitExceeded")
    assert "nothing was billed" in status.message


def failing(reason: str, words: str) -> FakeQuery:
    return FakeQuery(course=Course(outcome=FAILED), error=(reason, words))


BAD = {
    "an error while it runs": (failing("invalidQuery", "Division by zero"), "FAILED", "Division by zero"),
    "a quota that ends a job": (
        failing("quotaExceeded", "Quota exceeded: free bytes"),
        "RETRYABLE_FAILED",
        "free bytes",
    ),
    "a backend error": (FakeQuery(course=Course(outcome=LOST)), "RETRYABLE_FAILED", "Retrying may solve the problem"),
}
"""What ends a job, the phase, and what the user reads; what keeps one from its start is in `warehouses.bigquery`."""


@pytest.mark.parametrize("name", list(BAD))
def test_what_goes_wrong_is_told_in_bigquerys_words_with_its_verdict(name: str) -> None:
    query, phase, words = BAD[name]

    @virtually
    async def look() -> TaskStatus:
        return await ended(query)

    status: Any = look()
    assert status.phase.value == phase
    assert words in status.message


@virtually
async def test_a_refused_token_waits_for_the_operator_and_a_new_one_goes_on() -> None:
    async with fake(FakeQuery(course=Course(running_s=30))) as server:
        server.accepted = {"first"}
        settings = settings_for(server, login="token", secret="bq")  # noqa: S106 - a name
        async with host_for(settings, {"bq": "first"}) as host:
            handle = await host.create_task(sent(STATEMENT), timeout_s=10)
            server.accepted = set()
            waiting = await host.get_task(handle, task_type=TYPE, timeout_s=10)
            assert waiting.phase in (Phase.RUNNING, Phase.INITIALIZING)
            server.accepted = {"first"}
            assert (await follow(host, handle))[-1].phase is Phase.SUCCEEDED


@virtually
async def test_a_key_of_another_kind_is_refused_and_nobody_asks_the_address_that_it_names() -> None:
    key = {
        "type": "external_account",
        "token_url": "http://169.254.169.254/",
        "credential_source": {"file": "/etc/passwd"},
    }
    async with fake() as server, host_for(settings_for(server, login="google"), {}) as host:
        provided = Provided(secrets={"google_application_credentials": json.dumps(key)})
        task = replace(sent(STATEMENT), provided=provided)
        handle = await host.create_task(task, timeout_s=10)
        status = (await follow(host, handle, provided=provided))[-1]
        assert server.calls == {}
    assert status.phase is Phase.RETRYABLE_FAILED
    assert "no service account's JSON key" in status.message
    assert "169.254" not in status.message


@pytest.mark.parametrize(
    ("task", "error", "words"),
    [
        (query_task("q", ProjectID="other"), InvalidTask, "allowed_projects"),
        (
            replace(SELECT, run_as=RunAs(iam_role="boss@p.iam.gserviceaccount.com")),
            InvalidTask,
            "allowed_service_accounts",
        ),
        (replace(SELECT, config={"Location": "US"}), InvalidTask, "ProjectID"),
        (query_task("q", Location="US/../x"), InvalidTask, "Location"),
    ],
)
def test_what_the_operator_does_not_allow_is_refused_before_anything_is_sent(
    task: Any, error: type[OutboardError], words: str
) -> None:
    @virtually
    async def look() -> None:
        async with fake() as server:
            async with host_for(settings_for(server, allowed_projects=["analytics-*"])) as host:
                with pytest.raises(error, match=words):
                    await host.create_task(sent(task), timeout_s=10)
            assert server.calls == {}

    look()


@virtually
async def test_a_throttled_create_waits_and_starts_one_job() -> None:
    async with fake() as server, host_for(settings_for(server)) as host:
        server.faults.add(
            Refuse(status=429, code="rateLimitExceeded", retry_after=timedelta(seconds=3)), "create", times=3
        )
        assert (await run(host, STATEMENT)).phase is Phase.SUCCEEDED
        assert len(server.ledger.jobs) == 1


@pytest.mark.parametrize("location", ["US", None])
def test_a_job_of_flytekits_connector_is_followed_and_its_result_handed_over(location: str | None) -> None:
    meta = {"job_id": "6f2c1f0a-8d2f-4b0e-9c53-0f7f3b1d2e11", "project": "analytics-prod", "location": location}

    @virtually
    async def look() -> TaskStatus:
        async with fake() as server, host_for(settings_for(server), accept_flytekit_handles=True) as host:
            await start_elsewhere(server, meta["job_id"] or "")
            statuses: list[TaskStatus] = await follow(host, json.dumps(meta).encode())
            return statuses[-1]

    status: Any = look()
    assert status.phase is Phase.SUCCEEDED
    assert status.outputs["results"].uri == f"bq://analytics-prod:_anonymous.anon{meta['job_id']}"


@virtually
async def test_a_handle_without_a_location_is_looked_for_where_the_operator_says() -> None:
    meta = json.dumps({"job_id": "j1", "project": "analytics-prod", "location": None}).encode()
    settings = {"location": "europe-west3"}
    async with (
        fake(FakeQuery(location="europe-west3")) as server,
        host_for(settings_for(server, **settings), accept_flytekit_handles=True) as host,
    ):
        await start_elsewhere(server, "j1", location="europe-west3")
        for _ in range(20):
            status = await host.get_task(meta, task_type=TYPE, timeout_s=10)
            await asyncio.sleep(5)
        assert status.phase is Phase.SUCCEEDED


@virtually
async def test_a_handle_without_a_location_whose_job_is_not_found_is_not_given_up() -> None:
    meta = {"job_id": "j1", "project": "analytics-prod", "location": None}
    async with fake() as server, host_for(settings_for(server), accept_flytekit_handles=True) as host:
        for _ in range(100):
            status = await host.get_task(json.dumps(meta).encode(), task_type=TYPE, timeout_s=10)
            assert not status.phase.is_terminal
            await asyncio.sleep(30)
        assert server.calls["jobs.get"] > 0


async def start_elsewhere(server: FakeBigQuery, job_id: str, location: str = "US") -> None:
    """Start a job as another program does."""
    from aiohttp import ClientSession

    url = f"{server.url}/bigquery/v2/projects/analytics-prod/jobs"
    body = {
        "jobReference": {"jobId": job_id, "location": location},
        "configuration": {"query": {"query": "statement"}},
    }
    async with ClientSession() as session, session.post(url, json=body) as answer:
        assert answer.status == 200


def test_the_sql_part_is_needed() -> None:
    @virtually
    async def look() -> None:
        async with fake() as server, host_for(settings_for(server)) as host:
            status = await run(host, replace(STATEMENT, sql=Sql(statement="")))
            assert (status.phase, "no SQL" in status.message) == (Phase.FAILED, True)
            assert server.bodies == []

    look()


async def test_the_metrics_page_tells_what_a_job_cost_by_account() -> None:
    query = FakeQuery(course=Course(running_s=0), bytes_processed=2**39)
    task = query_task("statement", ProjectID="metered-project", **HERE)
    async with fake(query) as server, host_for(settings_for(server, price_per_tib="6.25")) as host:
        handle = await host.create_task(sent(task), timeout_s=10)
        assert (await follow(host, handle, every_s=0.1))[-1].phase is Phase.SUCCEEDED
    labels = 'outboard_usage_total{account="bigquery:metered-project",agent="bigquery",unit='
    told = [
        line.removeprefix(labels) for line in (await asyncio.to_thread(metrics_page)).splitlines() if labels in line
    ]
    amounts = {line.partition('"}')[0].strip('"'): float(line.rpartition(" ")[2]) for line in told}
    assert amounts.items() >= {"cost": 3.125, "bytes_billed": 2.0**39, "slot_ms": 1500.0}.items()


def metrics_page() -> str:
    metrics = MetricsServer("127.0.0.1", 0)
    try:
        return requests.get(f"http://127.0.0.1:{metrics.port}/metrics", timeout=30).text
    finally:
        metrics.close()
