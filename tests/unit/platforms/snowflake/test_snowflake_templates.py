"""Placeholders of both SDKs as bind variables; nothing is ever spliced."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from outboard.domain.types import EnumType, ListType, MapType, SimpleType, UnionType, ValueType
from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.snowflake.bindings import binding_of
from outboard.platforms.snowflake.templates import bind

EVIL = "x'); DROP TABLE t; --"


@pytest.mark.parametrize(
    ("value", "declared", "kind", "text"),
    [
        (5, SimpleType.INTEGER, "FIXED", "5"),
        (2.5, SimpleType.FLOAT, "REAL", "2.5"),
        (True, SimpleType.BOOLEAN, "BOOLEAN", "true"),
        (EVIL, SimpleType.STRING, "TEXT", EVIL),
        ("red", EnumType(("red", "blue")), "TEXT", "red"),
        (datetime(2026, 1, 2, 3, tzinfo=timezone.utc), SimpleType.DATETIME, "TEXT", "2026-01-02 03:00:00.000000+00:00"),
        (timedelta(hours=1, microseconds=5), SimpleType.DURATION, "TIME", "3600000005000"),
        (b"\x01\xff", SimpleType.BINARY, "BINARY", "01ff"),
        ({"a": [1]}, SimpleType.STRUCT, "TEXT", '{"a": [1]}'),
        ({"a": 1}, MapType(SimpleType.INTEGER), "TEXT", '{"a": 1}'),
        ({"a": datetime(2026, 1, 2, tzinfo=timezone.utc)}, None, "TEXT", '{"a": "2026-01-02T00:00:00+00:00"}'),
        (None, UnionType.of(SimpleType.INTEGER, SimpleType.NONE), "FIXED", None),
        (None, None, "TEXT", None),
        (7, None, "FIXED", "7"),
    ],
)
def test_a_value_has_the_type_and_text_that_the_sql_api_wants(
    value: Any, declared: ValueType | None, kind: str, text: str | None
) -> None:
    assert binding_of("a", value, declared) == {"type": kind, "value": text}


@pytest.mark.parametrize("value", [timedelta(days=1), timedelta(seconds=-1), object()])
def test_a_value_that_cannot_be_bound_is_named(value: Any) -> None:
    with pytest.raises(InvalidInputs) as raised:
        binding_of("a", value, SimpleType.DURATION)
    assert raised.value.field == "inputs.a"


@pytest.mark.parametrize("part", [float("nan"), float("inf"), b"raw", object()])
def test_what_json_cannot_hold_is_named(part: Any) -> None:
    with pytest.raises(InvalidInputs, match="JSON") as raised:
        binding_of("a", {"x": [part]}, SimpleType.STRUCT)
    assert raised.value.field == "inputs.a"


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("SELECT %(a)s, %(b)s, %(a)s", "SELECT ?, ?, ?"),
        ("SELECT {{ .inputs.a }}, {{.Inputs.b}}", "SELECT ?, ?"),
        ("SELECT '{{ .inputs.a }}' || 'it''s'", "SELECT ? || 'it''s'"),
        ("SELECT %(a)s WHERE x LIKE 'a%%' AND y % 2 = 0", "SELECT ? WHERE x LIKE 'a%' AND y % 2 = 0"),
        ("SELECT {{ .inputs.a }} WHERE x LIKE 'a%%'", "SELECT ? WHERE x LIKE 'a%%'"),
        ("SELECT 'why?', \"q?\", $$?$$ /* %(a)s ? */, %(a)s", "SELECT 'why?', \"q?\", $$?$$ /* %(a)s ? */, ?"),
        ("SELECT '\\'', %(a)s -- the end?", "SELECT '\\'', ? -- the end?"),
        ("SELECT %(a)s\n-- why?\nFROM t", "SELECT ?\n-- why?\nFROM t"),
        ("LIST @stage//x/ PATTERN = %(a)s", "LIST @stage//x/ PATTERN = ?"),
        ("SELECT 'not closed, %", "SELECT 'not closed, %"),
    ],
)
def test_placeholders_of_both_sdks_become_bind_variables(sql: str, bound: str) -> None:
    assert bind(sql, {"a": 1, "b": "x"}, {}).text == bound


def test_bind_variables_come_in_the_order_of_their_places() -> None:
    found = bind("SELECT %(b)s, %(a)s, %(b)s", {"a": 1, "b": "x"}, {})
    assert [each["value"] for each in found.bindings] == ["x", "1", "x"]


def test_a_text_without_inputs_is_left_as_it_is() -> None:
    sql = "SELECT * FROM t WHERE x LIKE '%%y' AND z = '{{ jinja }}' AND w = ?"
    assert bind(sql, {}, {}).text == sql


def test_a_list_is_bound_element_by_element() -> None:
    found = bind("SELECT 1 WHERE a IN (%(a)s)", {"a": [1, 2]}, {"a": ListType(SimpleType.INTEGER)})
    assert (found.text, [each["value"] for each in found.bindings]) == ("SELECT 1 WHERE a IN (?, ?)", ["1", "2"])
    with pytest.raises(InvalidInputs, match=r"inputs\.a is empty"):
        bind("SELECT 1 WHERE a IN (%(a)s)", {"a": []}, {})


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT '%(a)s'", "within quotes"),
        ("SELECT 'x-{{ .inputs.a }}'", "within quotes"),
        ('SELECT * FROM "%(a)s"', "within quotes"),
        ("SELECT $$ {{ .inputs.a }} $$", "within quotes"),
        ("SELECT 1 -- note WHERE x = %(a)s", "comment"),
        ("SELECT %(a)s, ?", "holds a ?"),
        ("SELECT %(c)s", "c, which is no input"),
        ("SELECT {{ .inputs.c }}", "c, which is no input"),
        ("SELECT {{ .outputPrefix }}", "nobody renders"),
        ("SELECT '{{ $x }}'", "nobody renders"),
        ("SELECT \x00i0\x00", "NUL"),
    ],
)
def test_a_placeholder_that_cannot_be_bound_is_refused_with_what_to_do(sql: str, words: str) -> None:
    with pytest.raises(InvalidTask) as raised:
        bind(sql, {"a": 1}, {})
    assert words in raised.value.message
    assert raised.value.field == "sql.statement"


def test_a_batch_has_a_row_for_each_element() -> None:
    kinds: dict[str, ValueType] = {"id": ListType(SimpleType.INTEGER), "name": ListType(SimpleType.STRING)}
    sql = "INSERT INTO t (id, name) VALUES (%(id)s, upper(%(name)s), ')') -- x"
    found = bind(sql, {"id": [1, 2], "name": ["a", EVIL]}, kinds, is_batch=True)
    assert found.text == "INSERT INTO t (id, name) VALUES (?, upper(?), ')'), (?, upper(?), ')') -- x"
    assert [(each["type"], each["value"]) for each in found.bindings] == [
        ("FIXED", "1"), ("TEXT", "a"), ("FIXED", "2"), ("TEXT", EVIL),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "inputs", "kind"),
    [
        ("INSERT INTO t VALUES (%(a)s)", {"a": 1}, InvalidInputs),
        ("INSERT INTO t VALUES (%(a)s)", {"a": []}, InvalidInputs),
        ("INSERT INTO t VALUES (%(a)s, %(b)s)", {"a": [1], "b": [1, 2]}, InvalidInputs),
        ("INSERT INTO t SELECT %(a)s", {"a": [1]}, InvalidTask),
        ("INSERT INTO t VALUES (%(a)s), VALUES (%(a)s)", {"a": [1]}, InvalidTask),
        ("INSERT INTO t VALUES (%(a)s", {"a": [1]}, InvalidTask),
        ("INSERT INTO t VALUES (1) WHERE %(a)s", {"a": [1]}, InvalidTask),
    ],
)
def test_a_batch_that_is_none_is_refused(sql: str, inputs: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        bind(sql, inputs, {}, is_batch=True)


@given(value=some.text(), around=some.text(alphabet="SELECT %(){}'\"-/*$?.\\ \n", max_size=60))
def test_whatever_the_text_and_the_value_the_value_is_no_part_of_the_statement(value: str, around: str) -> None:
    marker = f"\x01{value}\x01"
    try:
        found = bind(f"{around} %(a)s", {"a": marker}, {"a": SimpleType.STRING})
    except InvalidTask:
        return
    assert marker not in found.text
    assert {each["value"] for each in found.bindings} <= {marker}
