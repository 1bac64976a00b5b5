"""MySQL and MariaDB, through PyMySQL.

Identity: the session holds the named lock of the key (`GET_LOCK`; keys and names are at most 64 characters) from its
connect until it has written its end. So a key has one session at most, `IS_USED_LOCK` says which, and the lock goes with
its session, however that ends. A cancel is `KILL QUERY` of that session; ids are never used twice while a server runs.

Parameters: PyMySQL itself pastes values into the text, so it is given none. They are set as user variables, each from a literal
that holds no quote (text and bytes in hexadecimal), and bound by `EXECUTE ... USING` to the question marks of a prepared
statement.

What a transaction covers is not for a client to know here: DDL commits by itself, and some engines know no transactions. So of a
statement that may write, nothing is promised when its worker dies; of one in a READ ONLY transaction, that it changed nothing.

Error numbers: https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html,
https://mariadb.com/kb/en/mariadb-error-code-reference/
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pymysql
from pymysql.constants import CLIENT, FIELD_TYPE, FLAG
from pymysql.converters import conversions
from pymysql.cursors import SSCursor

from outboard.platforms.sql.databases.columns import ColumnType, decimal_type
from outboard.platforms.sql.databases.mysql_errors import meaning_of
from outboard.platforms.sql.databases.port import Complaint, Database, Fate, Rows, Session, Sighting, Target, Wish
from outboard.platforms.sql.databases.rows import NoRows, ReadRows
from outboard.platforms.sql.databases.tls import tls_context

CONNECT_S = 15
_BINARY_CHARSET = 63
_TEXTS = (FIELD_TYPE.TIME, FIELD_TYPE.NEWDATE)
_READERS = {kind: reader for kind, reader in conversions.items() if kind not in _TEXTS}


def open_database(target: Target, password: str) -> Database:
    """Return the server of a target."""
    return MySQL(target, password)


class MySQL:
    """One database of a server, as one user."""

    is_seen = True

    def __init__(self, target: Target, password: str) -> None:
        self._target = target
        self._password = password

    def connect(self, key: str, wish: Wish) -> Session:
        """Return a session that holds the lock of a key."""
        connection = self._open(SSCursor)
        try:
            _settle(connection, key, wish)
        except BaseException:
            connection.close()
            raise
        return MySQLSession(connection, wish)

    def sightings(self, keys: Sequence[str]) -> Mapping[str, Sighting]:
        """Return the sessions that hold the locks of these keys."""
        with contextlib.closing(self._open()) as connection, connection.cursor() as cursor:
            asked = ", ".join(f"IS_USED_LOCK({_literal(key)})" for key in keys)
            cursor.execute(f"SELECT {asked}")
            holders = {int(holder): key for key, holder in zip(keys, cursor.fetchone() or (), strict=False) if holder}
            if not holders:
                return {}
            numbers = ", ".join(map(str, holders))
            cursor.execute(
                "SELECT id, coalesce(state, command), time FROM information_schema.processlist"  # noqa: S608 - numbers
                f" WHERE id IN ({numbers})"
            )
            states = {int(number): (str(state), float(seconds or 0)) for number, state, seconds in cursor.fetchall()}
        return {
            key: Sighting(state=states.get(number, ("", 0.0))[0], seconds=states.get(number, ("", 0.0))[1])
            for number, key in holders.items()
        }

    def cancel(self, key: str) -> None:
        """Kill what the session of a key runs, not the session."""
        with contextlib.closing(self._open()) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT IS_USED_LOCK({_literal(key)})")
            (holder,) = cursor.fetchone() or (None,)
            if holder:
                cursor.execute(f"KILL QUERY {int(holder)}")

    def undoes(self, wish: Wish) -> bool:
        """Tell whether the transaction could not write in the first place."""
        return wish.read_only

    def fate(self, key: str, wish: Wish, decision: Mapping[str, Any]) -> Fate:
        """Return what is certain: of a statement that only read, all; of one that may have written, nothing."""
        if key in self.sightings([key]):
            return Fate.LIVE
        if not wish.read_only:
            return Fate.UNKNOWN
        return Fate.DONE if decision.get("verdict") == "commit" else Fate.NOTHING

    def complain(self, error: BaseException) -> Complaint | None:
        """Return what an error of PyMySQL means."""
        return meaning_of(error)

    def _open(self, cursor: Any = pymysql.cursors.Cursor) -> Any:
        target = self._target
        context = tls_context(target)
        return pymysql.connect(
            host=target.host,
            port=target.port or 3306,
            database=(target.schema or target.database) or None,
            user=target.user,
            password=self._password.encode(),  # PyMySQL would take Latin-1
            charset="utf8mb4",
            connect_timeout=CONNECT_S,
            cursorclass=cursor,
            autocommit=True,
            conv=_READERS,
            client_flag=CLIENT.FOUND_ROWS,
            local_infile=False,
            program_name="outboard",
            ssl=context,
            ssl_disabled=context is None,
        )


class MySQLSession:
    """A worker's connection."""

    def __init__(self, connection: Any, wish: Wish) -> None:
        self._connection = connection
        self._wish = wish
        self.facts: Mapping[str, Any] = {"connection_id": connection.thread_id()}

    def run(self, sql: str, values: Sequence[Any]) -> Rows:
        """Run one statement; its rows come while they are read."""
        cursor = self._connection.cursor()
        if values:
            names = [f"@outboard_{number}" for number in range(len(values))]
            settings = ", ".join(f"{name} = {_literal(value)}" for name, value in zip(names, values, strict=True))
            cursor.execute(f"SET {settings}")
            cursor.execute(f"PREPARE outboard_statement FROM {_literal(sql)}")
            sql = f"EXECUTE outboard_statement USING {', '.join(names)}"
        cursor.execute(sql)
        fields = getattr(cursor._result, "fields", None)  # noqa: SLF001 - a description lacks flags and character sets
        if not cursor.description or not fields:
            affected = cursor.rowcount
            cursor.close()
            return NoRows(affected if 0 <= affected < 1 << 62 else None)
        return ReadRows([field.name for field in fields], [_type_of(field) for field in fields], _rows(cursor))

    def commit_facts(self) -> Mapping[str, Any]:
        """There is nothing to ask for afterwards."""
        return {}

    def commit(self) -> None:
        """Commit."""
        self._connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        self._connection.rollback()

    def usage(self) -> Mapping[str, float]:
        """MySQL counts nothing that it tells its clients."""
        return {}

    def interrupt(self) -> None:
        """Do nothing here: the worker has the database kill its query."""

    def close(self) -> None:
        """End the session, and with it the lock."""
        with contextlib.suppress(pymysql.Error, OSError):
            self._connection.close()


