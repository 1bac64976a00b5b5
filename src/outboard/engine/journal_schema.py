"""The journal's tables, every statement that touches them, and how an older file becomes a newer one.

Specifications and outputs are written once and may be large, while a task's row changes with every step, and SQLite
rewrites a whole row on each change: hence three tables. Times are seconds since 1970 in UTC.

`MIGRATIONS[n]` takes a file from version n to n + 1; a released one never changes. A file of a newer version is refused
rather than guessed at. The application id tells our files from other people's databases.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from outboard.errors import JournalUnwritable

APPLICATION_ID: Final = int.from_bytes(b"OBRD", "big")
BUSY_TIMEOUT_S: Final = 10.0
_BUSY_PAUSE_S: Final = 0.01

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at REAL NOT NULL)",
        "CREATE TABLE run (run_id TEXT PRIMARY KEY, title TEXT NOT NULL, created_at REAL NOT NULL)",
        """CREATE TABLE lease (
            run_id TEXT PRIMARY KEY, token TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL,
            boot_id TEXT NOT NULL, namespace TEXT NOT NULL, host TEXT NOT NULL, taken_at REAL NOT NULL)""",
        """CREATE TABLE task (
            run_id TEXT NOT NULL, task_id TEXT NOT NULL, endpoint TEXT, attempt INTEGER, handle BLOB,
            phase TEXT, message TEXT NOT NULL DEFAULT '', links TEXT, error TEXT,
            created_at REAL NOT NULL, started_at REAL, updated_at REAL NOT NULL, ended_at REAL, cancel_requested_at REAL,
            PRIMARY KEY (run_id, task_id))""",
        """CREATE TABLE spec (
            run_id TEXT NOT NULL, task_id TEXT NOT NULL, spec BLOB NOT NULL, options TEXT NOT NULL,
            PRIMARY KEY (run_id, task_id))""",
        """CREATE TABLE output (
            run_id TEXT NOT NULL, task_id TEXT NOT NULL, outputs BLOB NOT NULL, PRIMARY KEY (run_id, task_id))""",
        "CREATE INDEX task_unfinished ON task (run_id) WHERE ended_at IS NULL",
        "CREATE INDEX task_by_id ON task (task_id)",
    ),
    (
        "ALTER TABLE run ADD COLUMN target TEXT",
        "ALTER TABLE task ADD COLUMN attempt_started_at REAL",
        "UPDATE task SET attempt_started_at = started_at WHERE attempt = 0",  # of later attempts nobody knows
        "CREATE INDEX task_by_run ON task (run_id)",  # its entries are in the order of planning
    ),
    (
        "ALTER TABLE run ADD COLUMN fail_fast INTEGER NOT NULL DEFAULT 0",
        """CREATE TABLE owed_cancel (
            run_id TEXT NOT NULL, task_id TEXT NOT NULL, attempt INTEGER NOT NULL, endpoint TEXT NOT NULL,
            handle BLOB NOT NULL, is_reported_over INTEGER NOT NULL, owed_at REAL NOT NULL,
            PRIMARY KEY (run_id, task_id, attempt))""",
    ),
)

INSERT_RUN: Final = "INSERT INTO run (run_id, title, created_at, target, fail_fast) VALUES (?, ?, ?, ?, ?)"
SELECT_RUN: Final = "SELECT fail_fast FROM run WHERE run_id = ?"
SELECT_TARGET: Final = "SELECT target FROM run WHERE run_id = ?"
SELECT_RUNS: Final = """
    SELECT run.run_id, title, run.created_at, lease.pid, lease.started, lease.boot_id, lease.namespace, lease.host
    FROM run LEFT JOIN lease USING (run_id) ORDER BY run.rowid DESC"""
COUNT_PHASES: Final = """
    SELECT run_id, CASE WHEN ended_at IS NULL THEN NULL ELSE phase END AS final, count(*)
    FROM task GROUP BY run_id, final"""

SELECT_LEASE: Final = "SELECT token, pid, started, boot_id, namespace, host FROM lease WHERE run_id = ?"
TAKE_LEASE: Final = """
    INSERT OR REPLACE INTO lease (run_id, token, pid, started, boot_id, namespace, host, taken_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
RELEASE_LEASE: Final = "DELETE FROM lease WHERE run_id = ? AND token = ?"
RELEASE_LEASES: Final = "DELETE FROM lease WHERE token = ?"

OWE: Final = """
    INSERT OR IGNORE INTO owed_cancel (run_id, task_id, attempt, endpoint, handle, is_reported_over, owed_at)
    VALUES (:run, :task, :attempt, :endpoint, :handle, :is_reported_over, :now)"""
SETTLE: Final = "DELETE FROM owed_cancel WHERE run_id = ? AND task_id = ? AND attempt = ?"
SELECT_OWED: Final = """
    SELECT task_id, attempt, endpoint, handle, is_reported_over, owed_at
    FROM owed_cancel WHERE run_id = ? ORDER BY rowid"""
COUNT_OWED: Final = "SELECT run_id, count(*) FROM owed_cancel GROUP BY run_id"

INSERT_TASK: Final = "INSERT INTO task (run_id, task_id, created_at, updated_at) VALUES (?, ?, ?, ?)"
INSERT_SPEC: Final = "INSERT INTO spec (run_id, task_id, spec, options) VALUES (?, ?, ?, ?)"
INSERT_OUTPUTS: Final = "INSERT OR IGNORE INTO output (run_id, task_id, outputs) VALUES (?, ?, ?)"
CREATING: Final = """
    UPDATE task SET attempt = :attempt, endpoint = :endpoint, handle = NULL, phase = NULL, message = '', links = NULL,
        started_at = coalesce(started_at, :now), updated_at = :now,
        attempt_started_at = CASE WHEN attempt = :attempt THEN coalesce(attempt_started_at, :now) ELSE :now END
    WHERE run_id = :run AND task_id = :task AND ended_at IS NULL
        AND (attempt IS NULL OR attempt < :attempt OR (attempt = :attempt AND handle IS NULL))"""
CREATED: Final = """
    UPDATE task SET handle = :handle, updated_at = :now
    WHERE run_id = :run AND task_id = :task AND attempt = :attempt AND ended_at IS NULL"""
PHASE: Final = """
    UPDATE task SET phase = :phase, message = :message, links = coalesce(:links, links), updated_at = :now
    WHERE run_id = :run AND task_id = :task AND attempt = :attempt AND ended_at IS NULL"""
ENDED: Final = """
    UPDATE task SET phase = :phase, message = :message, links = coalesce(:links, links), error = :error,
        updated_at = :now, ended_at = :now
    WHERE run_id = :run AND task_id = :task AND attempt IS :attempt AND ended_at IS NULL"""
IS_ENDED: Final = "SELECT ended_at IS NOT NULL FROM task WHERE run_id = ? AND task_id = ?"
REQUEST_CANCEL: Final = """
    UPDATE task SET cancel_requested_at = coalesce(cancel_requested_at, :now), updated_at = :now
    WHERE run_id = :run AND task_id = :task AND ended_at IS NULL"""
SELECT_CANCELS: Final = """
    SELECT task_id FROM task WHERE run_id = ? AND ended_at IS NULL AND cancel_requested_at IS NOT NULL ORDER BY rowid"""

TASK_COLUMNS: Final = (
    "run_id, task_id, endpoint, attempt, handle, phase, message, links, error, "
    "created_at, started_at, attempt_started_at, updated_at, ended_at, cancel_requested_at"
)
SELECT_TASKS: Final = f"SELECT {TASK_COLUMNS} FROM task WHERE run_id = ? ORDER BY rowid"  # noqa: S608 - our own names
SELECT_OPEN: Final = f"SELECT {TASK_COLUMNS} FROM task WHERE run_id = ? AND ended_at IS NULL ORDER BY rowid LIMIT ?"  # noqa: S608 - our own names
SELECT_ENDED: Final = (
    f"SELECT {TASK_COLUMNS} FROM task INDEXED BY task_by_run "  # noqa: S608 - our own names
    "WHERE run_id = ? AND ended_at IS NOT NULL ORDER BY rowid LIMIT ?"
)
SELECT_NEWEST: Final = (
    f"SELECT {TASK_COLUMNS} FROM task WHERE task_id = :task AND run_id = coalesce(:run, run_id) "  # noqa: S608 - our own names
    "ORDER BY rowid DESC LIMIT 1"
)
SELECT_IDS: Final = """
    SELECT DISTINCT task_id FROM task
    WHERE task_id >= :first AND task_id < :beyond AND run_id = coalesce(:run, run_id) ORDER BY task_id LIMIT :limit"""
SELECT_OPEN_IDS: Final = "SELECT task_id FROM task WHERE run_id = ? AND ended_at IS NULL ORDER BY rowid"
SELECT_OPEN_ENDPOINTS: Final = """
    SELECT endpoint FROM task WHERE run_id = :run AND ended_at IS NULL
    UNION SELECT endpoint FROM owed_cancel WHERE run_id = :run"""
SELECT_UNFINISHED: Final = (
    f"SELECT {TASK_COLUMNS}, spec, options FROM task JOIN spec USING (run_id, task_id) "  # noqa: S608 - our own names
    "WHERE ended_at IS NULL AND run_id = coalesce(?, run_id) ORDER BY task.rowid"
)
SELECT_SPEC: Final = "SELECT spec, options FROM spec WHERE run_id = ? AND task_id = ?"
SELECT_OUTPUTS: Final = "SELECT outputs FROM output WHERE run_id = ? AND task_id = ?"

SELECT_ENDED_BEFORE: Final = """
    SELECT run.run_id, lease.pid, lease.started, lease.boot_id, lease.namespace, lease.host
    FROM run LEFT JOIN lease USING (run_id)
    WHERE run.created_at < :moment AND NOT EXISTS (
        SELECT 1 FROM task WHERE task.run_id = run.run_id AND (ended_at IS NULL OR ended_at >= :moment))
        AND NOT EXISTS (SELECT 1 FROM owed_cancel WHERE owed_cancel.run_id = run.run_id)
    ORDER BY run.rowid"""
FORGET_RUN: Final = (
    "DELETE FROM output WHERE run_id = ?",
    "DELETE FROM spec WHERE run_id = ?",
    "DELETE FROM task WHERE run_id = ?",
    "DELETE FROM lease WHERE run_id = ?",
    "DELETE FROM run WHERE run_id = ?",
)


def connect(path: Path, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    """Return a connection to the journal at `path`, created or brought to the present version where needed.

    Raises:
        JournalUnwritable: The folder or the file cannot be written, is something else, or is of a newer version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the journal's folder {path.parent} cannot be made ({error.strerror}): choose another one"
        raise JournalUnwritable(message) from error
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from error
    try:
        _refuse_foreign_file(connection, path)
        _use_wal(connection)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        migrate(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _cannot_open(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring a file to the version that `migrations` lead to, in one transaction.

    Raises:
        JournalUnwritable: It is of a newer version.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        _refuse_newer(version, len(migrations), path)
        for number, statements in enumerate(migrations[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version VALUES (?, ?)", (number, time.time()))
        if version == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _refuse_newer(version: int, known: int, path: Path) -> None:
    if version > known:
        message = f"the journal {path} has the newer format {version}: upgrade outboard, or choose another journal"
        raise JournalUnwritable(message)


def _version(connection: sqlite3.Connection) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone():
        return 0
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()[0])


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode; SQLite answers "busy" at once, without its own waiting, while another process does the same."""
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:  # Python 3.10 has no error codes
                raise
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


def _refuse_foreign_file(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN")  # else another process may make the journal between the two questions
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    is_empty = not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    connection.execute("COMMIT")
    if application_id != APPLICATION_ID and (application_id or not is_empty):
        raise JournalUnwritable(f"{path} is another program's database: choose another path for the journal")


def _cannot_open(path: Path, error: sqlite3.Error) -> JournalUnwritable:
    if path.is_dir():
        return JournalUnwritable(f"{path} is a folder: give the path of a file for the journal")
    if isinstance(error, sqlite3.OperationalError):
        reason = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        return JournalUnwritable(
            f"the journal {path.name} in {path.parent} cannot be opened ({reason}): "
            "check the permissions and the free space of the folder, or choose another one"
        )
    return JournalUnwritable(f"{path} is no journal: move it away, or choose another path")
