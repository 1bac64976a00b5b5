"""From a task to the call that starts its query: shapes of both SDKs, templates, values, places, settings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from pydantic import ValidationError

from outboard.agent import Inputs, Labels, Sql, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.keys import submission_key
from outboard.domain.tasks import RawTask
from outboard.domain.templates import TemplateValues
from outboard.domain.types import Interface, SchemaType, SimpleType, StructuredDatasetType
from outboard.domain.values import Blob
from outboard.errors import InvalidInputs, InvalidTask, Unauthorized
from outboard.platforms.athena.config import AthenaConfig
from outboard.platforms.athena.parameters import execution_parameters, literal
from outboard.platforms.athena.platform import Athena
from outboard.platforms.athena.request import request_token, start_request
from outboard.platforms.athena.settings import AthenaConnection, AthenaSettings
from outboard.platforms.athena.statement import Place, statement_of
from unit.platforms.athena.athena_sdk_tasks import CORPUS

KEY = submission_key("test", ExecutionIdentity(execution="f1", node="n0"), "s3://out/f1/n0/0")
LABELS = Labels(provenance={"outboard-key": KEY.text, "flyte-project": "shop */ DROP"}, user={})
SDK: Mapping[str, Any] = json.loads(CORPUS.read_text())
ENGINE = TemplateValues(raw_output_data_prefix="s3://out/f1/n0/0/athena", generated_name="ob-f1-n0-0", namespace="shop")


def task_of(
    custom: Mapping[str, Any], *, outputs: Any = None, inputs: Mapping[str, Any] | None = None, **more: Any
) -> Any:
    interface = Interface(outputs={"results": outputs} if outputs is not None else {})
    raw: RawTask = Task(
        type="presto",
        config=custom,
        interface=interface,
        inputs=Inputs(inputs or {}),
        output_prefix=more.pop("output_prefix", "s3://out/f1/n0/0"),
        **more,
    )
    return raw.with_config(AthenaConfig.model_validate(custom))


def body_of(task: Any, **settings: Any) -> dict[str, Any]:
    options = AthenaSettings.model_validate(settings)
    return start_request(task, options, key=KEY, labels=LABELS, workgroup="primary")


@pytest.mark.parametrize("name", [name for name in SDK if name != "hive select"])
def test_flytekits_tasks_become_a_statement_with_parameters_and_their_database(name: str) -> None:
    sent = SDK[name]
    outputs = SchemaType() if sent["outputs"] else None
    task = task_of(sent["custom"], outputs=outputs, inputs={"iso_code": "D'E", "least": 3})
    body = body_of(task)
    assert body["ExecutionParameters"] == ["'D''E'", "3"]
    assert "iso_code LIKE ? AND total > ?" in body["QueryString"]
    assert ("UNLOAD (" in body["QueryString"]) is bool(sent["outputs"])
    assert body["QueryExecutionContext"].get("Database", "") == ("" if name == "athena plain" else "vaccinations")
    assert task.config.unknown_fields() == {}


def test_hives_script_for_selects_is_refused_with_what_to_write() -> None:
    with pytest.raises(InvalidTask, match="write the SELECT alone"):
        body_of(task_of(SDK["hive select"]["custom"], outputs=SchemaType()))


@pytest.mark.parametrize(
    ("sql", "sent", "places"),
    [
        ("a = {{ .inputs.x }}", "a = ?", (Place("x"),)),
        ("a = {{.Inputs.x}} AND b={{ $inputs.y }}", "a = ? AND b=?", (Place("x"), Place("y"))),
        ("a = '{{ .inputs.x }}'", "a = ?", (Place("x", is_text=True),)),
        ("a LIKE '%{{ .inputs.x }}_it''s'", "a LIKE ('%' || ? || '_it''s')", (Place("x", is_text=True),)),
        ("d = DATE '{{ .inputs.x }}'", "d = CAST(? AS DATE)", (Place("x", is_text=True, cast="DATE"),)),
        (
            "'?' || a -- ?\n = '{{ .inputs.x }}' /* {{ .inputs.y }} */",
            "'?' || a -- ?\n = ? /* {{ .inputs.y }} */",
            (Place("x", is_text=True),),
        ),
        ("t = '{{ .perRetryUniqueKey }}'", "t = 'ob_f1_n0_0'", ()),
        ("l = '{{ .rawOutputDataPrefix }}/x'", "l = 's3://out/f1/n0/0/athena/x'", ()),
        ("CREATE TABLE t_{{ .PerRetryUniqueKey }} AS SELECT 1", "CREATE TABLE t_ob_f1_n0_0 AS SELECT 1", ()),
    ],
)
def test_templates_become_parameters_where_values_stand(sql: str, sent: str, places: tuple[Place, ...]) -> None:
    statement = statement_of(sql, (), ("x", "y"), ENGINE)
    assert (statement.sql, statement.places) == (sent, places)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT * FROM {{ .inputs.x }}", "never tables"),
        ("SELECT * FROM orders_{{ .inputs.x }}", "never tables"),
        ("SELECT * FROM {{ .inputs.x }}.orders", "never tables"),
        ('SELECT "{{ .inputs.x }}" FROM t', "never names"),
        ("SELECT a FROM t ORDER BY {{ .inputs.x }}", "never tables"),
        ("SELECT {{ .inputs.z }}", "was not given"),
        ("SELECT {{ .nonsense }}", "no template"),
        ("SELECT {{ inputs.x }}", "no template"),
        ("SELECT '{{ inputs.x }}'", "no template"),
        ("SELECT ?, ?", "2 `\\?`"),
    ],
)
def test_templates_in_any_other_place_are_refused(sql: str, words: str) -> None:
    with pytest.raises(InvalidTask, match=words):
        statement_of(sql, (), ("x", "y"), ENGINE)


def test_marks_stand_for_the_inputs_that_the_task_names_in_order() -> None:
    statement = statement_of("SELECT ?, {{ .inputs.x }}, ?", ("y", "x"), ("x", "y"), ENGINE)
    assert [place.name for place in statement.places] == ["y", "x", "x"]


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (-(2**63), str(-(2**63))),
        (True, "true"),
        (1.5, "1.5E0"),
        (1e300, "1E300"),
        (float("-inf"), "-infinity()"),
        (float("nan"), "nan()"),
        (Decimal("1.50"), "DECIMAL '1.50'"),
        ("it's \\ ; -- ?", "'it''s \\ ; -- ?'"),
        (Colour.RED, "'red'"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), "TIMESTAMP '2026-01-02 01:04:05.000'"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc), "TIMESTAMP '2026-01-02 03:04:05.000006'"),
        (datetime(2026, 1, 2).date(), "DATE '2026-01-02'"),  # noqa: DTZ001 - a date has no zone
        (timedelta(seconds=-90.5), "INTERVAL -'90.500' SECOND"),
        (b"\x00\xff", "X'00ff'"),
        ([1, None, 2], "ARRAY[1, NULL, 2]"),
        ([], "ARRAY[]"),
        ({"a": ["it's"]}, "JSON '{\"a\": [\"it''s\"]}'"),
        (Blob("s3://b/x"), "'s3://b/x'"),
        (None, "NULL"),
    ],
)
def test_values_are_whole_literals_of_their_types(value: Any, text: str) -> None:
    assert literal(value, "inputs.x") == text


@pytest.mark.parametrize("value", [2**63, "a\x00b", "\ud800", object(), {"a": float("nan")}, "x" * 1100])
def test_what_is_no_parameter_is_refused_and_named(value: Any) -> None:
    with pytest.raises(InvalidInputs) as refused:
        execution_parameters((Place("x"),), {"x": value})
    assert refused.value.field == "inputs.x"
    assert "xxxx" not in refused.value.message


def test_a_declared_table_decides_how_rows_are_written() -> None:
    parquet, csv = StructuredDatasetType(format="parquet"), StructuredDatasetType(format="csv")
    for outputs, settings, unloads in (
        (SchemaType(), {}, True),
        (SchemaType(), {"result_format": "csv"}, False),
        (parquet, {"result_format": "csv"}, True),
        (csv, {}, False),
        (None, {}, False),
    ):
        assert (
            "UNLOAD (" in body_of(task_of({"statement": "SELECT 1"}, outputs=outputs), **settings)["QueryString"]
        ) is unloads
    ddl = body_of(task_of({"statement": "CREATE TABLE t AS SELECT 1"}, outputs=SchemaType()))
    assert ddl["QueryString"] == "CREATE TABLE t AS SELECT 1"


def test_result_files_go_where_the_task_or_the_operator_says_else_to_the_output_prefix() -> None:
    def place(task: Any, **settings: Any) -> Any:
        return body_of(task, **settings).get("ResultConfiguration", {}).get("OutputLocation")

    select = {"statement": "SELECT 1"}
    assert place(task_of(select)) == "s3://out/f1/n0/0/athena/"
    assert place(task_of(select), output_location="s3://results") == f"s3://results/{KEY.text}/"
    assert place(task_of({**select, "outputLocation": "s3://mine/x/"})) == f"s3://mine/x/{KEY.text}/"
    assert place(task_of(select), uses_workgroup_location=True) is None
    assert place(task_of(select, output_prefix="gs://out/f1")) is None
    with pytest.raises(InvalidTask, match=r"platforms\.athena\.output_location"):
        body_of(task_of(select, outputs=SchemaType(), output_prefix="gs://out/f1"))


def test_encryption_owner_and_provenance_are_on_every_query_and_a_label_cannot_end_the_comment() -> None:
    settings = {"encryption": "SSE_KMS", "kms_key": "k", "bucket_owner": "123456789012", "labels": {"team": "a*/b"}}
    body = body_of(task_of({"statement": "SELECT 1"}), **settings)
    assert body["ResultConfiguration"]["EncryptionConfiguration"] == {"EncryptionOption": "SSE_KMS", "KmsKey": "k"}
    assert body["ResultConfiguration"]["ExpectedBucketOwner"] == "123456789012"
    assert body["QueryString"].count("*/") == 1
    assert body["QueryString"].endswith("*/")
    assert body["ClientRequestToken"] == request_token(KEY) == KEY.text


@pytest.mark.parametrize(
    ("custom", "words"),
    [
        ({}, "no SQL"),
        ({"statement": "-- nothing"}, "no SQL"),
        ({"statement": "SELECT 1; SELECT 2"}, "several statements"),
        ({"statement": "SELECT '" + "x" * 262_144 + "'"}, "256 KiB"),
        ({"statement": "SELECT 1", "schema": "{{ .inputs.x }}"}, "never names"),
        ({"queryCollection": {"queries": [{"query": "SELECT 1"}]}}, "one statement"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_field(custom: Mapping[str, Any], words: str) -> None:
    with pytest.raises(InvalidTask, match=words) as refused:
        body_of(task_of(custom))
    assert (refused.value.field or "").startswith("custom.")


def test_the_sql_may_stand_in_the_template_and_a_semicolon_at_its_end_is_dropped() -> None:
    task = replace(task_of({"database": "shop"}), sql=Sql(statement="SELECT 1 ; "))
    assert body_of(task)["QueryString"].startswith("SELECT 1\n/*")


@pytest.mark.parametrize(
    ("outputs", "is_refused"),
    [({"a": SchemaType(), "b": SchemaType()}, True), ({"a": SimpleType.INTEGER}, True), ({"a": SchemaType()}, False)],
)
def test_a_task_gives_one_table(outputs: Any, *, is_refused: bool) -> None:
    task = replace(task_of({"statement": "SELECT 1"}), interface=Interface(outputs=outputs))
    if is_refused:
        with pytest.raises(InvalidTask, match="gives one output"):
            body_of(task)
    else:
        body_of(task)


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "http://athena.example.com"},
        {"login": "keys"},
        {"encryption": "SSE_KMS"},
        {"region": "nowhere"},
        {"role": "admin"},
        {"output_location": "gs://bucket"},
        {"kms_key": "k"},
        {"price_per_tb": "-1"},
    ],
)
def test_wrong_settings_are_refused(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AthenaSettings.model_validate(wrong)


def test_region_workgroup_and_role_follow_the_flyte_project() -> None:
    role = "arn:aws:iam::222222222222:role/team"
    settings = AthenaSettings(
        region="eu-west-1",
        region_by_project={"shop-production": "us-east-1"},
        role_by_project={"shop": role},
        allowed_workgroups=("etl-*",),
        workgroup_by_project={"shop": "etl-shop"},
    )
    platform = Athena(settings)
    agent: Any = platform.agents()[0]
    task = task_of({"statement": "SELECT 1"})
    mine = replace(task, identity=ExecutionIdentity(project="shop", domain="production"))
    connection = agent.connection(mine)
    assert (connection.region, connection.role) == ("us-east-1", role)
    assert platform.account(connection) == "athena:us-east-1:222222222222"
    for other, field in (
        (task, "custom.workgroup"),
        (task_of({"statement": "x", "region": "ap-south-1"}), "custom.region"),
    ):
        with pytest.raises(InvalidTask) as refused:
            agent.connection(other)
        assert refused.value.field == field


@pytest.mark.parametrize(
    "forged",
    [
        {"region": "x.evil.example/?"},
        {"region": "eu-west-1", "role": "admin"},
        {"region": "ap-south-1"},
        {"region": "eu-west-1", "role": "arn:aws:iam::999999999999:role/admin"},
    ],
)
def test_a_handle_that_somebody_made_up_leads_nowhere_else(forged: dict[str, str]) -> None:
    platform = Athena(AthenaSettings(region="eu-west-1", allowed_roles=("arn:aws:iam::222222222222:role/*",)))

    async def open_it() -> None:
        no: Any = None
        async with platform.open(AthenaConnection.model_validate(forged), no, no):
            raise AssertionError("it was opened")

    with pytest.raises((ValidationError, Unauthorized)):
        asyncio.run(open_it())


@pytest.mark.parametrize("name", ["workgroup", "routingGroup"])
@pytest.mark.parametrize("told", ["two words", "x'y", "{{ .inputs.x }}", "x" * 129, "\u00fc", "a\x00"])
def test_a_workgroup_that_can_be_none_is_refused_by_its_field(name: str, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AthenaConfig.model_validate({"statement": "SELECT 1", name: told})
    assert refused.value.errors()[0]["loc"] == (name,)
