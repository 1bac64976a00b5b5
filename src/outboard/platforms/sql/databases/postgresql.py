"""PostgreSQL, through psycopg 3.

Identity: the session's `application_name` is the key (both are at most 63 characters), so `pg_stat_activity` lists a worker
from its connect until it has written its end. Statement and rows go through the extended protocol: `$1` and typed values
apart from the text, one statement at a time, rows in chunks. All is one transaction. Its id is written down before the
commit, so that `txid_status` tells anybody afterwards whether it was committed, however its worker ended.

A server of PostgreSQL 14 or later looks every ten seconds whether its client still lives, and gives an orphan up.

Errors by SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.json import Jsonb
from psycopg.types.string import TextLoader

from outboard.platforms.sql.databases.columns import ColumnType, decimal_type, numeric_type
from outboard.platforms.sql.databases.port import Complaint, Database, Fate, Rows, Session, Sighting, Target, Wish
from outboard.platforms.sql.databases.postgresql_errors import meaning_of
from outboard.platforms.sql.databases.rows import NoRows, ReadRows

CONNECT_S = 15
_NO_FILE = "/dev/null/none"
"""A task may name a host and a user, but never gets a password that lies in the service's own `~/.pgpass`."""

_SSL_MODES = {"disable": "disable", "require": "require", "verify": "verify-full"}
_AS_TEXT = (
    *("uuid", "json", "jsonb", "interval", "timetz", "inet", "cidr", "record"),
    *("int4range", "numrange", "tsrange", "tstzrange", "daterange", "int8range"),
    *("int4multirange", "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange", "int8multirange"),
)
_SESSION = {
    "timezone": "UTC",
    "intervalstyle": "iso_8601",
    "datestyle": "ISO",
    "client_encoding": "UTF8",
    "idle_in_transaction_session_timeout": "6h",
}


def open_database(target: Target, password: str) -> Database:
    """Return the server of a target."""
    return PostgreSQL(target, password)


class PostgreSQL:
    """One database of a server, as one user."""

    is_seen = True

    def __init__(self, target: Target, password: str) -> None:
        self._target = target
        self._password = password

    def connect(self, key: str, wish: Wish) -> Session:
        """Return a session whose application name is the key."""
        connection = self._open(key, autocommit=wish.is_autocommit)
        try:
            _settle(connection, self._target, wish)
        except BaseException:
            connection.close()
            raise
        return PostgreSQLSession(connection, wish)

    def sightings(self, keys: Sequence[str]) -> Mapping[str, Sighting]:
        """Return the sessions of these keys."""
        with self._open("outboard", autocommit=True) as connection:
            rows = connection.execute(
                "SELECT application_name, coalesce(state, ''), coalesce(extract(epoch FROM now() - query_start), 0)"
                " FROM pg_stat_activity WHERE application_name = ANY(%s) AND usename = current_user",
                [list(keys)],
            ).fetchall()
        return {name: Sighting(state=state, seconds=float(seconds)) for name, state, seconds in rows}

    def cancel(self, key: str) -> None:
        """Cancel what the session of a key runs, looked up and cancelled in one statement."""
        with self._open("outboard", autocommit=True) as connection:
            connection.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s AND usename = current_user AND pid <> pg_backend_pid()",
                [key],
            )

    def undoes(self, wish: Wish) -> bool:
        """Tell whether there is a transaction."""
        return not wish.is_autocommit

    def fate(self, key: str, wish: Wish, decision: Mapping[str, Any]) -> Fate:
        """Return what the server's log of transactions says."""
        if key in self.sightings([key]):
            return Fate.LIVE
        if decision.get("verdict") != "commit":
            return Fate.NOTHING if self.undoes(wish) else Fate.UNKNOWN
        xid = decision.get("xid")
        if xid is None:
            return Fate.DONE  # nothing was written, and the result was whole before the decision
        with self._open("outboard", autocommit=True) as connection:
            row = connection.execute("SELECT txid_status(%s::bigint)", [int(xid)]).fetchone()
        told = {"committed": Fate.DONE, "aborted": Fate.NOTHING, "in progress": Fate.LIVE}
        return told.get(str(row[0]) if row else "", Fate.UNKNOWN)

    def complain(self, error: BaseException) -> Complaint | None:
        """Return what an error of psycopg means."""
        return meaning_of(error)

    def _open(self, name: str, *, autocommit: bool) -> psycopg.Connection[Any]:
        target = self._target
        return psycopg.connect(
            host=target.host,
            port=target.port or 5432,
            dbname=target.database,
            user=target.user,
            password=self._password or None,
            passfile=_NO_FILE,
            application_name=name,
            connect_timeout=CONNECT_S,
            sslmode=_SSL_MODES[target.tls],
            sslrootcert=target.tls_ca_file or ("system" if target.tls == "verify" else None),
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            autocommit=autocommit,
            prepare_threshold=None,
        )


