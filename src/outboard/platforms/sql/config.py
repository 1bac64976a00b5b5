"""What a task's `custom` may say: our own `sql` tasks, and flytekit's `SQLAlchemyTask` as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasChoices, Field, StringConstraints

from outboard.agent import TaskConfig
from outboard.agent.platform import SecretName
from outboard.platforms.sql.settings import Isolation, Schema, Seconds

Numeric = Annotated[str, StringConstraints(pattern=r"^(?:text|double|decimal\(\d{1,2},\s*\d{1,2}\))$")]


class SqlConfig(TaskConfig):
    """The `custom` of a `sql` task.

    Attributes:
        connection: A connection of the operator's; the default one otherwise.
        connection_uri: A database instead, `kind://user@host:port/database`, where the operator allows its host.
        password_secret: The name of the secret with its password.
        sql: One statement or several; the task template's SQL may stand in its place.
        schema_name: Where unqualified names are looked up; in `custom` it is called `schema`.
        read_only: The database refuses what would write.
        isolation: The transaction's level.
        statement_timeout_s: When the database ends the statement.
        max_rows: A larger result is an error.
        numeric: What a number without a declared precision becomes: `text` (exact), `double`, `decimal(38,9)`.
        autocommit: No transaction around the statement, for the few that allow none. Its outcome cannot be proven then.
        idempotent: Running it twice does no harm, so it may be retried when its outcome is unknown.
        grace_s: Seconds between a cancel and SIGKILL of the worker.
    """

    connection: str | None = None
    connection_uri: str | None = Field(default=None, validation_alias=AliasChoices("connection_uri", "connectionUri"))
    password_secret: SecretName | None = Field(
        default=None, validation_alias=AliasChoices("password_secret", "passwordSecret")
    )
    sql: str | None = None
    schema_name: Schema | None = Field(default=None, alias="schema")
    read_only: bool | None = None
    isolation: Isolation | None = None
    statement_timeout_s: Seconds | None = None
    max_rows: int | None = Field(default=None, gt=0)
    numeric: Numeric = "text"
    autocommit: bool = False
    idempotent: bool = False
    grace_s: float = Field(default=25.0, ge=0, le=3600)


class SQLAlchemyConfig(SqlConfig):
    """The `custom` of flytekit's `SQLAlchemyTask` (flytekitplugins-sqlalchemy 1.16); ours are understood too.

    Attributes:
        query_template: The SQL.
        uri: SQLAlchemy's address of a database; the name of one of the operator's connections is understood too.
        connect_args: What SQLAlchemy hands to the driver; host, port, user and database count, others are refused.
        secret_connect_args: Secrets by argument, each as flytekit writes it; only `password` is understood.
    """

    query_template: str | None = None
    uri: str | None = None
    connect_args: Mapping[str, Any] = Field(default_factory=dict)
    secret_connect_args: Mapping[str, Mapping[str, Any]] | None = None
