"""Databricks' own SDK against the workspace of the test kit, and our bodies through its classes: both keep the API's form."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from integration.platforms.databricks.databricks_hosts import settings_of
from outboard.agent import Key, Task
from outboard.platforms.databricks.config import RunConfig
from outboard.platforms.databricks.run_specs import submission_of
from outboard.testing.cases.databricks import function_task, notebook_task
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks_sql import DatabricksSqlServer

sdk = pytest.importorskip("databricks.sdk")
errors = pytest.importorskip("databricks.sdk.errors")
jobs = pytest.importorskip("databricks.sdk.service.jobs")
sql = pytest.importorskip("databricks.sdk.service.sql")

KIT_TOKEN = "dapi-test"  # noqa: S105 - made up
KEY = Key("ob-f3a-n0-0-qilvvfbmnr54tfbudsjhdzhlqu")


@pytest.fixture
def server() -> Any:
    with DatabricksSqlServer({"instant": Course(running_s=0), "long": Course(running_s=None)}) as running:
        yield running


@pytest.fixture
def client(server: DatabricksSqlServer) -> Any:
    return sdk.WorkspaceClient(
        config=sdk.core.Config(host=server.url, token=KIT_TOKEN, auth_type="pat", retry_timeout_seconds=2)
    )


def body_of(task: Task[Any], server: DatabricksSqlServer) -> dict[str, Any]:
    known = task.with_config(RunConfig.model_validate(task.config))
    return submission_of(known, KEY, {"a": "b"}, settings_of(server))


def test_the_sdk_starts_follows_lists_and_cancels_runs(client: Any, server: DatabricksSqlServer) -> None:
    task = jobs.SubmitTask(
        task_key="t", existing_cluster_id="c", spark_python_task=jobs.SparkPythonTask(python_file="dbfs:/x.py")
    )
    first = client.jobs.submit(run_name="long x", tasks=[task], idempotency_token=KEY.text).response.run_id
    again = client.jobs.submit(run_name="long x", tasks=[task], idempotency_token=KEY.text).response.run_id
    assert first == again
    run = client.jobs.get_run(first)
    assert run.state.life_cycle_state is jobs.RunLifeCycleState.RUNNING
    assert run.status.state is jobs.RunLifecycleStateV2State.RUNNING
    assert [each.run_id for each in client.jobs.list_runs(active_only=True)] == [first]
    client.jobs.cancel_run(first)
    ended = client.jobs.get_run(first)
    assert ended.state.result_state is jobs.RunResultState.CANCELED
    assert ended.status.termination_details.code is jobs.TerminationCodeCode.USER_CANCELED
    assert client.jobs.get_run_output(ended.tasks[0].run_id).logs
    assert list(client.jobs.list_runs(active_only=True)) == []


def test_the_sdk_takes_the_kits_refusals_for_what_they_are(client: Any) -> None:
    with pytest.raises(errors.ResourceDoesNotExist):
        client.jobs.get_run(404)
    with pytest.raises(errors.InvalidParameterValue):
        client.jobs.submit(run_name="x", tasks=[])
    with pytest.raises(errors.NotFound):
        client.statement_execution.get_statement("01f0a1b2-0000")


@pytest.mark.parametrize("task", [function_task("instant"), notebook_task("instant")], ids=["function", "notebook"])
def test_what_we_submit_is_what_the_sdks_classes_know(task: Task[Any], server: DatabricksSqlServer) -> None:
    body = body_of(task, server)
    for each in body["tasks"]:
        assert jobs.SubmitTask.from_dict(each).as_dict() == each
    if "git_source" in body:
        assert jobs.GitSource.from_dict(body["git_source"]).as_dict() == body["git_source"]


def test_a_service_principal_logs_in(server: DatabricksSqlServer) -> None:
    server.access.principals["sp"] = "secret"
    answer = requests.post(
        f"{server.url}/oidc/v1/token",
        auth=("sp", "secret"),
        data={"grant_type": "client_credentials", "scope": "all-apis"},
        timeout=5,
    )
    assert answer.json()["expires_in"] == 3600


def test_the_sdk_runs_statements_and_finds_them_in_the_history(client: Any) -> None:
    started = client.statement_execution.execute_statement(
        statement="SELECT forever", warehouse_id="w", wait_timeout="0s", query_tags=[sql.QueryTag(key="a", value="b")]
    )
    assert started.status.state is sql.StatementState.PENDING
    got = client.statement_execution.get_statement(started.statement_id)
    assert got.status.state is sql.StatementState.RUNNING
    listed = client.query_history.list(filter_by=sql.QueryFilter(statement_ids=[started.statement_id]))
    (entry,) = listed.res
    assert (entry.query_id, entry.status) == (started.statement_id, sql.QueryStatus.RUNNING)
    assert entry.query_tags[0].as_dict() == {"key": "a", "value": "b"}
    client.statement_execution.cancel_execution(started.statement_id)
    assert client.statement_execution.get_statement(started.statement_id).status.state is sql.StatementState.CANCELED
