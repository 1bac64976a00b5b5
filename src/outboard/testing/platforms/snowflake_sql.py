"""What statements do on a Snowflake account of the test kit: as a table says, or for real, in DuckDB.

A result is kept in the form of the SQL API: a type for each column, and texts. What DuckDB knows of SQL it says in
Snowflake's codes, as near as it gets: a syntax error, an object or a column that is not there, a value that is none of its
type.

Source: https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses (values as texts), .../submitting-requests
(bind variables); read 2026-11-22.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Final

from outboard.testing.ledger import Course

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_KINDS: Final = frozenset(
    {
        *("FIXED", "REAL", "DECFLOAT", "TEXT", "BINARY", "BOOLEAN", "DATE", "TIME"),
        *("TIMESTAMP_TZ", "TIMESTAMP_LTZ", "TIMESTAMP_NTZ"),
    }
)
_UTC_OFFSET: Final = "1440"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a statement does.

    Attributes:
        course: How it goes.
        columns: Names and types of the result.
        rows: The result, as texts and None.
        error: Code, SQL state and words, where it fails.
        is_at_once: Whether it fails before it has a handle.
        stats: What a statement changed.
        children: How many statements there are within.
    """

    course: Course = field(default_factory=lambda: Course(running_s=3))
    columns: Sequence[tuple[str, str]] = ()
    rows: Sequence[Sequence[str | None]] = ()
    error: tuple[str, str, str] = ("001003", "42000", "SQL compilation error:\nsyntax error line 1 at position 0")
    is_at_once: bool = False
    stats: Mapping[str, int] = field(default_factory=dict)
    children: int = 0


def failing(code: str, sql_state: str, words: str, **more: Any) -> Answer:
    """Return an answer that is a failure."""
    return Answer(course=Course(running_s=1, outcome="FAILED"), error=(code, sql_state, words), **more)


class Engine:
    """A database in memory that understands enough of Snowflake's SQL."""

    def __init__(self) -> None:
        import duckdb  # noqa: PLC0415 - an extra

        self._errors = duckdb
        self._database = duckdb.connect(":memory:")
        self._database.execute("SET TimeZone = 'UTC'")

    def run(self, sql: str, bindings: Mapping[str, Mapping[str, Any]]) -> Answer:
        """Execute a statement and return what it does."""
        try:
            values = [value_of(bindings[str(n)]) for n in range(1, len(bindings) + 1)]
            found = self._database.execute(sql, values)
            columns = [(str(name), str(kind)) for name, kind, *_ in found.description or ()]
            rows = found.fetchall()
        except ValueError as error:
            return failing("100037", "22018", str(error))
        except self._errors.Error as error:
            return failing(*self._told(error))
        kinds = [_kind(kind) for _, kind in columns]
        texts = [[_text(value) for value in row] for row in rows]
        return Answer(
            columns=[(name.upper(), kind) for (name, _), kind in zip(columns, kinds, strict=True)], rows=texts
        )

    def _told(self, error: Exception) -> tuple[str, str, str]:
        known = {
            self._errors.ParserException: (
                "001003",
                "42000",
                "SQL compilation error:\nsyntax error line 1 at position 0.",
            ),
            self._errors.CatalogException: (
                *("002003", "42S02"),
                "SQL compilation error:\nObject does not exist or not authorized.",
            ),
            self._errors.InvalidInputException: ("002049", "42601", "SQL compilation error:\nBind variable ? not set."),
            self._errors.ConversionException: ("100038", "22018", "Numeric value is not recognized"),
        }
        unknown = ("000904", "42000", "SQL compilation error: error line 1 at position 7\ninvalid identifier")
        return next((told for kind, told in known.items() if isinstance(error, kind)), unknown)

    def close(self) -> None:
        """Forget everything."""
        self._database.close()


def value_of(binding: Mapping[str, Any]) -> Any:
    """Return the value of a bind variable; `ValueError` for what the SQL API refuses."""
    kind, text = binding.get("type"), binding.get("value")
    if kind not in _KINDS:
        raise ValueError(f"Invalid bind type {kind}")
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(f"{kind} value must be a string")  # noqa: TRY004 - one kind of refusal
    if str(kind).startswith("TIMESTAMP"):
        return _moment(str(kind), text)
    read: dict[str, Callable[[str], Any]] = {
        "FIXED": int,
        "REAL": float,
        "DECFLOAT": float,
        "BOOLEAN": lambda truth: {"true": True, "1": True, "false": False, "0": False}[truth],
        "BINARY": bytes.fromhex,
        "DATE": lambda ms: (_EPOCH + timedelta(milliseconds=int(ms))).date(),
        "TIME": lambda ns: (_EPOCH + timedelta(microseconds=int(ns) // 1_000)).time(),
    }
    return read.get(str(kind), str)(text)


def _moment(kind: str, text: str) -> datetime:
    if kind == "TIMESTAMP_TZ" and not re.fullmatch(r"-?\d+ \d{1,4}", text):
        raise ValueError("TIMESTAMP_TZ value is not recognized")
    moment = _EPOCH + timedelta(microseconds=int(text.partition(" ")[0]) // 1_000)
    return moment.replace(tzinfo=None) if kind == "TIMESTAMP_NTZ" else moment


def _kind(duckdb_type: str) -> str:
    name = duckdb_type.upper().partition("(")[0]
    kinds = {
        "DOUBLE": "real",
        "FLOAT": "real",
        "BOOLEAN": "boolean",
        "DATE": "date",
        "TIME": "time",
        "TIMESTAMP": "timestamp_ntz",
        "TIMESTAMP WITH TIME ZONE": "timestamp_tz",
        "BLOB": "binary",
        "DATETIME": "timestamp_ntz",
        "NUMBER": "fixed",
        "DECIMAL": "fixed",
    }
    if name.endswith("INT") or name in ("INTEGER", "HUGEINT"):
        return "fixed"
    return kinds.get(name, "text")


def _text(value: Any) -> str | None:
    spellings: tuple[tuple[type, Callable[[Any], str]], ...] = (
        (bool, lambda truth: str(truth).lower()),
        (bytes, lambda data: data.hex().upper()),
        (datetime, _seconds),
        (date, lambda day: str((day - _EPOCH.date()).days)),
        (time, lambda clock: f"{clock.hour * 3_600 + clock.minute * 60 + clock.second}.{clock.microsecond:06d}000"),
    )
    if value is None:
        return None
    return next((spell(value) for kind, spell in spellings if isinstance(value, kind)), str(value))


def _seconds(moment: datetime) -> str:
    since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)) - _EPOCH
    text = f"{since // timedelta(seconds=1)}.{since.microseconds:06d}000"
    return f"{text} {_UTC_OFFSET}" if moment.tzinfo is not None else text
