"""What the operator decides: which databases tasks may reach, as whom, and how much they may take.

A task names a connection of the operator's. Where `uri_hosts` lists hosts, it may name a database there itself (that is what
flytekit's SQLAlchemy tasks do); the password then comes from a secret that the task names and the operator allows.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from typing_extensions import Self

from outboard.agent import Settings
from outboard.agent.platform import SecretName
from outboard.platforms.sql.databases.port import Target

Kind = Literal["postgresql", "mysql", "clickhouse", "trino", "duckdb"]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)]
Schema = Annotated[str, StringConstraints(pattern=r"^[^\x00;'\"`\\]*$", max_length=500)]
Isolation = Literal["", "read committed", "repeatable read", "serializable"]
Tls = Literal["disable", "require", "verify"]
Auth = Literal["basic", "bearer"]
HttpPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/._~-]*$", max_length=200)]
PORTS: Final[dict[str, int]] = {"postgresql": 5432, "mysql": 3306, "clickhouse": 8443, "trino": 8443, "duckdb": 0}
PLAIN_PORTS: Final[dict[str, int]] = {"clickhouse": 8123, "trino": 8080}
"""Of those that listen elsewhere where nothing is encrypted."""

Seconds = Annotated[float, Field(ge=0.001, le=2_000_000, allow_inf_nan=False)]
"""Databases count whole milliseconds in 31 bits, and none of them is no limit."""
_HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_.:-]+")
_ONE_HOST: Final = re.compile(r"[A-Za-z0-9_.-]+")
"""What a task may call a host: drivers take lists of hosts (`a,b`) and paths of sockets in the same place."""


def default_root() -> Path:
    """Where workers live unless the operator says otherwise: the user's state directory."""
    return Path.home() / ".local" / "state" / "outboard" / "sql"


class ConnectionSettings(BaseModel):
    """One database and how it is used.

    Attributes:
        kind: Which database it is; `mysql` is MariaDB too.
        host: Where; of DuckDB nothing.
        port: The database's usual one otherwise.
        database: The database, the catalog (Trino), or the file (DuckDB).
        user: As whom.
        password_secret: The name of the secret with the password, looked up for the task's project first.
        tls: `verify` checks certificate and name, `require` only encrypts.
        auth: How Trino is told the secret: `basic` is a password, `bearer` a token (JWT, OAuth 2.0).
        http_path: The path below which a proxy serves ClickHouse or Trino.
        tls_ca_file: Whose certificates are believed; the system's otherwise.
        schema_name: Where unqualified names are looked up (`search_path`); in the file it is called `schema`.
        projects: Who may use it, as `project` or `project-domain`; empty is everybody.
        read_only: No task may write.
        isolation: The transaction's level, for tasks that ask for none.
        statement_timeout_s: The longest a statement may take; tasks may ask for less. 0 is no limit.
        max_rows: The largest result; tasks may ask for less. 0 is no limit.
        max_bytes: The largest result file. 0 is no limit.
        limit: How many statements one machine has under way at once; others wait. 0 is no limit.
        connect_s: How long a database that cannot be reached is tried again before the task fails.
        console: The database's web console, if it has one: `{key}` in it becomes the statement's identity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    kind: Kind
    host: str = ""
    port: int = Field(default=0, ge=0, le=65535)
    database: str = ""
    user: str = ""
    password_secret: SecretName | None = None
    tls: Tls = "verify"
    tls_ca_file: str = ""
    auth: Auth = "basic"
    http_path: HttpPath = ""
    schema_name: Schema = Field(default="", alias="schema")
    projects: tuple[str, ...] = ()
    read_only: bool = False
    isolation: Isolation = ""
    statement_timeout_s: Seconds | Literal[0] = 0
    max_rows: int = Field(default=0, ge=0)
    max_bytes: int = Field(default=10 << 30, ge=0)
    limit: int = Field(default=16, ge=0)
    connect_s: float = Field(default=300, ge=0)
    console: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "duckdb":
            if not self.database:
                raise ValueError("a duckdb connection needs `database`: the path of the file")
        elif not self.host or not self.user:
            raise ValueError(f"a {self.kind} connection needs `host` and `user`")
        return self

    def target(self) -> Target:
        """Return the database, for its module."""
        return Target(
            kind=self.kind,
            host=self.host,
            port=self.port or usual_port(self.kind, self.tls),
            database=self.database,
            user=self.user,
            tls=self.tls,
            tls_ca_file=self.tls_ca_file,
            schema=self.schema_name,
            auth=self.auth,
            http_path=self.http_path,
        )


class SqlSettings(Settings):
    """Settings of the platform.

    Attributes:
        connections: The databases by name.
        default_connection: Of tasks that name none.
        root: Where the workers' job directories lie, on a local disk.
        uri_hosts: Hosts whose databases tasks may name by an address, as `name`, `name:port` or `*.example.com`; none by default.
        uri_tls: As `tls` of a connection, for those databases.
        task_secrets: Which names of secrets a task may choose for a password of its own.
    """

    connections: dict[Name, ConnectionSettings] = Field(default_factory=dict)
    default_connection: str = ""
    root: Path = Field(default_factory=default_root)
    uri_hosts: tuple[str, ...] = ()
    uri_tls: Tls = "verify"
    task_secrets: tuple[str, ...] = ("*sql*",)

    @field_validator("uri_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not _HOST.fullmatch(pattern):
                raise ValueError(f"{pattern!r} is no host; write `name.example.com`, `name:5432` or `*.example.com`")
        return value

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        if self.default_connection and self.default_connection not in self.connections:
            raise ValueError(f"default_connection {self.default_connection!r} is none of the connections")
        return self

    def allows(self, host: str, port: int) -> bool:
        """Tell whether tasks may name a database on a host themselves."""
        return bool(_ONE_HOST.fullmatch(host)) and any(_matches(pattern, host, port) for pattern in self.uri_hosts)

    def allows_secret(self, name: str) -> bool:
        """Tell whether a task may choose a secret."""
        return any(fnmatchcase(name, pattern) for pattern in self.task_secrets)


def usual_port(kind: str, tls: str) -> int:
    """Return the port that a kind of database listens at."""
    return PLAIN_PORTS.get(kind, PORTS[kind]) if tls == "disable" else PORTS[kind]


def _matches(pattern: str, host: str, port: int) -> bool:
    name, colon, number = pattern.partition(":")
    if colon and number != str(port):
        return False
    name, host = name.lower(), host.lower()
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
