"""Typed inputs as query parameters."""

from __future__ import annotations

import base64
import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.platforms.bigquery import bigquery_emulator
from outboard.domain.types import (
    BlobType,
    EnumType,
    Interface,
    ListType,
    MapType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
)
from outboard.domain.values import Binary, Blob, StructuredDataset
from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.bigquery.parameters import query_parameters
from real_parts import tried

NOON = datetime(2026, 3, 1, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))


def bound(value: Any, value_type: ValueType | None = None, declared: Any = None) -> tuple[Any, Any]:
    """Return type and value of the one parameter that an input becomes."""
    interface = Interface(inputs={} if value_type is None else {"x": value_type})
    declarations = [] if declared is None else [{"name": "x", "parameterType": declared}]
    (parameter,) = query_parameters(declarations, {"x": value}, interface, "DATETIME")
    assert parameter["name"] == "x"
    return parameter["parameterType"], parameter["parameterValue"]


def scalar(name: str, text: str | None) -> tuple[Any, Any]:
    return {"type": name}, {"value": text}


@pytest.mark.parametrize(
    ("value", "value_type", "expected"),
    [
        (7, SimpleType.INTEGER, scalar("INT64", "7")),
        (-(2**63), SimpleType.INTEGER, scalar("INT64", "-9223372036854775808")),
        (1.5, SimpleType.FLOAT, scalar("FLOAT64", "1.5")),
        (math.inf, SimpleType.FLOAT, scalar("FLOAT64", "Infinity")),
        (True, SimpleType.BOOLEAN, scalar("BOOL", "true")),
        ("a'b", SimpleType.STRING, scalar("STRING", "a'b")),
        ("red", EnumType(("red", "blue")), scalar("STRING", "red")),
        (NOON, SimpleType.DATETIME, scalar("DATETIME", "2026-03-01T12:00:00.000005")),
        (Binary(b"\x00\xff"), SimpleType.BINARY, scalar("BYTES", "AP8=")),
        ({"a": [1, None]}, SimpleType.STRUCT, scalar("JSON", '{"a": [1, null]}')),
        ({"a": 1}, MapType(SimpleType.INTEGER), scalar("JSON", '{"a": 1}')),
        (None, UnionType.of(SimpleType.INTEGER, SimpleType.NONE), scalar("INT64", None)),
        (3, UnionType.of(SimpleType.INTEGER, SimpleType.NONE), scalar("INT64", "3")),
        ("x", UnionType.of(SimpleType.INTEGER, SimpleType.STRING), scalar("STRING", "x")),
        (
            [],
            ListType(SimpleType.INTEGER),
            ({"type": "ARRAY", "arrayType": {"type": "INT64"}}, {"arrayValues": []}),
        ),
        (
            [{"a": 1}],
            ListType(SimpleType.STRUCT),
            ({"type": "ARRAY", "arrayType": {"type": "JSON"}}, {"arrayValues": [{"value": '{"a": 1}'}]}),
        ),
    ],
)
def test_an_input_is_bound_by_its_flyte_type(value: Any, value_type: ValueType, expected: Any) -> None:
    assert bound(value, value_type) == expected


@pytest.mark.parametrize(
    ("value", "declared", "text"),
    [
        (NOON, "DATE", "2026-03-01"),
        ("2026-03-01", "DATE", "2026-03-01"),
        (NOON, "TIME", "12:00:00.000005"),
        (NOON, "TIMESTAMP", "2026-03-01 12:00:00.000005+00:00"),
        ("2026-03-01T00:00:00Z", "TIMESTAMP", "2026-03-01 00:00:00.000000+00:00"),
        ("0.1", "NUMERIC", "0.1"),
        (0.1, "numeric", "0.1"),
        (10**30, "BIGNUMERIC", "1" + "0" * 30),
        (Decimal("1E+3"), "DECIMAL", "1000"),
        ([1, 2], "JSON", "[1, 2]"),
        ("POINT(1 2)", "GEOGRAPHY", "POINT(1 2)"),
        (timedelta(seconds=90), "FLOAT64", "90.0"),
        (timedelta(days=1, seconds=3661), "INTERVAL", "0-0 0 25:1:1.000000"),
        (StructuredDataset("bq://p:d.t"), "STRING", "bq://p:d.t"),
        (Blob("s3://b/x"), "STRING", "s3://b/x"),
        ("grün", "BYTES", base64.b64encode("grün".encode()).decode()),
    ],
)
def test_a_declared_parameter_decides_for_the_input_of_its_name(value: Any, declared: str, text: str) -> None:
    assert bound(value, SimpleType.STRUCT, {"type": declared})[1] == {"value": text}


