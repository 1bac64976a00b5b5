"""Databricks' own SDK against the workspace of the test kit, and our bodies through its classes: both keep the API's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from integration.platforms.databricks.databricks_emulators import ask_witness
from integration.platforms.databricks.databricks_hosts import settings_of
from outboard.agent import Key, Task
from outboard.platforms.databricks.config import RunConfig
from outboard.platforms.databricks.run_specs import submission_of
from outboard.testing.cases.databricks import function_task, notebook_task
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks_sql import DatabricksSqlServer

KEY = Key("ob-f3a-n0-0-qilvvfbmnr54tfbudsjhdzhlqu")


@pytest.fixture
def server() -> Iterator[DatabricksSqlServer]:
    with DatabricksSqlServer({"instant": Course(running_s=0), "long": Course(running_s=None)}) as running:
        yield running


def body_of(task: Task[Any], server: DatabricksSqlServer) -> dict[str, Any]:
    known = task.with_config(RunConfig.model_validate(task.config))
    return submission_of(known, KEY, {"a": "b"}, settings_of(server))


def test_the_sdk_starts_follows_lists_and_cancels_runs(server: DatabricksSqlServer) -> None:
    seen = ask_witness("a_run", url=server.url, token=KEY.text)
    first, again = seen["ids"]
    assert first == again
    assert seen["live"] == ["RUNNING", "RUNNING"]
    assert (seen["listed"], seen["active"]) == ([first], [])
    assert seen["ended"] == ["CANCELED", "USER_CANCELED"]
    assert seen["logs"]


def test_the_sdk_takes_the_kits_refusals_for_what_they_are(server: DatabricksSqlServer) -> None:
    run, submission, statement = ask_witness("refusals", url=server.url)
    assert "ResourceDoesNotExist" in run
    assert "InvalidParameterValue" in submission
    assert "NotFound" in statement


def test_what_we_submit_is_what_the_sdks_classes_know(server: DatabricksSqlServer) -> None:
    bodies = [body_of(task, server) for task in (function_task("instant"), notebook_task("instant"))]
    seen = ask_witness("as_classes", bodies=bodies)
    assert seen == [{"tasks": body["tasks"], "git_source": body.get("git_source")} for body in bodies]


def test_a_service_principal_logs_in(server: DatabricksSqlServer) -> None:
    server.access.principals["sp"] = "secret"
    answer = requests.post(
        f"{server.url}/oidc/v1/token",
        auth=("sp", "secret"),
        data={"grant_type": "client_credentials", "scope": "all-apis"},
        timeout=5,
    )
    assert answer.json()["expires_in"] == 3600


def test_the_sdk_runs_statements_and_finds_them_in_the_history(server: DatabricksSqlServer) -> None:
    seen = ask_witness("a_statement", url=server.url)
    assert seen["states"] == ["PENDING", "RUNNING", "CANCELED"]
    assert seen["history"] == [True, "RUNNING", {"key": "a", "value": "b"}]
