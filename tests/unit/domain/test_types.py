from __future__ import annotations

import enum
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.conformity import check_outputs, choose_variant, find_misfit, guess_type
from outboard.domain.places import Place
from outboard.domain.plain_values import read_plain
from outboard.domain.types import (
    BlobType,
    EnumType,
    ListType,
    MapType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
    ValueType,
    describe,
)
from outboard.domain.values import Binary, Blob, ErrorValue, Offloaded, Schema, StructuredDataset, restore_integers
from outboard.errors import InvalidInputs, InvalidOutputs
from strategies import anything, is_same, refused_at, typed_values, value_types

INTEGER, FLOAT, STRING, STRUCT = SimpleType.INTEGER, SimpleType.FLOAT, SimpleType.STRING, SimpleType.STRUCT


class Colour(enum.Enum):
    RED = "red"


def misfit(value: object, value_type: ValueType, *, exact: bool = False) -> str | None:
    found = find_misfit(value, value_type, Place("v", InvalidOutputs), exact=exact)
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("value_type", "text"),
    [
        (ListType(INTEGER), "list[int]"),
        (MapType(ListType(FLOAT)), "dict[str, list[float]]"),
        (UnionType.of(INTEGER, SimpleType.NONE), "int | None"),
        (EnumType(("a", "b")), "one of 'a', 'b'"),
        (BlobType("csv"), "blob (csv)"),
        (BlobType(multipart=True), "multi-part blob"),
        (SchemaType(), "schema"),
        (StructuredDatasetType(format="parquet"), "structured dataset (parquet)"),
        (EnumType(()), "an enum without values"),
        (UnionType(()), "a union without variants"),
    ],
)
def test_a_type_describes_itself_as_a_person_would(value_type: ValueType, text: str) -> None:
    assert describe(value_type) == str(value_type) == text


def test_a_long_description_is_cut() -> None:
    assert len(describe(EnumType(tuple(str(n) for n in range(1000))))) == 200


@given(value_types)
def test_types_are_hashable_and_compare_by_content(value_type: ValueType) -> None:
    assert {value_type: 1}[value_type] == 1


@given(typed_values())
def test_a_value_of_a_type_fits_it_exactly(typed: tuple[ValueType, object]) -> None:
    value_type, value = typed
    assert misfit(value, value_type, exact=True) is None
    check_outputs({"v": value}, {"v": value_type})


@given(anything, value_types)
def test_any_value_is_judged_against_any_type_without_an_exception(value: object, value_type: ValueType) -> None:
    if misfit(value, value_type, exact=True) is None:
        assert misfit(value, value_type) is None


@pytest.mark.parametrize(
    ("value", "value_type", "problem"),
    [
        (True, INTEGER, "v must be int, not bool"),
        (True, FLOAT, "v must be float, not bool"),
        (1.0, INTEGER, "v must be int, not float"),
        (2**63, INTEGER, "v does not fit in 64 bits"),
        (10**400, FLOAT, "v is too large for a float"),
        ("\ud800", STRING, "v is not valid Unicode"),
        (None, STRING, "v must be str, not None"),
        ({"rows": [{"x": 1}, {"x": "1"}]}, MapType(ListType(MapType(INTEGER))), "v.rows[1].x must be int, not str"),
        ({1: 2}, STRUCT, "v has a key of type int"),
        ({1: 2}, MapType(INTEGER), "v has a key of type int"),
        ({"a b": {"\ud800": 1}}, STRUCT, "v['a b']['\\ud800'] is not valid Unicode"),
        ({"when": datetime.now(timezone.utc)}, STRUCT, "v.when is a datetime, which a dict cannot carry"),
        ({"n": 2**64}, STRUCT, "v.n does not fit in 64 bits"),
        ("green", EnumType(("red",)), "v is not one of 'red'"),
        (1, EnumType(("red",)), "v must be one of 'red', not int"),
        ("x", UnionType.of(INTEGER, SimpleType.NONE), "v must be int | None, not str"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), SimpleType.DATETIME, "v is no moment"),
        (timedelta.max, SimpleType.DURATION, "v exceeds 10,000 years"),
        (Blob("u", multipart=True), BlobType(), "v must be blob; set multipart=False"),
        (Blob("u", "csv"), BlobType("parquet"), "v.format must be 'parquet'"),
        (StructuredDataset("u", "csv"), StructuredDatasetType(format="parquet"), "v.format must be 'parquet'"),
        ("s3://bucket/file", BlobType(), "v must be blob, not str"),
        (Schema("u", [("a", INTEGER)]), SchemaType(), "v.columns must be a tuple of Column"),  # type: ignore[arg-type]
        (Binary("text"), SimpleType.BINARY, "v must be bytes, not Binary"),  # type: ignore[arg-type]
        (ErrorValue("\udfff"), SimpleType.ERROR, "v is not valid Unicode"),
        (Offloaded("u", -1), INTEGER, "v.size_bytes does not fit in 64 bits"),
        (object(), INTEGER, "v must be int, not object"),
    ],
)
def test_a_misfit_names_the_spot_and_the_reason(value: object, value_type: ValueType, problem: str) -> None:
    assert str(misfit(value, value_type)).startswith(problem)


