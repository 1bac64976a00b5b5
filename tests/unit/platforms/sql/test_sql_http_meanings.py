"""What errors of ClickHouse and Trino mean, and how values and types of both are written and read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from outboard.platforms.sql.databases import clickhouse_errors, trino_errors
from outboard.platforms.sql.databases.clickhouse_errors import ClickHouseError, error_of
from outboard.platforms.sql.databases.clickhouse_types import split
from outboard.platforms.sql.databases.clickhouse_values import bound
from outboard.platforms.sql.databases.pools import transport_complaint
from outboard.platforms.sql.databases.trino_errors import TrinoError
from outboard.platforms.sql.databases.trino_types import type_of
from outboard.platforms.sql.databases.trino_values import literal, with_values
from outboard.platforms.sql.settings import ConnectionSettings
from outboard.platforms.sql.values import JsonValue

NO_FAULT_OF_USERS = [
    *("GENERIC_INTERNAL_ERROR", "TOO_MANY_REQUESTS_FAILED", "PAGE_TOO_LARGE", "PAGE_TRANSPORT_ERROR"),
    *("PAGE_TRANSPORT_TIMEOUT", "NO_NODES_AVAILABLE", "REMOTE_TASK_ERROR", "COMPILER_ERROR"),
    *("REMOTE_TASK_MISMATCH", "SERVER_SHUTTING_DOWN", "FUNCTION_IMPLEMENTATION_MISSING"),
    *("REMOTE_BUFFER_CLOSE_FAILED", "SERVER_STARTING_UP", "FUNCTION_IMPLEMENTATION_ERROR"),
    *("INVALID_PROCEDURE_DEFINITION", "PROCEDURE_CALL_FAILED", "AMBIGUOUS_FUNCTION_IMPLEMENTATION"),
    *("ABANDONED_TASK", "CORRUPT_SERIALIZED_IDENTITY", "CORRUPT_PAGE", "OPTIMIZER_TIMEOUT"),
    *("OUT_OF_SPILL_SPACE", "REMOTE_HOST_GONE", "CONFIGURATION_INVALID", "CONFIGURATION_UNAVAILABLE"),
    *("INVALID_RESOURCE_GROUP", "SERIALIZATION_ERROR", "REMOTE_TASK_FAILED"),
    *("EXCHANGE_MANAGER_NOT_CONFIGURED", "CATALOG_NOT_AVAILABLE", "CATALOG_STORE_ERROR"),
    *("GENERIC_INSUFFICIENT_RESOURCES", "EXCEEDED_GLOBAL_MEMORY_LIMIT", "QUERY_QUEUE_FULL"),
    *("EXCEEDED_TIME_LIMIT", "CLUSTER_OUT_OF_MEMORY", "EXCEEDED_CPU_LIMIT", "EXCEEDED_SPILL_LIMIT"),
    *("EXCEEDED_LOCAL_MEMORY_LIMIT", "ADMINISTRATIVELY_PREEMPTED", "EXCEEDED_SCAN_LIMIT"),
    *("EXCEEDED_TASK_DESCRIPTOR_STORAGE_CAPACITY", "UNSUPPORTED_TABLE_TYPE"),
]
"""Of StandardErrorCode, Trino 435, those whose type is not USER_ERROR."""

USERS_LIMITS = {
    "EXCEEDED_TIME_LIMIT",
    "EXCEEDED_CPU_LIMIT",
    "EXCEEDED_SCAN_LIMIT",
    "OPTIMIZER_TIMEOUT",
    "EXCEEDED_SPILL_LIMIT",
} | {
    "EXCEEDED_GLOBAL_MEMORY_LIMIT",
    "EXCEEDED_LOCAL_MEMORY_LIMIT",
}


def test_of_trinos_own_errors_only_limits_are_the_users() -> None:
    kinds = {name: trino_errors.meaning_of(TrinoError(name, "INTERNAL_ERROR", "words")) for name in NO_FAULT_OF_USERS}
    assert {name for name, told in kinds.items() if told is not None and told.actor == "user"} == USERS_LIMITS


@pytest.mark.parametrize(
    ("error", "actor", "is_retryable", "is_broken"),
    [
        (TrinoError("SYNTAX_ERROR", "USER_ERROR", "w"), "user", False, False),
        (TrinoError("PERMISSION_DENIED", "USER_ERROR", "w"), "operator", False, False),
        (TrinoError("QUERY_QUEUE_FULL", "INSUFFICIENT_RESOURCES", "w"), "platform", True, False),
        (TrinoError("EXCEEDED_TIME_LIMIT", "INSUFFICIENT_RESOURCES", "w"), "user", False, False),
        (TrinoError("HIVE_METASTORE_ERROR", "EXTERNAL", "w"), "platform", True, False),
        (TrinoError("GENERIC_INTERNAL_ERROR", "INTERNAL_ERROR", "w"), "platform", False, False),
        (TrinoError("ADMINISTRATIVELY_KILLED", "USER_ERROR", "w"), "cancelled", False, False),
        (TrinoError("SERVER_SHUTTING_DOWN", "INTERNAL_ERROR", "w"), "platform", True, True),
        (TrinoError("HTTP_401", "", "w"), "operator", False, True),
        (trino_errors.QueryGone("w"), "platform", True, True),
        (ClickHouseError(62, "w"), "user", False, False),
        (ClickHouseError(516, "w"), "operator", False, False),
        (ClickHouseError(497, "w"), "operator", False, False),
        (ClickHouseError(202, "w"), "platform", True, False),
        (ClickHouseError(241, "w"), "platform", True, False),
        (ClickHouseError(394, "w"), "cancelled", False, False),
        (ClickHouseError(159, "w"), "user", False, False),
        (ClickHouseError(49, "w"), "platform", False, False),
        (ClickHouseError(319, "w"), "platform", True, True),
        (urllib3.exceptions.ProtocolError("w"), "platform", True, True),
        (urllib3.exceptions.SSLError("w"), "operator", False, False),
    ],
)  # fmt: skip
def test_errors_are_told_apart(error: Exception, actor: str, is_retryable: bool, is_broken: bool) -> None:
    found = clickhouse_errors.meaning_of(error) or trino_errors.meaning_of(error)
    assert found is not None
    assert (found.actor, found.is_retryable, found.is_broken) == (actor, is_retryable, is_broken)


def test_what_is_no_error_of_a_database_is_left_to_others() -> None:
    assert [transport_complaint(ValueError()), clickhouse_errors.meaning_of(ValueError())] == [None, None]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (
            b"Code: 60. DB::Exception: Unknown table 'x'. (UNKNOWN_TABLE) (version 26.9)\n",
            60,
            "Unknown table 'x'. (UNKNOWN_TABLE)",
        ),
        (
            b"rows\r\n__exception__\r\ntag\r\nCode: 395. DB::Exception: boom: while executing 'f(secret)'\n99 tag\r\n",
            395,
            "boom",
        ),
        (
            b"Code: 6. DB::Exception: Cannot parse string 'canary' as Int32: In scope SELECT 1",
            6,
            "Cannot parse string '...' as Int32",
        ),
        (b"<html>", 745, "HTTP 503"),
    ],
)
def test_clickhouses_words_are_cut_before_the_statement_and_without_values(
    content: bytes, code: int, words: str
) -> None:
    status = 503 if content.startswith(b"<") else 500
    found = error_of(content, status, None, ["canary"])
    assert (found.code, str(found).startswith(words), "secret" in str(found)) == (code, True, False)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (5, "Int64", "5"),
        (1 << 63, "UInt64", "9223372036854775808"),
        (-(1 << 100), "Int256", str(-(1 << 100))),
        (True, "Bool", "true"),
        (None, "Nullable(Nothing)", "\\N"),
        ("a'\t\\", "String", "a\\'\\t\\\\"),
        (b"\xff'", "String", b"\xff\\'"),
        ([1, None], "Array(Nullable(Int64))", "[1,NULL]"),
        (["a'b"], "Array(String)", "['a\\'b']"),
        ([], "Array(Nothing)", "[]"),
        (
            datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
            "DateTime64(6, 'UTC')",
            "2024-01-01 00:00:00.000000",
        ),
        (JsonValue('{"a": 1}'), "String", '{"a": 1}'),
    ],
)
def test_a_value_of_clickhouse_has_a_type_and_a_text(value: Any, kind: str, text: Any) -> None:
    assert bound("SELECT {p1:\0}", [value]) == (f"SELECT {{p1:{kind}}}", {"p1": text})


@pytest.mark.parametrize("value", [[1, "a"], [b"x"], 1 << 300])
def test_a_value_that_clickhouse_cannot_take_is_the_users(value: Any) -> None:
    with pytest.raises(ClickHouseError):
        bound("SELECT {p1:\0}", [value])


@given(st.text())
def test_a_text_of_trino_is_one_literal_whatever_it_holds(text: str) -> None:
    found = literal(text)
    assert found[1:-1].replace("''", "").count("'") == 0
    assert found[1:-1].replace("''", "'") == text


def test_trinos_statement_and_values_travel_as_literals() -> None:
    values = [None, True, 7, 10**20, 0.5, float("nan"), b"\0", timedelta(milliseconds=-1500), [1]]
    assert with_values("SELECT 'a', ?", values) == (
        "EXECUTE IMMEDIATE 'SELECT ''a'', ?' USING NULL, TRUE, BIGINT '7', DECIMAL '100000000000000000000', DOUBLE '0.5', nan(), "
        "X'00', INTERVAL -'1.500' SECOND, ARRAY[BIGINT '1']"
    )


@pytest.mark.parametrize("value", [10**39, timedelta(microseconds=1), object()])
def test_a_value_that_trino_cannot_take_is_the_users(value: Any) -> None:
    with pytest.raises(TrinoError):
        literal(value)


def test_types_of_clickhouse_are_split_where_their_own_commas_are() -> None:
    assert split("Map(String, Tuple(a Enum8('x,\\'(' = 1), b Decimal(9, 2)))") == (
        "Map",
        ["String", "Tuple(a Enum8('x,\\'(' = 1), b Decimal(9, 2))"],
    )


def moment(text: str, digits: int = 3) -> Any:
    kind = {"rawType": "timestamp with time zone", "arguments": [{"kind": "LONG", "value": digits}]}
    read = type_of(kind, "timestamp").read
    assert read is not None
    return read(text)


def test_trinos_moments_are_instants_and_the_hour_that_comes_twice_is_refused() -> None:
    assert moment("1970-01-01 01:00:00.001 Europe/Berlin") == 1
    assert moment("1969-12-31 23:59:59.999999999 UTC", 9) == -1
    assert moment("1970-01-01 05:30:00 +05:30", 0) == 0
    for text in ("2024-10-27 02:30:00.000 Europe/Berlin", "10000-01-01 00:00:00 UTC", "-0001-01-01 00:00:00 UTC"):
        with pytest.raises(ValueError, match=r"clocks are set back|four digits"):
            moment(text)


@pytest.mark.parametrize(
    ("kind", "tls", "port"),
    [("clickhouse", "verify", 8443), ("clickhouse", "disable", 8123), ("trino", "disable", 8080)],
)
def test_the_usual_port_is_that_of_tls_or_of_none(kind: str, tls: str, port: int) -> None:
    settings = ConnectionSettings.model_validate({"kind": kind, "host": "h", "user": "u", "tls": tls})
    assert settings.target().port == port
