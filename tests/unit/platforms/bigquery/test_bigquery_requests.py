"""From what both SDKs send to the body of `jobs.insert`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from outboard.agent import Labels, Sql, Task
from outboard.domain.tasks import Inputs
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType
from outboard.errors import InvalidTask
from outboard.platforms.bigquery.config import BigQueryConfig
from outboard.platforms.bigquery.request import dry_run_body, job_body, result_name
from outboard.platforms.bigquery.settings import BigQuerySettings
from real_parts import environment
from unit.platforms.bigquery import bigquery_sdk_tasks

SDK_TASKS: dict[str, dict[str, Any]] = json.loads(bigquery_sdk_tasks.CORPUS.read_text("utf-8"))
LABELS = Labels(provenance={"outboard-key": "ob-1", "project": "Shop"}, user={"Team": "BI"})
DAY = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def task_of(custom: dict[str, Any], sql: str = "SELECT 1", **fields: Any) -> Task[BigQueryConfig]:
    config = BigQueryConfig.model_validate({"ProjectID": "p1", **custom})
    return Task(type="bigquery_query_job_task", config=config, sql=Sql(statement=sql), **fields)


def query_of(task: Task[BigQueryConfig], settings: BigQuerySettings | None = None) -> dict[str, Any]:
    body = job_body(task, settings or BigQuerySettings(), job_id="ob-1", location="EU", labels=LABELS)
    query: dict[str, Any] = body["configuration"]["query"]
    return query


@pytest.mark.parametrize("name", list(SDK_TASKS))
def test_a_task_of_either_sdk_becomes_the_job_that_its_author_wrote(name: str) -> None:
    sent = SDK_TASKS[name]
    task = task_of(
        sent["custom"],
        sent["sql"],
        inputs=Inputs({"day": DAY, "ids": [1, 2]}),
        interface=Interface(inputs={"day": SimpleType.DATETIME, "ids": ListType(SimpleType.INTEGER)}),
    )
    assert task.config.unknown_fields() == {}
    body = job_body(task, BigQuerySettings(), job_id="ob-1", location="EU", labels=LABELS)
    query = body["configuration"]["query"]
    assert body["jobReference"] == {"projectId": "analytics-prod", "jobId": "ob-1", "location": "EU"}
    assert (query["query"], query["useLegacySql"], query["parameterMode"]) == (sent["sql"], False, "NAMED")
    written = {
        key: value
        for key, value in sent["custom"].items()
        if key not in ("ProjectID", "Location", "Domain", "secrets", "queryParameters")
    }
    assert {key: query[key] for key in written} == written
    parameters = {each["name"]: each for each in query["queryParameters"]}
    assert parameters["ids"]["parameterValue"] == {"arrayValues": [{"value": "1"}, {"value": "2"}]}
    if "whole" in name:
        assert parameters["day"]["parameterType"] == {"type": "DATE"}
        assert parameters["day"]["parameterValue"] == {"value": "2026-03-01"}
        assert parameters["region"]["parameterValue"] == {"value": "EU"}
    else:
        assert parameters["day"]["parameterValue"] == {"value": "2026-03-01T12:00:00.000000"}


def test_the_corpus_is_what_the_task_classes_of_both_sdks_send_today() -> None:
    command = [str(environment("bigquery")), bigquery_sdk_tasks.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == SDK_TASKS


def test_integers_come_back_from_the_floats_of_a_struct() -> None:
    query = query_of(task_of({"maximumBillingTier": 2.0, "rangePartitioning": {"range": {"start": 0.0, "end": 10.0}}}))
    assert query["maximumBillingTier"] == 2
    assert json.dumps(query["rangePartitioning"]) == '{"range": {"start": 0, "end": 10}}'


def test_a_field_that_is_younger_than_this_package_is_passed_on() -> None:
    assert query_of(task_of({"someNewOption": {"level": 3.0}}))["someNewOption"] == {"level": 3}


def test_labels_are_provenance_first_and_fit_googles_rules() -> None:
    task = task_of({"labels": {"Cost Centre": "42", "outboard-key": "forged"}})
    settings = BigQuerySettings(labels={"env": "Prod"})
    body = job_body(task, settings, job_id="ob-1", location="", labels=LABELS)
    assert body["configuration"]["labels"] == {
        "outboard-key": "ob-1",
        "project": "shop",
        "team": "bi",
        "env": "prod",
        "cost-centre": "42",
    }


@pytest.mark.parametrize(
    ("asked", "allowed", "sent"), [("500", 1000, "500"), ("5000", 1000, "1000"), (None, 7, "7"), ("9", None, "9")]
)
def test_the_smaller_byte_limit_holds(asked: str | None, allowed: int | None, sent: str) -> None:
    custom = {} if asked is None else {"maximumBytesBilled": asked}
    assert query_of(task_of(custom), BigQuerySettings(maximum_bytes_billed=allowed))["maximumBytesBilled"] == sent


def test_without_any_limit_none_is_sent() -> None:
    assert "maximumBytesBilled" not in query_of(task_of({}))


def test_a_dry_run_has_no_id_no_labels_and_no_limit() -> None:
    body = dry_run_body(task_of({"maximumBytesBilled": "5"}), BigQuerySettings(), location="")
    assert body["jobReference"] == {"projectId": "p1"}
    assert body["configuration"]["dryRun"] is True
    assert set(body["configuration"]) == {"query", "dryRun"}
    assert "maximumBytesBilled" not in body["configuration"]["query"]


def test_bigquery_ends_a_job_that_outlives_its_tasks_timeout() -> None:
    task = task_of({"jobTimeoutMs": "90000", "reservation": "projects/p/r"}, timeout=timedelta(minutes=1))
    body = job_body(task, BigQuerySettings(), job_id="ob-1", location="EU", labels=LABELS)
    assert (body["configuration"]["jobTimeoutMs"], body["configuration"]["reservation"]) == ("60000", "projects/p/r")


def test_the_same_task_makes_the_same_request() -> None:
    task = task_of({"Location": "EU"}, inputs=Inputs({"b": 1, "a": {"y": 1, "x": 2}}))
    bodies = {
        json.dumps(job_body(task, BigQuerySettings(), job_id="ob-1", location="EU", labels=LABELS)) for _ in range(3)
    }
    assert len(bodies) == 1


def test_an_input_never_reaches_the_sql() -> None:
    hostile = "'; DROP TABLE users; --"
    task = task_of({}, "SELECT @name", inputs=Inputs({"name": hostile}))
    query = query_of(task)
    assert query["query"] == "SELECT @name"
    assert query["queryParameters"][0]["parameterValue"] == {"value": hostile}


@pytest.mark.parametrize(
    ("custom", "sql", "inputs", "words"),
    [
        ({}, "  ", {}, "the task has no SQL"),
        ({"query": "SELECT 2"}, "SELECT 1", {}, "differ; keep one"),
        ({}, "SELECT {{ .Inputs.n }}", {"n": 1}, "write @name for an input"),
        ({"useLegacySql": True}, "SELECT 1", {"n": 1}, "legacy SQL takes no parameters"),
        ({"queryParameters": [{"parameterType": {"type": "INT64"}}]}, "SELECT ?", {"n": 1}, "without a name"),
    ],
)
def test_sql_that_cannot_be_sent_as_it_is_is_refused(
    custom: dict[str, Any], sql: str, inputs: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidTask, match=words):
        query_of(task_of(custom, sql, inputs=Inputs(inputs)))


def test_positional_parameters_without_inputs_are_passed_on() -> None:
    parameter = {"parameterType": {"type": "INT64"}, "parameterValue": {"value": "1"}}
    query = query_of(task_of({"queryParameters": [parameter]}, "SELECT ?"))
    assert (query["queryParameters"], query["parameterMode"]) == ([parameter], "POSITIONAL")


@pytest.mark.parametrize(
    ("custom", "field"),
    [
        ({"ProjectID": "p/../q"}, "ProjectID"),
        ({"ProjectID": ""}, "ProjectID"),
        ({"Location": "EU&x=1"}, "Location"),
        ({"priority": "URGENT"}, "priority"),
        ({"maximumBytesBilled": "-1"}, "maximumBytesBilled"),
        ({"destinationTable": {"datasetId": "d"}}, "destinationTable.tableId"),
    ],
)
def test_a_wrong_field_is_named(custom: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        task_of(custom)
    assert ".".join(map(str, caught.value.errors()[0]["loc"])) == field


def test_a_typo_is_told_with_what_was_meant() -> None:
    assert task_of({"maximumBytesBiled": "5"}).config.unknown_fields() == {"maximumBytesBiled": "maximumBytesBilled"}


def test_the_one_declared_table_is_the_result() -> None:
    task = task_of({}, interface=Interface(outputs={"results": StructuredDatasetType()}))
    assert result_name(task) == "results"
    assert result_name(replace(task, interface=Interface())) == ""


@pytest.mark.parametrize(
    "outputs", [{"n": SimpleType.INTEGER}, {"a": StructuredDatasetType(), "b": StructuredDatasetType()}]
)
def test_outputs_that_no_query_gives_are_refused_before_it_runs(outputs: dict[str, Any]) -> None:
    with pytest.raises(InvalidTask, match="gives one output"):
        result_name(task_of({}, interface=Interface(outputs=outputs)))