@pytest.mark.parametrize(
    ("value", "value_type"),
    [
        (3, FLOAT),
        (float("nan"), FLOAT),
        ((1, 2), ListType(INTEGER)),
        (b"raw", SimpleType.BINARY),
        (Colour.RED, EnumType(("red", "blue"))),
        (datetime(2024, 1, 1), SimpleType.DATETIME),  # noqa: DTZ001 - naive on purpose
        (Blob("u"), BlobType("csv")),
        (Blob("u", "csv"), BlobType()),
        (Offloaded("u", 1), ListType(INTEGER)),
    ],
)
def test_harmless_deviations_fit(value: object, value_type: ValueType) -> None:
    assert misfit(value, value_type) is None


def test_a_circular_value_is_refused_and_does_not_exhaust_the_stack() -> None:
    circle: list[object] = []
    circle.append(circle)
    endless: ValueType = INTEGER
    for _ in range(200):
        endless = ListType(endless)
    assert "nested deeper than" in str(misfit(circle, endless))
    assert "nested deeper than" in str(misfit({"circle": circle}, STRUCT))
    with pytest.raises(InvalidInputs, match="nested deeper than"):
        guess_type(circle)


@pytest.mark.parametrize(
    ("value", "variants", "chosen"),
    [
        (1, (FLOAT, INTEGER), INTEGER),
        (True, (INTEGER, SimpleType.BOOLEAN), SimpleType.BOOLEAN),
        (1, (STRING, FLOAT), FLOAT),
        ([1], (ListType(FLOAT), ListType(INTEGER)), ListType(INTEGER)),
        (Blob("u"), (BlobType("csv"), BlobType()), BlobType()),
        (Blob("u"), (BlobType("csv"), BlobType("parquet")), BlobType("csv")),
        (None, (INTEGER, SimpleType.NONE), SimpleType.NONE),
    ],
)
def test_a_union_takes_the_first_exact_variant_before_any_conversion(
    value: object, variants: tuple[ValueType, ...], chosen: ValueType
) -> None:
    variant = choose_variant(value, UnionType.of(*variants), Place("v", InvalidOutputs))
    assert variant is not None
    assert variant.type == chosen


def test_check_outputs_names_every_missing_surplus_and_mistyped_output() -> None:
    with pytest.raises(InvalidOutputs) as caught:
        check_outputs({"b": "x", "c": 1}, {"a": INTEGER, "b": INTEGER})
    assert caught.value.field == "outputs.a"
    assert caught.value.message == (
        "outputs.a is missing: return it as int; "
        "outputs.c is not declared: drop it or add it to the task's interface; "
        "outputs.b must be int, not str; convert it or declare its type"
    )


def test_check_outputs_lists_at_most_ten_problems() -> None:
    with pytest.raises(InvalidOutputs, match=r"; and 990 more$"):
        check_outputs({str(n): n for n in range(1000)}, {})


