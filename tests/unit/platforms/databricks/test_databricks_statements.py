"""SQL statements: text, parameters, results and notebooks' exit values."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from outboard.agent import Inputs, Key, Sql, Task
from outboard.domain.types import (
    BlobType,
    Interface,
    ListType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
)
from outboard.errors import InvalidInputs, InvalidOutputs, InvalidTask
from outboard.platforms.databricks.config import StatementConfig
from outboard.platforms.databricks.exits import exits_of, outputs_of
from outboard.platforms.databricks.results import Wanted, rows_of
from outboard.platforms.databricks.statements import carries, execution_of, parameters_of

KEY = Key("ob-f3a-n0-0-qilvvfbmnr54tfbudsjhdzhlqu")
DATASET, ROWS = StructuredDatasetType(), ListType(SimpleType.STRUCT)


def task_of(
    sql: str = "SELECT :a",
    inputs: dict[str, Any] | None = None,
    types: dict[str, ValueType] | None = None,
    **custom: Any,
) -> Task[StatementConfig]:
    return Task(
        type="databricks_sql",
        config=StatementConfig.model_validate({"warehouseId": "w", **custom}),
        sql=Sql(statement=sql),
        inputs=Inputs(inputs or {}),
        interface=Interface(inputs=types or {}),
    )


def body_of(task: Task[StatementConfig], wanted: Wanted | None = None) -> dict[str, Any]:
    return execution_of(task, KEY, {"outboard-key": KEY.text}, "", wanted or Wanted())


@pytest.mark.parametrize(
    ("value", "declared", "sql_type", "spelled"),
    [
        (5, SimpleType.INTEGER, "BIGINT", "5"),
        (2.5, SimpleType.FLOAT, "DOUBLE", "2.5"),
        (True, SimpleType.BOOLEAN, "BOOLEAN", "true"),
        ("x'; DROP TABLE t --", SimpleType.STRING, "STRING", "x'; DROP TABLE t --"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone.utc), SimpleType.DATETIME, "TIMESTAMP", "2026-01-02T03:00:00+00:00"),
        (timedelta(days=1, seconds=3661.5), SimpleType.DURATION, "INTERVAL DAY TO SECOND", "1 01:01:01.500000"),
        (timedelta(seconds=-1), SimpleType.DURATION, "INTERVAL DAY TO SECOND", "-0 00:00:01.000000"),
        (7, UnionType.of(SimpleType.INTEGER, SimpleType.NONE), "BIGINT", "7"),
        (7, None, "BIGINT", "7"),
    ],
)
def test_inputs_are_bound_with_their_types(value: Any, declared: ValueType | None, sql_type: str, spelled: str) -> None:
    types = {} if declared is None else {"a": declared}
    assert parameters_of(task_of(inputs={"a": value}, types=types)) == [
        {"name": "a", "type": sql_type, "value": spelled}
    ]


def test_none_is_null_of_its_declared_type() -> None:
    types: dict[str, ValueType] = {"a": UnionType.of(SimpleType.INTEGER, SimpleType.NONE)}
    assert parameters_of(task_of(inputs={"a": None}, types=types)) == [{"name": "a", "type": "BIGINT"}]


def test_a_type_may_be_said_by_the_task() -> None:
    (parameter,) = parameters_of(task_of(inputs={"a": "2026-01-01"}, parameterTypes={"a": "date"}))
    assert parameter["type"] == "DATE"


@pytest.mark.parametrize("types", [{"b": "DATE"}, {"a": "DATE); DROP"}, {"a": ""}])
def test_a_type_that_is_none_is_refused(types: dict[str, str]) -> None:
    with pytest.raises(InvalidTask, match="parameterTypes"):
        parameters_of(task_of(inputs={"a": 1}, parameterTypes=types))


@pytest.mark.parametrize("value", [[1], {"x": 1}, b"x"])
def test_an_input_that_no_parameter_has_is_named(value: Any) -> None:
    with pytest.raises(InvalidInputs) as raised:
        parameters_of(task_of(inputs={"a": value}))
    assert raised.value.field == "inputs.a"


def test_values_never_become_part_of_the_text() -> None:
    body = body_of(task_of("SELECT * FROM t WHERE x = :a;", {"a": "1 OR 1=1"}))
    assert body["statement"] == f"SELECT * FROM t WHERE x = :a\n/* outboard-key: {KEY.text} */"  # noqa: S608 - compared, not executed


def test_a_statement_runs_in_the_background_and_carries_its_key() -> None:
    body = body_of(task_of(queryTags={"team": "x", "outboard-key": "forged"}, catalog="c", schema="s"))
    assert (body["wait_timeout"], body["warehouse_id"], body["catalog"], body["schema"]) == ("0s", "w", "c", "s")
    assert body["query_tags"] == [{"key": "outboard-key", "value": KEY.text}, {"key": "team", "value": "x"}]
    assert (body["disposition"], body["format"]) == ("EXTERNAL_LINKS", "ARROW_STREAM")
    assert carries({"query_text": body["statement"]}, KEY)
    assert carries({"query_text": "redacted", "query_tags": body["query_tags"]}, KEY)
    assert not carries({"query_text": "SELECT 1"}, KEY)


def test_at_most_twenty_tags_are_sent_and_the_provenance_stays() -> None:
    tags = body_of(task_of(queryTags={f"t{n}": "x" for n in range(30)}))["query_tags"]
    assert len(tags) == 20
    assert tags[0]["key"] == "outboard-key"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (task_of("  ; "), "no SQL"),
        (task_of("SELECT {{ .inputs.a }}"), "template"),
        (task_of("SELECT 1", statement="SELECT 2"), "differ"),
        (task_of(warehouseId=""), "warehouseId"),
    ],
)
def test_a_task_that_cannot_run_is_told_what_is_missing(task: Task[StatementConfig], words: str) -> None:
    with pytest.raises(InvalidTask, match=words):
        body_of(task)


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        ({}, Wanted()),
        ({"t": DATASET}, Wanted(table="t")),
        ({"f": BlobType(format="parquet"), "n": SimpleType.INTEGER}, Wanted(table="f", is_file=True, count="n")),
        ({"rows": ROWS, "n": SimpleType.INTEGER}, Wanted(rows="rows", count="n")),
    ],
)
def test_outputs_are_told_by_their_types(declared: dict[str, ValueType], wanted: Wanted) -> None:
    assert Wanted.of(declared) == wanted


@pytest.mark.parametrize(
    "declared",
    [
        {"a": SimpleType.STRING},
        {"a": DATASET, "b": DATASET},
        {"a": DATASET, "b": ROWS},
        {"a": StructuredDatasetType(format="csv")},
        {"a": BlobType(multipart=True)},
    ],
)
def test_outputs_that_no_statement_gives_are_refused_before_it_starts(declared: dict[str, ValueType]) -> None:
    with pytest.raises(InvalidTask, match=r"^outputs\."):
        Wanted.of(declared)


def test_rows_have_their_types_again() -> None:
    kinds = ["LONG", "DOUBLE", "BOOLEAN", "DECIMAL", "DATE", "ARRAY", "STRING", "INT"]
    columns = [{"name": f"c{n}", "type_name": kind} for n, kind in enumerate(kinds)]
    data = [["9007199254740993", "1.5", "true", "1.10", "2026-01-01", "[1]", "x", None]]
    assert list(rows_of(columns, {"data_array": data})[0].values()) == [
        9007199254740993, 1.5, True, "1.10", "2026-01-01", [1], "x", None,
    ]  # fmt: skip


def test_an_exit_value_is_one_text_one_value_or_an_object() -> None:
    text, number = exits_of({"o0": SimpleType.STRING}), exits_of({"o0": SimpleType.INTEGER})
    assert outputs_of(text, "5") == {"o0": "5"}
    assert outputs_of(number, "5") == {"o0": 5}
    both = exits_of({"a": SimpleType.INTEGER, "b": SimpleType.STRING})
    assert outputs_of(both, '{"a": 1, "b": "x", "c": 2}') == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("declared", "value", "is_cut"),
    [
        ({"o0": SimpleType.INTEGER}, "five", False),
        ({"o0": SimpleType.STRING}, None, False),
        ({"o0": SimpleType.STRING}, "x", True),
        ({"a": SimpleType.STRING, "b": SimpleType.STRING}, "[]", False),
        ({"a": SimpleType.STRING, "b": SimpleType.STRING}, '{"a": 1}', False),
    ],
)
def test_an_exit_value_that_does_not_fit_is_said_so(
    declared: dict[str, ValueType], value: str | None, is_cut: bool
) -> None:
    with pytest.raises(InvalidOutputs, match="exit value"):
        outputs_of(exits_of(declared), value, is_truncated=is_cut)