def test_a_declared_struct_takes_its_fields_in_their_types() -> None:
    fields = [{"name": "day", "type": {"type": "DATE"}}, {"name": "n", "type": {"type": "INT64"}}]
    kind, value = bound(
        [{"day": "2026-03-01", "n": 1}, {"day": None}],
        declared={"type": "ARRAY", "arrayType": {"type": "STRUCT", "structTypes": fields}},
    )
    assert kind == {"type": "ARRAY", "arrayType": {"type": "STRUCT", "structTypes": fields}}
    assert value["arrayValues"][0] == {"structValues": {"day": {"value": "2026-03-01"}, "n": {"value": "1"}}}
    assert value["arrayValues"][1] == {"structValues": {"day": {"value": None}, "n": {"value": None}}}


def test_a_datetime_is_a_timestamp_where_the_operator_says_so() -> None:
    (parameter,) = query_parameters([], {"t": NOON}, Interface(inputs={"t": SimpleType.DATETIME}), "TIMESTAMP")
    assert parameter["parameterValue"] == {"value": "2026-03-01 12:00:00.000005+00:00"}


@pytest.mark.parametrize(
    ("value", "declared", "words"),
    [
        ("seven", "INT64", "inputs.x is str and cannot be INT64"),
        (2**63, "INT64", "cannot be INT64"),
        (True, "INT64", "bool and cannot be INT64"),
        (1, "BOOL", "cannot be BOOL"),
        (1, "STRING", "cannot be STRING"),
        ("yesterday", "DATE", "cannot be DATE"),
        ("NaN", "NUMERIC", "cannot be NUMERIC"),
        (math.nan, "JSON", "cannot be JSON"),
        (object(), "JSON", "cannot be JSON"),
    ],
)
def test_a_value_of_another_type_is_the_users_error_and_is_not_shown(value: Any, declared: str, words: str) -> None:
    with pytest.raises(InvalidInputs, match=words) as caught:
        bound(value, declared={"type": declared})
    assert caught.value.field == "inputs.x"
    assert "seven" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "value_type"),
    [
        (timedelta(1), SimpleType.DURATION),
        (Blob("s3://b/x"), BlobType()),
        (StructuredDataset("bq://p:d.t"), StructuredDatasetType()),
        ([[1]], ListType(ListType(SimpleType.INTEGER))),
    ],
)
def test_what_bigquery_takes_no_parameter_of_is_refused_with_the_remedy(value: Any, value_type: ValueType) -> None:
    with pytest.raises(InvalidInputs, match="declare it"):
        bound(value, value_type)


@pytest.mark.parametrize("declared", [None, {"type": "RANGE"}, {"type": "ARRAY"}, {"type": 7}, "INT64"])
def test_a_declaration_that_is_no_type_is_named(declared: Any) -> None:
    with pytest.raises(InvalidTask, match=r"custom\.queryParameters\.x"):
        query_parameters([{"name": "x", "parameterType": declared}], {"x": 1}, Interface(), "DATETIME")


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_whatever_the_inputs_are_they_are_bound_or_refused_by_name(inputs: dict[str, Any]) -> None:
    try:
        parameters = query_parameters([], inputs, Interface(), "DATETIME")
    except InvalidInputs as error:
        is_named = any(str(error.field).startswith(f"inputs.{name}") for name in inputs)
    else:
        is_named = [each["name"] for each in parameters] == list(inputs)
    assert is_named


SAME_AS_GOOGLES: list[tuple[str, Any]] = [
    ("INT64", 7),
    ("FLOAT64", 1.5),
    ("NUMERIC", Decimal("1.25")),
    ("BOOL", False),
    ("STRING", "x"),
    ("BYTES", b"\x00\x01"),
    ("JSON", {"a": 1}),
    ("DATE", date(2026, 3, 1)),
    ("DATETIME", datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=timezone.utc)),
    ("TIMESTAMP", datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=timezone.utc)),
    ("INT64", None),
    ("ARRAY:INT64", [1, 2]),
    ("ARRAY:STRING", []),
    ("STRUCT", {"n": 1, "word": "x"}),
]


def test_values_are_spelled_as_googles_own_client_spells_them() -> None:
    def sent(value: Any) -> Any:
        return base64.b64encode(value).decode() if isinstance(value, bytes) else value

    tried(bigquery_emulator.prepared)
    theirs = bigquery_emulator.ask_witness(spell=[(kind, sent(value)) for kind, value in SAME_AS_GOOGLES])
    for (_, value), each in zip(SAME_AS_GOOGLES, theirs, strict=True):
        kind, spelled = bound(value, declared=each["parameterType"])
        assert (kind, spelled) == (each["parameterType"], texts(each["parameterValue"]))


def texts(value: Any) -> Any:
    """Return a value as the API documents it: every scalar is a text; Google's client leaves some as numbers."""
    if isinstance(value, dict):
        return {name: texts(each) for name, each in value.items()}
    if isinstance(value, list):
        return [texts(each) for each in value]
    return value if value is None or isinstance(value, str) else str(value)
