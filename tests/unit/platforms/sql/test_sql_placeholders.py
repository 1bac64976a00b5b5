"""Where a SQL text names inputs: every database's own way to write strings and comments is respected, and nothing is pasted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.sql.parameters import encode_inputs
from outboard.platforms.sql.placeholders import DIALECTS, statements_of

TYPES = {"n", "name", "x_1"}
ALL = tuple(DIALECTS)
PLACES = {"postgresql": "$1", "mysql": "?", "clickhouse": "{p1:\0}", "trino": "?", "duckdb": "$p1"}


def only(sql: str, kind: str = "postgresql") -> tuple[str, tuple[str, ...]]:
    (statement,) = statements_of(sql, DIALECTS[kind], TYPES)
    return statement.text, statement.names


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("form", [":n", "{{ .inputs.n }}", "{{.inputs.n}}", "{{ .Inputs.n }}", "'{{ .inputs.n }}'"])
def test_each_form_of_an_input_becomes_the_databases_own_placeholder(kind: str, form: str) -> None:
    assert only(f"SELECT * FROM t WHERE a = {form}", kind) == (f"SELECT * FROM t WHERE a = {PLACES[kind]}", ("n",))  # noqa: S608 - it is not run


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        (
            "postgresql",
            "SELECT a::int, b[1:2], ':n', \"c:n\", $$ :n $$, $x$ ' :n $x$, E'\\' :n' -- :n\n/* :n /* :n */ :n */",
        ),
        ("mysql", "SELECT '\\' :n', \"it\\\" :n\", `a:n`, @v := 1 # :n\n -- :n\n /* :n */"),
        ("clickhouse", "SELECT '\\' :n', \"a\\\" :n\", x::Int8, c ? a:b, $$ :n $$ # :n\n -- :n\n/* /* */ :n */"),
        ("trino", "SELECT ':n', \"a:n\", '''', b[1:2] -- :n\n /* :n */"),
        ("duckdb", "SELECT ':n', $$ :n $$, t.a[1:2], x::int, \"a\" FROM t"),
    ],
)
def test_what_only_looks_like_an_input_is_left_as_it_is(kind: str, sql: str) -> None:
    assert only(sql, kind) == (sql, ())


def test_placeholders_are_numbered_as_they_come() -> None:
    assert only("SELECT :name, :n, {{ .inputs.name }}") == ("SELECT $1, $2, $3", ("name", "n", "name"))


def test_statements_are_told_apart_where_a_semicolon_ends_one() -> None:
    sql = "CREATE TABLE t (a text); -- done;\nINSERT INTO t VALUES (';', :n); /* ; */ ;"
    found = statements_of(sql, DIALECTS["postgresql"], TYPES)
    assert [(each.text.splitlines()[-1], each.names) for each in found] == [
        ("CREATE TABLE t (a text)", ()),
        ("INSERT INTO t VALUES (';', $1)", ("n",)),
    ]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT :nobody", "none of the task's inputs"),
        ("SELECT {{ .inputs.nobody }}", "none of the task's inputs"),
        ("SELECT {{ .outputs.n }}", "none of the task's inputs"),
        ("SELECT * FROM t WHERE a LIKE '%{{ .inputs.name }}%'", "quoted text"),
        ('SELECT * FROM "{{ .inputs.name }}"', "quoted text"),
        ("  ; -- nothing\n /* at all */", "no SQL"),
    ],
)
def test_what_cannot_be_bound_is_refused_with_the_remedy(sql: str, words: str) -> None:
    with pytest.raises(InvalidTask, match=words) as raised:
        statements_of(sql, DIALECTS["postgresql"], TYPES)
    assert raised.value.field == "sql.statement"


@given(st.text(alphabet="a:n'\"`$;{}.#-/*\\ \n@[]Einputs", max_size=60), st.sampled_from(ALL))
def test_no_text_hangs_or_loses_a_character(sql: str, kind: str) -> None:
    try:
        found = statements_of(sql, DIALECTS[kind], ())
    except InvalidTask:
        return
    assert all(each.names == () and each.text in sql for each in found)


@pytest.mark.parametrize("kind", DIALECTS)
@pytest.mark.parametrize("unfit", ["\0", "\ud800"])
def test_a_text_that_a_driver_would_cut_off_is_refused(kind: str, unfit: str) -> None:
    with pytest.raises(InvalidTask, match="NUL"):
        statements_of("DELETE FROM orders %s WHERE id = 1".replace("%s", unfit), DIALECTS[kind], frozenset())
    with pytest.raises(InvalidInputs, match=r"inputs\.x"):
        encode_inputs({"x": f"a{unfit}"}, ["x"])
