"""Runs on a workspace of the test kit, through the real host, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from prometheus_client import REGISTRY
from pydantic import SecretStr

from integration.platforms.databricks.databricks_hosts import HOST, TOKEN, Site, site
from outboard.agent import Cause, Container, Registry, Task, TaskType
from outboard.domain.phases import Phase
from outboard.domain.provided import Provided
from outboard.domain.types import Interface, SimpleType
from outboard.errors import OutboardError, Unavailable
from outboard.host import Host, HostSettings
from outboard.host.settings import SecretSettings
from outboard.platforms.databricks.platform import Databricks
from outboard.service.metrics import MetricsServer
from outboard.testing.cases.databricks import function_task, notebook_task, settings_for
from outboard.testing.faults import REPLY_LOST, Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks import number_of, task_run_id
from outboard.testing.virtual_time import virtually

QUICK, LONG = function_task("quick"), function_task("long")


def writing(name: str, outputs: dict[str, Any] | None = None) -> Task[Any]:
    """Return a task whose run writes its outputs where its arguments say."""
    args = ("pyflyte-execute", "--inputs", "i", "--output-prefix", "{{.outputPrefix}}", "--", "t")
    return replace(
        function_task(name),
        container=Container(image="img:1", args=args),
        interface=Interface(outputs={"o0": SimpleType.INTEGER}),
    )


def run_of(at: Site, index: int = -1) -> int:
    return number_of(list(at.server.ledger.jobs)[index])


@virtually
async def test_a_function_succeeds_by_the_files_that_it_wrote() -> None:
    async with site() as at:
        at.server.courses["writes"] = Course(running_s=5, writes_files=True, outputs={"o0": 7})
        handle = await at.start(writing("writes"))
        first = await at.host.get_task(handle)
        assert first.links[0].url == f"https://{HOST}/#job/runs/{run_of(at)}"
        status = await at.end(handle)
        assert status.phase is Phase.SUCCEEDED
        assert {link.name for link in status.links} == {"Databricks run", "Databricks run page"}
        assert status.custom_info is not None
        assert status.custom_info["run_id"] == run_of(at)
        assert status.custom_info["usage"] == {"duration_s": 11.0, "cluster_hours": 0.0031, "node_hours": 0.0093}
        labels = {"agent": "databricks", "account": f"databricks:{HOST}", "unit": "node_hours"}
        assert (REGISTRY.get_sample_value("outboard_usage_total", labels) or 0.0) >= 0.0093


@virtually
async def test_a_run_that_wrote_an_error_or_nothing_did_not_succeed() -> None:
    async with site() as at:
        at.server.courses["raises"] = Course(running_s=1, writes_files=True, error="bad input")
        at.server.courses["silent"] = Course(running_s=1)
        raised, silent = [await at.end(await at.start(writing(name))) for name in ("raises", "silent")]
        assert (raised.phase, raised.message) == (Phase.FAILED, "bad input")
        assert silent.error is not None
        assert (silent.phase, silent.error.code) == (Phase.RETRYABLE_FAILED, "OutputsNotFound")


@virtually
async def test_a_notebook_gives_its_exit_value() -> None:
    async with site() as at:
        at.server.courses["exits"] = Course(running_s=1, outputs={"exit": "42"})
        number = replace(notebook_task("exits"), interface=Interface(outputs={"o0": SimpleType.INTEGER}))
        status = await at.end(await at.start(number))
        assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {"o0": 42})
        without = replace(notebook_task("quick"), interface=Interface())
        assert (await at.end(await at.start(without))).outputs == {}
        silent = await at.end(await at.start(notebook_task("quick")))
        assert silent.phase is Phase.FAILED
        assert "dbutils.notebook.exit" in silent.message


@virtually
async def test_a_failure_brings_the_words_of_the_task_and_a_verdict() -> None:
    async with site() as at:
        status = await at.end(await at.start(function_task("failing")))
        assert status.phase is Phase.RETRYABLE_FAILED
        assert status.message == "Exception: it broke; Workload failed, see run output for details"
        assert status.error is not None
        assert (status.error.code, status.error.cause) == ("RUN_EXECUTION_ERROR", Cause.USER)
        assert (await at.end(await at.start(notebook_task("failing")))).message == status.message


@virtually
async def test_a_run_is_over_although_its_output_cannot_be_read() -> None:
    async with site() as at:
        at.server.faults.add(Refuse(status=500), "output")
        status = await at.end(await at.start(function_task("failing")))
        assert (status.phase, status.message) == (
            Phase.RETRYABLE_FAILED,
            "Workload failed, see run output for details",
        )


@pytest.mark.parametrize(
    ("ending", "phase", "cause"),
    [
        ({"code": "INVALID_CLUSTER_REQUEST", "message": "no such node type"}, Phase.FAILED, Cause.USER),
        ({"code": "CLUSTER_ERROR", "type": "CLOUD_FAILURE"}, Phase.RETRYABLE_FAILED, Cause.PLATFORM),
        (
            {"code": "CLUSTER_ERROR", "type": "CLOUD_FAILURE", "message": "AWS_SPOT: SPOT_INSTANCE_TERMINATION"},
            Phase.RETRYABLE_FAILED,
            Cause.PREEMPTED,
        ),
        ({"result_state": "TIMEDOUT", "code": "CANCELED"}, Phase.RETRYABLE_FAILED, Cause.USER),
        ({"result_state": "CANCELED", "code": "USER_CANCELED", "type": "SUCCESS"}, Phase.FAILED, Cause.CANCELLED_OUTSIDE),
        ({"life_cycle_state": "INTERNAL_ERROR", "code": "", "type": ""}, Phase.RETRYABLE_FAILED, Cause.PLATFORM),
        ({"life_cycle_state": "SKIPPED", "result_state": "", "code": "SKIPPED"}, Phase.FAILED, Cause.USER),
        ({"result_state": "SUCCESS_WITH_FAILURES", "code": "SUCCESS_WITH_FAILURES"}, Phase.SUCCEEDED, None),
    ],
)  # fmt: skip
def test_endings_are_told_as_they_are(ending: dict[str, str], phase: Phase, cause: Cause | None) -> None:
    @virtually
    async def check() -> None:
        async with site() as at:
            handle = await at.start(LONG)
            at.server.end(run_of(at), **ending)
            status = await at.end(handle)
            assert status.phase is phase
            assert (status.error.cause if status.error else None) is cause

    check()


@virtually
async def test_a_lost_answer_starts_no_second_run() -> None:
    async with site() as at:
        at.server.faults.add(REPLY_LOST, "create", times=2)
        assert (await at.end(await at.start(QUICK))).phase is Phase.SUCCEEDED
        assert len(at.server.ledger.jobs) == 1
        assert at.server.ledger.effects["repeated"] >= 1


@virtually
async def test_a_repaired_run_is_the_same_run_and_its_cancel_ends_the_repair() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        run_id = run_of(at)
        at.server.end(run_id, message="lost a table")
        at.server.repair(run_id)
        status = await at.host.get_task(handle)
        while not (status.custom_info or {}).get("repairs"):
            await asyncio.sleep(1)
            status = await at.host.get_task(handle)
        assert status.phase is Phase.RUNNING
        assert status.custom_info is not None
        assert (status.custom_info["repairs"], status.custom_info["latest_repair_id"]) == (1, 70)
        await at.host.delete_task(handle)
        assert not at.server.ledger.live()
        assert at.server.faults.calls["cancel"] == 1


@virtually
async def test_words_of_a_repaired_run_are_those_of_its_latest_attempt() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        run_id = run_of(at)
        at.server.repair(run_id)
        at.server.end(run_id)
        at.server.outputs[task_run_id(run_id, attempt=0)] = {"error": "the old one"}
        at.server.outputs[task_run_id(run_id, attempt=1)] = {"error": "the new one", "error_trace": ""}
        assert (await at.end(handle)).message.startswith("the new one")


@virtually
async def test_a_run_of_many_costs_pages_and_not_calls() -> None:
    async with site() as at:
        handles = await asyncio.gather(*(at.start(LONG) for _ in range(200)))
        before = {name: at.server.faults.calls[name] for name in ("get", "get_many")}
        await asyncio.sleep(30)
        for _ in range(2):
            statuses = await asyncio.gather(*(at.host.get_task(handle) for handle in handles))
            await asyncio.sleep(10)
        assert {status.phase for status in statuses} == {Phase.RUNNING}
        spent = {name: at.server.faults.calls[name] - count for name, count in before.items()}
        assert 0 < spent["get_many"] <= 4 * 9
        assert spent["get"] <= 16  # the first polls, of a few runs each


@virtually
async def test_runs_that_the_listing_has_not_are_asked_for_alone() -> None:
    async with site() as at:
        handles = await asyncio.gather(*(at.start(QUICK) for _ in range(30)), *(at.start(LONG) for _ in range(30)))
        ended = await asyncio.gather(*(at.end(handle) for handle in handles[:30]))
        assert {status.phase for status in ended} == {Phase.SUCCEEDED}
        assert (await at.host.get_task(handles[-1])).phase is Phase.RUNNING


@virtually
async def test_a_purged_run_ends_as_gone_and_another_attempt_is_worth_it() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        await at.host.get_task(handle)
        at.server.ledger.forget(f"job-{run_of(at)}")
        await asyncio.sleep(120)
        status = await at.end(handle, every_s=60)
        assert status.phase is Phase.RETRYABLE_FAILED


@virtually
async def test_the_next_attempt_takes_over_a_run_that_is_alive() -> None:
    async with site() as at:
        await at.start(LONG, node="x", attempt=0)
        again = await at.start(LONG, node="x", attempt=1)
        await at.host.get_task(again)
        await asyncio.sleep(60)
        assert len(at.server.ledger.jobs) == 1


@virtually
async def test_a_run_is_found_by_its_name_where_no_record_of_it_is_left() -> None:
    async with site() as at, at.beside() as other:
        await at.start(LONG, node="x", attempt=0)
        handle = await other.start(LONG, node="x", attempt=1)
        await asyncio.sleep(60)
        assert (await other.host.get_task(handle)).phase is Phase.RUNNING
        assert len(at.server.ledger.jobs) == 1
        at.server.ledger.settle(f"job-{run_of(at)}", "SUCCEEDED")
        ended = await other.start(LONG, node="x", attempt=2)
        assert (await other.end(ended)).phase is Phase.SUCCEEDED
        assert len(at.server.ledger.jobs) == 1


@virtually
async def test_runs_of_others_are_not_taken_for_ours() -> None:
    async with site() as at, at.beside() as other:
        await at.start(LONG, node="x")
        at.server.faults.add(REPLY_LOST, "create", times=1)
        at.server.faults.add(Refuse(status=503), "create")
        handle = await other.start(LONG, node="y")
        while len(at.server.ledger.live()) > 1:
            with contextlib.suppress(Unavailable):  # an engine asks again
                await other.host.delete_task(handle)
            await asyncio.sleep(5)
        (first, second) = at.server.ledger.jobs
        assert at.server.ledger.jobs[second] not in at.server.ledger.live()
        assert at.server.ledger.jobs[first] in at.server.ledger.live()


@virtually
async def test_a_service_principal_logs_in_and_renews_its_token_before_it_ends() -> None:
    login = {"auth": "oauth_m2m", "client_id": "sp-1"}
    async with site(settings=login, secrets={"databricks_client_secret": "s3cret-value"}) as at:
        at.server.access.tokens.clear()
        at.server.access.principals["sp-1"] = "s3cret-value"
        handle = await at.start(LONG)
        for _ in range(30):
            assert (await at.host.get_task(handle)).phase is not Phase.WAITING_FOR_RESOURCES
            await asyncio.sleep(360)
        # Three hours, and a token lasts for one of them: exchanged each 55 minutes.
        assert 3 <= at.server.access.exchanged <= 5
        assert not any("s3cret-value" in header for header in at.server.access.seen)


@virtually
async def test_a_workload_exchanges_its_own_token() -> None:
    login = {"auth": "oidc_federation", "client_id": "sp-1"}
    async with site(settings=login, secrets={"databricks_oidc_token": "a.workload.token"}) as at:
        at.server.access.tokens.clear()
        at.server.access.principals["sp-1"] = "a.workload.token"
        assert (await at.end(await at.start(QUICK))).phase is Phase.SUCCEEDED


@virtually
async def test_a_login_that_is_refused_is_the_operators_matter_and_not_the_runs() -> None:
    login = {"auth": "oauth_m2m", "client_id": "sp-1"}
    async with site(settings=login, secrets={"databricks_client_secret": "wrong-secret"}) as at:
        at.server.access.tokens.clear()
        status = await at.end(await at.start(QUICK))
        assert status.phase is Phase.RETRYABLE_FAILED
        assert "refuses the login" in status.message
        assert not at.server.ledger.jobs


@virtually
async def test_two_projects_have_a_token_each_under_one_name() -> None:
    secrets = {f"a-development/{TOKEN}": "dapi-a", f"b-development/{TOKEN}": "dapi-b"}
    async with site(secrets=secrets) as at:
        at.server.access.tokens = {"dapi-a", "dapi-b"}
        for project in ("a", "b"):
            assert (await at.end(await at.start(QUICK, project=project))).phase is Phase.SUCCEEDED
            assert at.server.access.seen[-1] == f"Bearer dapi-{project}"
        with pytest.raises(OutboardError, match=TOKEN):
            await at.start(QUICK, project="c")


@virtually
async def test_flyte_2_provides_the_token_with_each_request() -> None:
    async with site() as at:
        at.server.access.tokens = {"dapi-provided"}
        config = {**QUICK.config, "secrets": {"databricks_token": "team-token"}}
        provided = Provided(secrets={"databricks_token": "dapi-provided"})
        task = replace(
            at.sent(replace(LONG, config={**config, "databricksConf": LONG.config["databricksConf"]})),
            provided=provided,
        )
        handle = await at.host.create_task(task)
        assert b"dapi-provided" not in handle
        status = await at.host.get_task(handle, provided=provided)
        assert status.phase in (Phase.INITIALIZING, Phase.RUNNING)
        await at.host.delete_task(handle, provided=provided)
        assert not at.server.ledger.live()
        assert set(at.server.access.seen) == {"Bearer dapi-provided"}


@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ({"databricksConf": {"run_name": "x"}}, "names no compute"),
        ({"databricksAuthType": "password"}, "databricksAuthType"),
    ],
)
def test_bad_input_is_refused_with_the_name_of_the_field(custom: dict[str, Any], words: str) -> None:
    """More of it is in `warehouses.databricks`."""

    @virtually
    async def check() -> None:
        async with site() as at:
            try:
                status = await at.end(await at.start(replace(QUICK, config={**QUICK.config, **custom})))
                told = (status.phase, status.message)
            except OutboardError as error:
                told = (Phase.FAILED, error.message)
            assert told[0] is Phase.FAILED
            assert words in told[1]
            assert not at.server.ledger.jobs

    check()


@virtually
async def test_a_quota_of_jobs_per_hour_is_waited_for() -> None:
    async with site() as at:
        words = "There were already 10000 jobs created in past 3600 seconds, exceeding rate limit"
        at.server.faults.add(Refuse(status=400, code="INVALID_STATE", words=words), "create", times=2)
        assert (await at.end(await at.start(QUICK))).phase is Phase.SUCCEEDED
        assert len(at.server.ledger.jobs) == 1


@virtually
async def test_logs_come_when_the_run_is_over() -> None:
    async with site() as at:
        handle = await at.start(QUICK)
        await at.end(handle)
        lines = [line.message async for page in at.host.task_logs(handle) for line in page.lines]
        assert lines[0].startswith("queued as")
        assert lines[-1] == "ended as SUCCEEDED"


@virtually
async def test_a_run_that_flytekits_service_started_is_followed_with_our_own_token() -> None:
    async with site(accept_flytekit_handles=True) as at:
        at.server.access.tokens = {"dapi-test"}
        await at.start(LONG)
        meta = {"databricks_instance": HOST, "run_id": str(run_of(at)), "auth_token": "dapi-of-flytekit"}
        handle = json.dumps(meta).encode()
        kind = TaskType("databricks")
        status = await at.host.get_task(handle, task_type=kind, output_prefix="memory://out/flytekit/0")
        await asyncio.sleep(20)
        status = await at.host.get_task(handle, task_type=kind, output_prefix="memory://out/flytekit/0")
        assert status.phase is Phase.RUNNING
        await at.host.delete_task(handle, task_type=kind)
        assert not at.server.ledger.live()
        assert "Bearer dapi-of-flytekit" not in at.server.access.seen


@virtually
async def test_a_notebook_that_flytekits_service_started_succeeds_without_files() -> None:
    async with site(accept_flytekit_handles=True) as at:
        await at.start(notebook_task("quick"))
        handle = json.dumps({"databricks_instance": HOST, "run_id": str(run_of(at))}).encode()
        while True:
            status = await at.host.get_task(handle, task_type=TaskType("databricks"), output_prefix="memory://f/0")
            if status.phase.is_terminal:
                break
            await asyncio.sleep(5)
        assert (status.phase, status.outputs) == (Phase.SUCCEEDED, {})


@virtually
async def test_a_handle_of_a_host_that_is_not_allowed_any_more_gets_no_credentials() -> None:
    async with site() as at:
        handle = await at.start(LONG)
        narrowed = settings_for(at.server.url).model_copy(
            update={"workspaces": {}, "default_instance": "", "allowed_hosts": ()}
        )
        secrets = SecretSettings(overrides={TOKEN: SecretStr("dapi-test")})
        settings = HostSettings(installation="tests", secrets=secrets, unauthorized_after=timedelta(seconds=10))
        calls = len(at.server.access.seen)
        async with Host(Registry([Databricks(narrowed)]), settings, stores=at.stores) as other:
            for _ in range(20):
                status = await other.get_task(handle)
                await asyncio.sleep(5)
            assert status.phase is Phase.WAITING_FOR_RESOURCES
            assert "allowed_hosts" in status.message
        assert len(at.server.access.seen) == calls


@virtually
async def test_the_metrics_page_tells_what_a_run_cost_by_workspace() -> None:
    async with site(settings={"price_per_node_hour": "2"}) as at:
        at.server.courses["hour"] = Course(running_s=3594, outputs={"exit": "done"})
        await at.end(await at.start(function_task("hour")), every_s=60)
    metrics = MetricsServer("127.0.0.1", 0)
    try:
        page = await asyncio.to_thread(lambda: requests.get(f"http://127.0.0.1:{metrics.port}/metrics", timeout=5).text)
    finally:
        metrics.close()
    cost = f'outboard_usage_total{{account="databricks:{HOST}",agent="databricks",unit="cost"}}'
    (line,) = [each for each in page.splitlines() if each.startswith(cost)]
    assert float(line.rpartition(" ")[2]) == 6.0  # three machines for an hour
