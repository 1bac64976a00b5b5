"""Which database a task goes to, and as whom: decided once, at submission, from the task and the settings.

What travels with the handle is a name of the operator's, or the parts of an address that the operator's list allowed; the list is
asked again when the connection is opened, so that a handle that somebody made up reaches nothing either.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from outboard.agent import Connection, SecretRef, SecretScope, Task
from outboard.errors import InvalidTask, Unauthorized
from outboard.platforms.sql.config import SQLAlchemyConfig, SqlConfig
from outboard.platforms.sql.databases.port import Target
from outboard.platforms.sql.settings import PORTS, ConnectionSettings, Kind, SqlSettings, usual_port

_KINDS: Final[dict[str, Kind]] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "clickhouse": "clickhouse",
    "clickhousedb": "clickhouse",
    "trino": "trino",
}
_LAST_PORT: Final = 65_535
_SECRET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ARGUMENTS: Final = ("host", "port", "user", "username", "database", "dbname", "db")


class SqlConnection(Connection):
    """A database and as whom to talk to it.

    Attributes:
        name: Of the operator's connection; empty where the task named a database itself.
        kind, host, port, database, user: That database.
        password: Where its password is.
    """

    name: str = ""
    kind: str = ""
    host: str = ""
    port: int = 0
    database: str = ""
    user: str = ""
    password: SecretRef | None = None


def connection_of(task: Task[SqlConfig], settings: SqlSettings) -> SqlConnection:
    """Return where and as whom a task runs.

    Raises:
        InvalidTask: It names no connection, one that is not there or not for its project, or a host that is not allowed.
    """
    config = task.config
    uri, field = config.connection_uri, "custom.connection_uri"
    if isinstance(config, SQLAlchemyConfig) and config.uri is not None:
        uri, field = config.uri, "custom.uri"
    if uri is not None and config.connection is not None:
        raise InvalidTask(f"{field} and custom.connection both name a database; keep one", field=field)
    if uri is not None and uri not in settings.connections:
        return _of_uri(uri, field, config, settings)
    name = uri or config.connection or settings.default_connection
    field = field if uri is not None else "custom.connection"
    if not name:
        raise InvalidTask(
            "custom.connection is missing: name one of the operator's connections, or they set platforms.sql.default_connection",
            field="custom.connection",
        )
    known = settings.connections.get(name)
    if known is None or not task.identity.belongs_to(known.projects):
        raise InvalidTask(
            f"{field}: there is no connection {name[:60]!r} for project {task.identity.project or '(none)'}; "
            "the operator lists connections under platforms.sql.connections",
            field=field,
        )
    own = _own_secret(config, settings)
    return own_connection(name, settings) if own is None else SqlConnection(name=name, password=own)


def own_connection(name: str, settings: SqlSettings) -> SqlConnection:
    """Return one of the operator's connections, with the operator's own password."""
    secret = settings.connections[name].password_secret
    return SqlConnection(name=name, password=None if secret is None else _secret(secret))


def use_of(connection: SqlConnection, settings: SqlSettings) -> tuple[ConnectionSettings, Target]:
    """Return how a connection is used, and its database.

    Raises:
        Unauthorized: The operator no longer allows it.
    """
    if connection.name:
        known = settings.connections.get(connection.name)
        if known is None:
            raise Unauthorized(
                f"there is no connection {connection.name!r} any more; the operator adds it to platforms.sql.connections"
            )
        return known, known.target()
    if not settings.allows(connection.host, connection.port) or connection.kind not in PORTS:
        raise Unauthorized(f"{connection.host} is no host of platforms.sql.uri_hosts; the operator adds it there")
    made = ConnectionSettings.model_validate(
        {
            "kind": connection.kind,
            "host": connection.host,
            "port": connection.port,
            "database": connection.database,
            "user": connection.user,
            "tls": settings.uri_tls,
        }
    )
    return made, made.target()


def _of_uri(uri: str, field: str, config: SqlConfig, settings: SqlSettings) -> SqlConnection:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        raise InvalidTask(f"{field} is no address; write kind://user@host:port/database", field=field) from None
    if parts.password is not None:
        raise InvalidTask(
            f"{field} holds a password, which lies in Flyte's database in clear text; put it into a secret and name that",
            field=field,
        )
    kind = _KINDS.get(parts.scheme.partition("+")[0])
    if kind is None:
        raise InvalidTask(
            f"{field}: {parts.scheme[:40]!r} is not known; write one of {', '.join(dict.fromkeys(_KINDS.values()))}",
            field=field,
        )
    if parts.query or parts.fragment:
        raise InvalidTask(f"{field} has options, which only the operator sets; leave them out", field=field)
    named = _arguments(config)
    host = str(named.get("host", parts.hostname or ""))
    number = named.get("port", port or usual_port(kind, settings.uri_tls))
    user = named.get("user", named.get("username", unquote(parts.username or "")))
    database = named.get("database", named.get("dbname", named.get("db", unquote(parts.path.lstrip("/")))))
    if not (_is_name(user) and _is_name(database)):
        raise InvalidTask(f"{field}: user and database are texts without control characters", field=field)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _LAST_PORT:
        raise InvalidTask("custom.connect_args.port is no port: write a number", field="custom.connect_args")
    if not settings.allows(host, number):
        raise InvalidTask(
            f"{field}: tasks may not name a database on {host[:100] or '(no host)'}; "
            "use one of the operator's connections, or they list the host under platforms.sql.uri_hosts",
            field=field,
        )
    if not user:
        raise InvalidTask(f"{field} names no user; write kind://user@host:port/database", field=field)
    return SqlConnection(
        kind=kind, host=host, port=number, database=database, user=user, password=_own_secret(config, settings)
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _arguments(config: SqlConfig) -> dict[str, Any]:
    if not isinstance(config, SQLAlchemyConfig):
        return {}
    odd = sorted(set(config.connect_args) - set(_ARGUMENTS))
    if odd:
        raise InvalidTask(
            f"custom.connect_args.{odd[0]} is nothing that a task decides; only host, port, user and database are",
            field="custom.connect_args",
        )
    return dict(config.connect_args)


def _own_secret(config: SqlConfig, settings: SqlSettings) -> SecretRef | None:
    name, group, field = config.password_secret, "", "custom.password_secret"
    listed = config.secret_connect_args if isinstance(config, SQLAlchemyConfig) else None
    if listed:
        odd = sorted(set(listed) - {"password"})
        if odd:
            raise InvalidTask(
                f"custom.secret_connect_args.{odd[0]} is not understood; only password is",
                field="custom.secret_connect_args",
            )
        field = "custom.secret_connect_args"
        name, group = str(listed["password"].get("key") or ""), str(listed["password"].get("group") or "")
    if not name:
        return None
    if not _SECRET.fullmatch(name) or (group and not _SECRET.fullmatch(group)):
        raise InvalidTask(f"{field} is no name of a secret: letters, digits, `.`, `_` and `-`", field=field)
    if not settings.allows_secret(name):
        raise InvalidTask(
            f"{field} names a secret that tasks may not use; "
            f"names like {', '.join(settings.task_secrets) or '(none)'} are allowed (platforms.sql.task_secrets)",
            field=field,
        )
    return _secret(name, group)


def _secret(name: str, group: str = "") -> SecretRef:
    return SecretRef(name, group=group, scope=SecretScope.PROJECT)
