"""What databases' errors and statements' states mean, and where a task may go."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

import outboard.platforms.sql as package
from outboard.agent import Task
from outboard.domain.identity import ExecutionIdentity
from outboard.errors import InvalidTask, Unauthorized
from outboard.platforms.sql.agent import SqlAgent
from outboard.platforms.sql.config import SQLAlchemyConfig, SqlConfig
from outboard.platforms.sql.connections import SqlConnection, connection_of, use_of
from outboard.platforms.sql.databases import mysql_errors, postgresql_errors
from outboard.platforms.sql.platform import SqlAnywhere
from outboard.platforms.sql.settings import SqlSettings
from outboard.platforms.sql.states import STATES
from warehouses.sql import SQLSTATE_CLASSES

README = Path(package.__file__).with_name("README.md").read_text()
SETTINGS = SqlSettings.model_validate(
    {
        "connections": {
            "warehouse": {"kind": "postgresql", "host": "db", "user": "flyte", "password_secret": "sql_warehouse"},
            "private": {"kind": "mysql", "host": "db2", "user": "flyte", "projects": ["finance"]},
        },
        "uri_hosts": ["*.db.example.com", "pg.example.com:6543"],
    }
)


def asked(config: SqlConfig, project: str = "shop") -> Any:
    return Task(type="sql", config=config, identity=ExecutionIdentity(project=project, domain="production"))


def test_every_class_of_postgresqls_errors_has_a_meaning() -> None:
    assert SQLSTATE_CLASSES - set(postgresql_errors.CLASSES) == set()


def test_every_state_and_its_phase_stand_in_the_readme() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+)` \| ([A-Z_]+) \|", README, re.MULTILINE))
    told = {}
    for state in STATES.documented:
        reading = STATES.read(state)
        is_retryable = reading.failure is not None and reading.failure.retry.value == "yes"
        told[state] = "RETRYABLE_FAILED" if is_retryable else reading.phase.value
    assert rows == told


@pytest.mark.parametrize(
    ("code", "actor", "is_retryable"),
    [
        ("42P01", "user", False),
        ("22012", "user", False),
        ("40001", "platform", True),
        ("40P01", "platform", True),
        ("53300", "platform", True),
        ("28P01", "operator", False),
        ("42501", "operator", False),
        ("57014", "cancelled", False),
        ("25006", "user", False),
        ("XX001", "platform", False),
    ],
)
def test_postgresqls_errors_are_told_apart(code: str, actor: str, is_retryable: bool) -> None:
    error = psycopg.errors.lookup(code)("words") if code in psycopg.errors._sqlcodes else psycopg.Error("words")
    if error.sqlstate is None:
        error.sqlstate = code
    found = postgresql_errors.meaning_of(error)
    assert found is not None
    assert (found.actor, found.is_retryable) == (actor, is_retryable)


@pytest.mark.parametrize(
    ("error", "actor", "is_retryable", "is_broken"),
    [
        (pymysql.ProgrammingError(1064, "syntax"), "user", False, False),
        (pymysql.OperationalError(1045, "denied"), "operator", False, False),
        (pymysql.OperationalError(1213, "deadlock"), "platform", True, False),
        (pymysql.OperationalError(1040, "too many"), "platform", True, False),
        (pymysql.OperationalError(2013, "lost"), "platform", True, True),
        (pymysql.OperationalError(1317, "interrupted"), "cancelled", False, False),
        (pymysql.InternalError(9999, "odd"), "user", False, False),
        (pymysql.InterfaceError(0, ""), "platform", True, True),
    ],
)
def test_mysqls_errors_are_told_apart(
    error: pymysql.MySQLError, actor: str, is_retryable: bool, is_broken: bool
) -> None:
    found = mysql_errors.meaning_of(error)
    assert found is not None
    assert (found.actor, found.is_retryable, found.is_broken) == (actor, is_retryable, is_broken)


@pytest.mark.parametrize(
    ("config", "field", "words"),
    [
        ({}, "custom.connection", "missing"),
        ({"connection": "nobody"}, "custom.connection", "no connection"),
        ({"connection": "private"}, "custom.connection", "no connection"),
        ({"connection_uri": "postgresql://u:p@a.db.example.com/d"}, "custom.connection_uri", "password"),
        ({"connection_uri": "postgresql://u@evil.example.org/d"}, "custom.connection_uri", "uri_hosts"),
        ({"connection_uri": "postgresql://u@db.example.com/d"}, "custom.connection_uri", "uri_hosts"),
        ({"connection_uri": "postgresql://u@pg.example.com:5432/d"}, "custom.connection_uri", "uri_hosts"),
        ({"connection_uri": "postgresql://u@169.254.169.254/d"}, "custom.connection_uri", "uri_hosts"),
        ({"connection_uri": "postgresql://u@a.db.example.com/d?host=evil"}, "custom.connection_uri", "options"),
        ({"connection_uri": "oracle://u@a.db.example.com/d"}, "custom.connection_uri", "not known"),
        ({"connection_uri": "postgresql://a.db.example.com/d"}, "custom.connection_uri", "no user"),
        ({"connection": "warehouse", "password_secret": "root_key"}, "custom.password_secret", "task_secrets"),
    ],
)
def test_a_task_reaches_what_the_operator_lists_and_nothing_else(
    config: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidTask, match=words) as raised:
        connection_of(asked(SqlConfig.model_validate(config)), SETTINGS)
    assert raised.value.field == field


def test_a_handle_that_somebody_made_up_reaches_no_other_host() -> None:
    with pytest.raises(Unauthorized):
        use_of(SqlConnection(kind="postgresql", host="evil.example.org", port=5432, user="u"), SETTINGS)


def test_flytekits_sqlalchemy_task_names_its_database_and_its_password_as_it_does() -> None:
    config = SQLAlchemyConfig.model_validate(
        {
            "query_template": "SELECT 1",
            "uri": "postgresql+psycopg2://reader@a.db.example.com/sales",
            "connect_args": {"port": 5433.0},
            "secret_connect_args": {
                "password": {"group": "g", "key": "sql_reader", "group_version": None, "mount_requirement": 0.0}
            },
        }
    )
    found = connection_of(asked(config), SETTINGS)
    assert (found.kind, found.host, found.port, found.database, found.user) == (
        "postgresql", "a.db.example.com", 5433, "sales", "reader",
    )  # fmt: skip
    assert found.password is not None
    assert (found.password.key, found.password.group) == ("sql_reader", "g")


def test_sqlalchemys_arguments_change_nothing_that_the_operator_decides() -> None:
    config = SQLAlchemyConfig.model_validate(
        {"uri": "postgresql://u@a.db.example.com/d", "connect_args": {"sslmode": "disable"}}
    )
    with pytest.raises(InvalidTask, match="sslmode"):
        connection_of(asked(config), SETTINGS)


def test_a_statement_that_begins_or_ends_a_transaction_is_refused() -> None:
    agent = next(each for each in SqlAnywhere(SETTINGS).agents() if isinstance(each, SqlAgent))
    config = SqlConfig.model_validate({"connection": "warehouse", "sql": "DELETE FROM t; /* now */ commit"})
    with pytest.raises(InvalidTask, match="transaction"):
        agent.connection(asked(config))


def test_a_certificate_that_nobody_believes_is_not_tried_again() -> None:
    words = "Can't connect to MySQL server on 'x' ([SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed)"
    told = mysql_errors.meaning_of(pymysql.OperationalError(2003, words))
    assert told is not None
    assert (told.actor, told.is_retryable) == ("operator", False)
