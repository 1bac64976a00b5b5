"""Which databases and secrets a task may name itself, and which limits hold: odd values are refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from outboard.agent import Task
from outboard.errors import InvalidTask
from outboard.platforms.sql.agent import specify
from outboard.platforms.sql.config import SQLAlchemyConfig, SqlConfig
from outboard.platforms.sql.connections import connection_of
from outboard.platforms.sql.documents import StatementSpec
from outboard.platforms.sql.settings import ConnectionSettings, SqlSettings

SETTINGS = SqlSettings.model_validate(
    {
        "uri_hosts": ["*.example.com", "one.host:5432"],
        "connections": {"reading": {"kind": "postgresql", "host": "pg", "user": "u", "read_only": True}},
    }
)
GOOD = "postgresql://u@x.example.com/db"


def specified(**custom: Any) -> StatementSpec:
    asked: Task[SqlConfig] = Task(
        type="sqlalchemy", config=SQLAlchemyConfig.model_validate({"query_template": "SELECT 1", **custom})
    )
    return specify(asked, connection_of(asked, SETTINGS), SETTINGS)


@pytest.mark.parametrize(
    ("custom", "field"),
    [
        ({"uri": "postgresql://u@evil.com,x.example.com/db"}, "custom.uri"),
        ({"uri": "postgresql://u@one.host:5433/db"}, "custom.uri"),
        ({"uri": "postgresql://u@.example.com.evil.com/db"}, "custom.uri"),
        ({"uri": "postgresql:///db?host=evil.com"}, "custom.uri"),
        ({"uri": "postgresql://u%00@x.example.com/db"}, "custom.uri"),
        ({"uri": "postgresql://u:p@x.example.com/db"}, "custom.uri"),
        ({"uri": "duckdb:////etc/passwd"}, "custom.uri"),
        ({"uri": "nowhere"}, "custom.uri"),
        ({"uri": GOOD, "connect_args": {"host": "/tmp/x.example.com"}}, "custom.uri"),  # noqa: S108 - refused
        ({"uri": GOOD, "connect_args": {"host": "evil.com,x.example.com"}}, "custom.uri"),
        ({"uri": GOOD, "connect_args": {"host": ["evil.com"]}}, "custom.uri"),
        ({"uri": GOOD, "connect_args": {"user": None}}, "custom.uri"),
        ({"uri": GOOD, "connect_args": {"port": True}}, "custom.connect_args"),
        ({"uri": GOOD, "connect_args": {"port": 99_999}}, "custom.connect_args"),
        ({"uri": GOOD, "connect_args": {"sslmode": "disable"}}, "custom.connect_args"),
        ({"uri": GOOD, "secret_connect_args": {"password": {"key": "../sql/x"}}}, "custom.secret_connect_args"),
        (
            {"uri": GOOD, "secret_connect_args": {"password": {"key": "sql", "group": "../.."}}},
            "custom.secret_connect_args",
        ),
        ({"uri": GOOD, "secret_connect_args": {"password": {"key": "aws_root"}}}, "custom.secret_connect_args"),
        ({"uri": "reading", "autocommit": True}, "custom.autocommit"),
        ({"uri": GOOD, "read_only": True, "autocommit": True}, "custom.autocommit"),
        ({"uri": "reading", "read_only": False}, "custom.read_only"),
    ],
)
def test_what_a_task_may_not_name_is_refused_by_its_field(custom: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTask) as refused:
        specified(**custom)
    assert (refused.value.field, "Traceback" in refused.value.message) == (field, False)


@pytest.mark.parametrize("limit_s", [0.0001, -1, 1e30, float("inf"), float("nan"), "soon"])
def test_a_time_limit_that_a_database_would_read_as_none_is_refused(limit_s: Any) -> None:
    with pytest.raises(ValidationError, match="statement_timeout_s"):
        specified(uri="reading", statement_timeout_s=limit_s)
    with pytest.raises(ValidationError, match="statement_timeout_s"):
        ConnectionSettings.model_validate({"kind": "duckdb", "database": "x", "statement_timeout_s": limit_s})


def test_what_a_task_may_name_is_where_it_goes() -> None:
    target = specified(uri=GOOD, connect_args={"port": 6432.0, "dbname": "sales"}).target
    assert (target.host, target.port, target.database, target.tls) == ("x.example.com", 6432, "sales", "verify")
    assert specified(uri="reading", statement_timeout_s=0.5).wish.timeout_s == 0.5