@pytest.mark.parametrize(
    ("value", "guessed"),
    [
        (True, SimpleType.BOOLEAN),
        (1, INTEGER),
        (None, SimpleType.NONE),
        ([], ListType(SimpleType.NONE)),
        ([1, 2], ListType(INTEGER)),
        ([1, "a"], ListType(UnionType.of(INTEGER, STRING))),
        ({"a": [1, None]}, STRUCT),
        ({"a": Blob("u", "csv")}, MapType(BlobType("csv"))),
        (b"raw", SimpleType.BINARY),
        (Offloaded("u", 1, FLOAT), FLOAT),
    ],
)
def test_a_value_without_a_type_gets_the_one_it_looks_like(value: object, guessed: ValueType) -> None:
    assert guess_type(value) == guessed


@given(typed_values())
def test_a_guessed_type_fits_its_value(typed: tuple[ValueType, object]) -> None:
    assert misfit(typed[1], guess_type(typed[1])) is None


@given(anything)
def test_guessing_raises_nothing_but_the_asked_for_error(value: object) -> None:
    path = refused_at(lambda: guess_type(value, "inputs.x"), InvalidInputs)
    assert path is None or path.startswith("inputs.x")


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_integers_that_became_floats_become_integers_again(value: int) -> None:
    assert is_same(restore_integers({"a": [float(value), {"b": float(value)}]}), {"a": [value, {"b": value}]})


@pytest.mark.parametrize("value", [0.5, float("inf"), float("nan"), 2.0**53, True, "1.0", None])
def test_restoring_integers_leaves_everything_else_alone(value: object) -> None:
    assert is_same(restore_integers(value), value)


@pytest.mark.parametrize(
    ("plain", "value_type", "value"),
    [
        (5.0, INTEGER, 5),
        (5, FLOAT, 5.0),
        ("2024-01-31T12:00:00Z", SimpleType.DATETIME, datetime(2024, 1, 31, 12, tzinfo=timezone.utc)),
        ("2024-01-31T12:00:00.5+02:00", SimpleType.DATETIME, datetime(2024, 1, 31, 10, 0, 0, 500_000, timezone.utc)),
        (1.5, SimpleType.DURATION, timedelta(seconds=1.5)),
        ([1.0, 2.0], ListType(INTEGER), [1, 2]),
        ({"a": 1}, MapType(FLOAT), {"a": 1.0}),
        ("red", EnumType(("red",)), "red"),
        ({"path": "s3://b/f"}, BlobType("csv"), Blob("s3://b/f", "csv")),
        ("s3://b/d", BlobType(multipart=True), Blob("s3://b/d", "", multipart=True)),
        ({"remote_path": "s3://b/t"}, SchemaType(), Schema("s3://b/t")),
        ({"uri": "u", "file_format": "csv"}, StructuredDatasetType(), StructuredDataset("u", "csv")),
        (
            "2024-01-31T12:00:00Z",
            UnionType.of(INTEGER, SimpleType.DATETIME),
            datetime(2024, 1, 31, 12, tzinfo=timezone.utc),
        ),
        (None, UnionType.of(INTEGER, SimpleType.NONE), None),
    ],
)
def test_plain_data_stands_for_typed_values(plain: object, value_type: ValueType, value: object) -> None:
    assert is_same(read_plain(plain, value_type, Place("v", InvalidInputs)), value)


@pytest.mark.parametrize(
    ("plain", "value_type", "problem"),
    [
        (5.5, INTEGER, "v must be int"),
        (True, FLOAT, "v must be float, not bool"),
        ("yesterday", SimpleType.DATETIME, "v is not a datetime"),
        (float("nan"), SimpleType.DURATION, "v is not a duration"),
        (1e300, SimpleType.DURATION, "v is not a duration"),
        ({}, BlobType(), "v names no blob"),
        ([{"a": "x"}], ListType(MapType(INTEGER)), r"v\[0\].a must be int"),
        ("x", UnionType.of(INTEGER, FLOAT), r"v must be int \| float"),
    ],
)
def test_plain_data_that_stands_for_nothing_is_refused_where_it_lies(
    plain: object, value_type: ValueType, problem: str
) -> None:
    with pytest.raises(InvalidInputs, match=problem):
        read_plain(plain, value_type, Place("v", InvalidInputs))