class PostgreSQLSession:
    """A worker's connection."""

    def __init__(self, connection: psycopg.Connection[Any], wish: Wish) -> None:
        self._connection = connection
        self._wish = wish
        self.facts: Mapping[str, Any] = {"pid": connection.info.backend_pid}

    def run(self, sql: str, values: Sequence[Any]) -> Rows:
        """Run one statement; its rows come while they are read."""
        parameters = [_parameter(value) for value in values]
        described = self._describe(sql, parameters)
        cursor = psycopg.RawCursor(self._connection)
        if not described:
            cursor.execute(sql, parameters)
            return NoRows(cursor.rowcount if cursor.rowcount >= 0 else None)
        types = [_type_of(self._connection, oid, modifier, self._wish) for _, oid, modifier in described]
        return ReadRows([name for name, _, _ in described], types, _stream(cursor, sql, parameters))

    def commit_facts(self) -> Mapping[str, Any]:
        """Return the transaction's id, where it wrote anything."""
        if self._wish.is_autocommit:
            return {}
        row = self._connection.execute("SELECT txid_current_if_assigned()").fetchone()
        return {"xid": row[0] if row else None}

    def commit(self) -> None:
        """Commit."""
        self._connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        self._connection.rollback()

    def usage(self) -> Mapping[str, float]:
        """PostgreSQL counts nothing that it tells its clients."""
        return {}

    def interrupt(self) -> None:
        """Send a cancel request, on a connection of its own."""
        with contextlib.suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=5.0)

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    def _describe(self, sql: str, parameters: Sequence[Any]) -> list[tuple[str, int, int]]:
        """Return name, type and modifier of the columns that a statement will give; none where it gives no rows."""
        transformer = Transformer(self._connection)
        transformer.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
        if (
            not self._wish.is_autocommit
            and self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        ):
            self._connection.execute("SELECT 1")  # psycopg opens the transaction, with its level and mode
        pgconn = self._connection.pgconn
        for result in (
            pgconn.prepare(b"outboard", sql.encode(), transformer.types or ()),
            pgconn.describe_prepared(b"outboard"),
        ):
            if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)
        found = [
            ((result.fname(index) or b"").decode(), result.ftype(index), result.fmod(index))
            for index in range(result.nfields)
        ]
        self._connection.execute("DEALLOCATE outboard")
        return found


def _stream(cursor: psycopg.RawCursor[Any], sql: str, parameters: Sequence[Any]) -> Generator[Any, None, None]:
    yield from cursor.stream(sql, parameters, size=1_000)


def _settle(connection: psycopg.Connection[Any], target: Target, wish: Wish) -> None:
    """Make the session what the task asked for, outside of its transaction."""
    connection.autocommit = True
    for name, value in _settings_of(target, wish, connection.info.server_version).items():
        try:
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        except psycopg.errors.InvalidParameterValue:
            if name != "client_connection_check_interval":  # not on every system
                raise
    if wish.isolation:
        connection.isolation_level = psycopg.IsolationLevel[wish.isolation.upper().replace(" ", "_")]
    connection.read_only = wish.read_only or None
    for name in _AS_TEXT:
        if connection.adapters.types.get(name) is not None:
            connection.adapters.register_loader(name, TextLoader)
    connection.autocommit = wish.is_autocommit


def _settings_of(target: Target, wish: Wish, version: int) -> dict[str, str]:
    settings = dict(_SESSION)
    if version >= 140000:
        settings["client_connection_check_interval"] = "10s"
    if wish.timeout_s:
        settings["statement_timeout"] = f"{int(wish.timeout_s * 1000)}ms"
    if wish.read_only:
        settings["default_transaction_read_only"] = "on"
    if target.schema:
        names = (name.strip() for name in target.schema.split(","))
        settings["search_path"] = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    return settings


def _parameter(value: Any) -> Any:
    if isinstance(value, list):
        return [_parameter(each) for each in value]
    return Jsonb(value.value) if type(value).__name__ == "JsonValue" else value


def _type_of(connection: psycopg.Connection[Any], oid: int, modifier: int, wish: Wish) -> ColumnType:
    """Return what a column becomes, by its type's oid and modifier."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and a statement without rows needs none of it

    info = connection.adapters.types.get(oid)
    if info is None:
        return ColumnType(arrow=pa.string(), sql=f"oid {oid}", read=_text)
    if info.array_oid == oid and info.oid != oid:
        element = _type_of(connection, info.oid, modifier, wish)
        return ColumnType(arrow=pa.list_(element.arrow), sql=f"{element.sql}[]", read=_list_reader(element))
    if info.name == "numeric":
        if modifier < 4:
            return numeric_type(wish.numeric)
        return decimal_type(((modifier - 4) >> 16) & 0xFFFF, _signed_scale(modifier))
    simple: dict[str, Any] = {
        "bool": pa.bool_(),
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "oid": pa.int64(),
        "float4": pa.float32(),
        "float8": pa.float64(),
        "bytea": pa.binary(),
        "date": pa.date32(),
        "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", tz="UTC"),
    }
    if info.name in simple:
        return ColumnType(arrow=simple[info.name], sql=info.name)
    return ColumnType(arrow=pa.string(), sql=info.name, read=_text)


def _signed_scale(modifier: int) -> int:
    """The scale has eleven bits and a sign since PostgreSQL 15."""
    scale = (modifier - 4) & 0x7FF
    return scale - 0x800 if scale & 0x400 else scale


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _list_reader(element: ColumnType) -> Any:
    def read(values: Any) -> list[Any]:
        if any(isinstance(each, list) for each in values):
            raise ValueError("it has more than one dimension")
        if element.read is None:
            return list(values)
        return [None if each is None else element.read(each) for each in values]

    return read
