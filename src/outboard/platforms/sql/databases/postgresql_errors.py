"""PostgreSQL's errors: whose they are, and whether the same statement may pass later, by SQLSTATE.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html (read 2026-11-22). A code goes before its class (its
first two characters). `tests/unit/platforms/sql` holds the table against all classes of that page.
"""

from __future__ import annotations

from typing import Any

from outboard.platforms.sql.databases.meanings import BROKEN, CANCELLED, OPERATOR, PLATFORM, USER, Meaning
from outboard.platforms.sql.databases.port import Complaint, first_line

CODES: dict[str, Meaning] = {
    "57014": CANCELLED,  # query_canceled; by statement_timeout, see below
    "57P01": PLATFORM,  # admin_shutdown
    "57P02": PLATFORM,  # crash_shutdown
    "57P03": PLATFORM,  # cannot_connect_now
    "57P04": OPERATOR,  # database_dropped
    "57P05": PLATFORM,  # idle_session_timeout
    "25P03": PLATFORM,  # idle_in_transaction_session_timeout
    "25P04": USER,  # transaction_timeout
    "25006": USER,  # read_only_sql_transaction
    "55P03": PLATFORM,  # lock_not_available
    "55006": PLATFORM,  # object_in_use
    "40002": USER,  # transaction_integrity_constraint_violation
    "42501": OPERATOR,  # insufficient_privilege
    "3D000": OPERATOR,  # invalid_catalog_name: the connection's database
    "53400": USER,  # configuration_limit_exceeded
    "54000": USER,
    "72000": PLATFORM,  # snapshot_too_old
    "0A000": USER,
}
CLASSES: dict[str, Meaning] = {
    "00": USER,
    "01": USER,
    "02": USER,
    "03": USER,
    "08": PLATFORM,
    "09": USER,
    "0A": USER,
    "0B": USER,
    "0F": USER,
    "0L": USER,
    "0P": USER,
    "0Z": USER,
    "10": USER,
    "20": USER,
    "21": USER,
    "22": USER,
    "23": USER,
    "24": USER,
    "25": USER,
    "26": USER,
    "27": USER,
    "28": OPERATOR,
    "2B": USER,
    "2D": USER,
    "2F": USER,
    "34": USER,
    "38": USER,
    "39": USER,
    "3B": USER,
    "3D": OPERATOR,
    "3F": USER,
    "40": PLATFORM,
    "42": USER,
    "44": USER,
    "53": PLATFORM,
    "54": USER,
    "55": USER,
    "57": PLATFORM,
    "58": PLATFORM,
    "72": PLATFORM,
    "F0": OPERATOR,
    "HV": PLATFORM,
    "P0": USER,
    "XX": BROKEN,
}
_SESSION_ENDED = ("57P01", "57P02", "57P05", "25P03")
_TIMED_OUT = "statement timeout"
_LOGIN_WORDS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "certificate verify failed",
    "does not match host name",
    "server does not support SSL",
)


def meaning_of(error: BaseException) -> Complaint | None:
    """Return what an error of psycopg means; None for one that is not psycopg's."""
    import psycopg  # noqa: PLC0415 - the table above is read without it

    if not isinstance(error, psycopg.Error):
        return None
    code = error.sqlstate
    words = _words(error)
    if code is not None:
        if code == "57014" and _TIMED_OUT in words:
            return Complaint(code=code, words=words, actor="user", is_retryable=False)
        actor, is_retryable = CODES.get(code) or CLASSES.get(code[:2]) or BROKEN
        is_broken = code.startswith("08") or code in _SESSION_ENDED
        return Complaint(code=code, words=words, actor=actor, is_retryable=is_retryable, is_broken=is_broken)
    if isinstance(error, psycopg.OperationalError):
        # libpq gives no SQLSTATE for what happens before the session is there, nor for a connection that breaks.
        is_login = any(each in words for each in _LOGIN_WORDS)
        return Complaint(
            code="Login" if is_login else "ConnectionLost",
            words=words,
            actor="operator" if is_login else "platform",
            is_retryable=not is_login,
            is_broken=not is_login,
        )
    return Complaint(code=type(error).__name__, words=words, actor="user")


def _words(error: Any) -> str:
    """Return the message, its detail left out: that may hold rows' values."""
    primary = error.diag.message_primary
    return first_line(primary or error)