def _rows(cursor: Any) -> Generator[Any, None, None]:
    try:
        while row := cursor.fetchone():
            yield row
    finally:
        cursor.close()


def _settle(connection: Any, key: str, wish: Wish) -> None:
    """Take the lock and make the session what the task asked for."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT GET_LOCK({_literal(key)}, 0)")
        if (cursor.fetchone() or (0,))[0] != 1:
            raise pymysql.OperationalError(3058, "another session holds the lock of this statement")
        cursor.fetchall()
        cursor.execute("SET time_zone = '+00:00'")
        if wish.timeout_s:
            is_mariadb = "mariadb" in str(connection.get_server_info()).lower()
            setting = "max_statement_time" if is_mariadb else "max_execution_time"
            cursor.execute(f"SET SESSION {setting} = {wish.timeout_s if is_mariadb else int(wish.timeout_s * 1000)}")
        if wish.isolation:
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {wish.isolation.upper()}")
        if wish.read_only:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")  # those that a procedure begins, too
        if not wish.is_autocommit:
            cursor.execute(f"START TRANSACTION{' READ ONLY' if wish.read_only else ''}")


def _literal(value: Any) -> str:  # noqa: C901, PLR0911 - one line a kind
    """Return a literal that no text can break out of: digits, or hexadecimal."""
    if type(value).__name__ == "JsonValue":
        value = value.text
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise pymysql.DataError(1367, "MySQL has no NaN and no infinity")
        return f"{value!r}e0" if "e" not in repr(value) else repr(value)
    if isinstance(value, str):
        return f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, datetime):
        text = value.astimezone(timezone.utc).replace(tzinfo=None).isoformat(" ", "microseconds")
        return f"CAST(X'{text.encode().hex()}' AS DATETIME(6))"
    if isinstance(value, timedelta):
        return f"CAST(X'{_span(value).encode().hex()}' AS TIME(6))"
    raise pymysql.DataError(1210, "MySQL has no parameter of this type; pass lists as JSON")


def _span(value: timedelta) -> str:
    sign, span = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(span.days * 86_400 + span.seconds, 60)
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{span.microseconds:06}"


def _type_of(field: Any) -> ColumnType:
    """Return what a column becomes, by the type, flags and character set that the protocol gives."""
    import pyarrow as pa  # noqa: PLC0415 - heavy, and a statement without rows needs none of it

    code, is_unsigned = field.type_code, bool(field.flags & FLAG.UNSIGNED)
    integers = {
        FIELD_TYPE.TINY: ("tinyint", pa.int8(), pa.uint8()),
        FIELD_TYPE.SHORT: ("smallint", pa.int16(), pa.uint16()),
        FIELD_TYPE.INT24: ("mediumint", pa.int32(), pa.uint32()),
        FIELD_TYPE.LONG: ("int", pa.int32(), pa.uint32()),
        FIELD_TYPE.LONGLONG: ("bigint", pa.int64(), pa.uint64()),
        FIELD_TYPE.YEAR: ("year", pa.int16(), pa.int16()),
    }
    if code in integers:
        name, signed, unsigned = integers[code]
        return ColumnType(arrow=unsigned if is_unsigned else signed, sql=f"{name}{' unsigned' if is_unsigned else ''}")
    if code in (FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL):
        precision = field.length - (0 if is_unsigned else 1) - (1 if field.scale else 0)
        return decimal_type(max(precision, field.scale, 1), field.scale)
    simple = {
        FIELD_TYPE.FLOAT: ("float", pa.float32()),
        FIELD_TYPE.DOUBLE: ("double", pa.float64()),
        FIELD_TYPE.DATE: ("date", pa.date32()),
        FIELD_TYPE.NEWDATE: ("date", pa.date32()),
        FIELD_TYPE.DATETIME: ("datetime", pa.timestamp("us")),
        FIELD_TYPE.TIMESTAMP: ("timestamp", pa.timestamp("us", tz="UTC")),
        FIELD_TYPE.BIT: ("bit", pa.binary()),
        FIELD_TYPE.GEOMETRY: ("geometry", pa.binary()),
        FIELD_TYPE.JSON: ("json", pa.string()),
        FIELD_TYPE.TIME: ("time", pa.string()),
        FIELD_TYPE.NULL: ("null", pa.string()),
    }
    if code in simple:
        name, kind = simple[code]
        return ColumnType(arrow=kind, sql=name, read=_aware if code == FIELD_TYPE.TIMESTAMP else None)
    if field.charsetnr == _BINARY_CHARSET and not field.flags & (FLAG.ENUM | FLAG.SET):
        return ColumnType(arrow=pa.binary(), sql="varbinary")
    return ColumnType(arrow=pa.string(), sql="varchar")


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=timezone.utc) if isinstance(value, datetime) else value
