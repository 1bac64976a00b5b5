"""The worker: one detached process that holds one statement, from its claim to its end.

1. It writes `claim`; a second worker of the same key leaves.
2. It takes a slot, connects under the key's name, and writes `start`. Whoever wanted the statement never to begin wrote
   that first.
3. It runs the statements in one transaction, and writes the last rows to a file, which gets its name.
4. It writes `decision` with all that a stranger needs to finish the story: the result, and how to ask what became of the
   commit. Whoever cancelled the statement or gave the worker up wrote that first; then it rolls back.
5. It commits, writes `end`, and only then lets the session go.

So at every moment a stranger who finds the worker gone can tell what became of the statement, as far as the database can.
The main thread only ticks: it tells signs of life, hears SIGTERM and interrupts the statement; a commit is never
interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from outboard.detached import job_files
from outboard.detached.transfers import TransferError
from outboard.platforms.sql import marks
from outboard.platforms.sql.databases.columns import UnfitValue
from outboard.platforms.sql.databases.port import Complaint, Database, Fate, Session, database_of, first_line
from outboard.platforms.sql.documents import (
    EXIT_NOT_OURS,
    EXIT_SYSTEM,
    EXIT_TOLD,
    PASSWORD_VARIABLE,
    STATEMENT_FILE,
    StatementSpec,
    cancelled,
    end_document,
    ended_by,
    lost,
    success,
    unknown,
)
from outboard.platforms.sql.marks import Marks, MarksUnavailable
from outboard.platforms.sql.results import Result, ResultFile, TooLarge
from outboard.platforms.sql.slots import take_slot
from outboard.platforms.sql.values import decode

T = TypeVar("T")
TICK_S = 0.25
ALIVE_EVERY_S = 15.0
FATE_S = 120.0
MARK_S = {marks.CLAIM: 60.0, marks.START: 120.0, marks.DECISION: 900.0, marks.END: 6 * 3600.0}
LONGEST_PAUSE_S = 20.0
LAST_MOMENTS_S = 20.0
"""How long an interrupted statement may take to notice, before the process leaves without it; the database undoes it then."""

OVERTIME_S = 1.0
"""How long a database has to keep the time limit itself. DuckDB has none, and SQL may lift the others'."""


class _Over(Exception):
    """The statement has an end; the document says which."""

    def __init__(self, end: dict[str, Any]) -> None:
        super().__init__(end["state"])
        self.end = end


class _NotOurs(Exception):
    """Another worker has the statement."""


def main(_arguments: list[str]) -> int:
    """Hold the statement of the job directory; the exit code says where its end is told."""
    folder = Path(os.environ[job_files.JOB_VARIABLE])
    password = os.environ.pop(PASSWORD_VARIABLE, "")
    spec = StatementSpec.from_document(json.loads((folder / STATEMENT_FILE).read_text("utf-8")))
    worker = Worker(folder, spec, password)
    signal.signal(signal.SIGTERM, worker.on_terminate)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    give_up: float | None = None
    while thread.is_alive() and (give_up is None or time.monotonic() < give_up):
        thread.join(TICK_S)
        worker.tick()
        if worker.is_told_to_stop and not worker.is_committing:
            give_up = give_up or time.monotonic() + LAST_MOMENTS_S
            worker.interrupt()  # again and again: one that came between two statements had no effect
        elif worker.is_overdue():
            worker.interrupt()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that hangs in a driver would keep the interpreter from ending.
    os._exit(worker.exit_code)


class Worker:
    """One statement.

    Args:
        folder: The job directory.
        spec: What to run, where.
        password: The database's.
    """

    def __init__(self, folder: Path, spec: StatementSpec, password: str) -> None:
        self.exit_code = EXIT_SYSTEM
        self.is_told_to_stop = False
        self.is_committing = False
        self._folder = folder
        self._spec = spec
        self._password = password
        self._marks = Marks(spec.place)
        self._session: Session | None = None
        self._database: Database | None = None
        self._file: ResultFile | None = None
        self._step = "claiming"
        self._told = ""
        self._alive_at = 0.0
        self._alive_step = ""
        self._is_ours = False
        self._began = time.time()
        self._statement_began: float | None = None

    def run(self) -> None:
        """Take the statement to its end; never raises."""
        try:
            self._claim()
            end = self._hold()
        except _NotOurs:
            self.exit_code = EXIT_NOT_OURS
            return
        except _Over as over:
            end = over.end
        except BaseException as error:  # noqa: BLE001 - the last line of defence of a process that must explain itself
            sys.stderr.write(f"{type(error).__name__}: {first_line(error)}\n")
            if not self._is_ours or isinstance(error, MarksUnavailable):
                return
            end = self._failed(error)
        if self._file is not None:
            self._file.remove()
        self._tell_end(end)
        if self._session is not None:
            self._session.close()

    def on_terminate(self, _number: int, _frame: object) -> None:
        """Hear SIGTERM."""
        self.is_told_to_stop = True

    def interrupt(self) -> None:
        """Make the running statement give up."""
        session, database = self._session, self._database
        if session is None or database is None:
            return
        session.interrupt()
        try:
            database.cancel(self._spec.key)  # a second way, for drivers that cannot interrupt
        except Exception as trouble:  # noqa: BLE001 - it is tried again at the next tick
            sys.stderr.write(f"cancel: {first_line(trouble)}\n")

    def is_overdue(self) -> bool:
        """Tell whether the running statement has exceeded its time limit, and nobody but us ends it."""
        return self._exceeds_its_time(OVERTIME_S)

    def tick(self) -> None:
        """Tell how far the statement is: to this machine at once, to others now and then."""
        rows = self._file.rows if self._file is not None else 0
        message = f"{self._step}, {rows:,} rows" if rows else self._step
        try:
            if message != self._told:
                job_files.write_latest(str(self._folder), job_files.PROGRESS, {"message": message, "rows": rows})
                self._told = message
            is_due = time.monotonic() - self._alive_at >= ALIVE_EVERY_S or self._step != self._alive_step
            if self._is_ours and is_due:
                self._alive_at, self._alive_step = time.monotonic(), self._step
                self._marks.write_latest(marks.ALIVE, {"message": message, "rows": rows})
                # Whoever cancels from another machine has no signal to send.
                if not self.is_committing and self._marks.read(marks.DECISION) is not None:
                    self.is_told_to_stop = self.is_told_to_stop or not self.is_committing
        except (OSError, MarksUnavailable):
            return

    def _claim(self) -> None:
        spec = self._spec
        claim = {
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "wish": asdict(spec.wish),
            "declared": spec.declared,
            "is_idempotent": spec.is_idempotent,
        }
        if self._write(marks.CLAIM, claim) is not None:
            raise _NotOurs
        self._is_ours = True
        self._step = "claimed"
        job_files.write_latest(str(self._folder), job_files.PROGRESS, {"message": self._step})

    def _hold(self) -> dict[str, Any]:
        """Return the end of the statement."""
        spec = self._spec
        if spec.limit:
            self._step = "waiting for one of the connection's slots"
            take_slot(Path(spec.slots), spec.limit, lambda: self.is_told_to_stop)  # until this process ends
        self._step = "connecting"
        database, session = self._connect()
        started = self._write(marks.START, {"verdict": "begin", **session.facts})
        if started is not None:
            return ended_by(started, is_begun=False)
        self._began = time.time()
        self._step = "running"
        result, affected = self._execute(session)
        return self._finish(database, session, result, affected)

    def _connect(self) -> tuple[Database, Session]:
        """Return a session, trying again for a while where that may help; nothing was sent yet."""
        give_up = time.monotonic() + self._spec.connect_s
        pause_s = 0.25
        while True:
            self._stop_if_told()
            try:
                database = database_of(self._spec.target, self._password)
            except ImportError as error:
                raise _Over(
                    end_document(
                        "FAILED",
                        code="NoDriver",
                        message=f"the driver for {self._spec.target.kind} is not installed ({error.name}); "
                        f"install outboard[sql] where the service runs",
                        actor="operator",
                        is_retryable=True,
                    )
                ) from error
            self._database = database
            try:
                self._session = database.connect(self._spec.key, self._spec.wish)
            except Exception as error:
                complaint = database.complain(error)
                if complaint is None or not complaint.is_retryable or time.monotonic() > give_up:
                    raise
                self._step = f"connecting: {complaint.words}"
            else:
                return database, self._session
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)

    def _execute(self, session: Session) -> tuple[Result | None, int | None]:
        """Run all statements; return the file of the last rows, and how many rows the last of the others wrote."""
        spec = self._spec
        result, affected = None, None
        uri = spec.output_uri or str(self._folder / "result")
        for number, (text, names) in enumerate(spec.statements, start=1):
            self._stop_if_told()
            if len(spec.statements) > 1:
                self._step = f"statement {number} of {len(spec.statements)}"
            values = [decode(spec.parameters[name]) for name in names]
            self._statement_began = time.monotonic()
            rows = session.run(f"/* outboard {spec.key} */ {text}", values)
            if rows.schema is None:
                affected = rows.affected if rows.affected is not None else affected
                continue
            self._file = ResultFile(uri, self._folder, max_rows=spec.max_rows, max_bytes=spec.max_bytes)
            result = self._file.write(rows.schema, rows.batches())
        self._statement_began = None
        if result is None and spec.output_uri:
            raise _Over(
                end_document(
                    "FAILED",
                    code="NoResult",
                    message="no statement gave rows, and the task declares a table; end the SQL with a SELECT",
                )
            )
        return result, affected

    def _finish(
        self, database: Database, session: Session, result: Result | None, affected: int | None
    ) -> dict[str, Any]:
        self._stop_if_told()
        if result is not None and self._spec.output_uri and self._file is not None:
            self._step = "storing the result"
            self._file.publish()
        self._step = "committing"
        facts = {
            "result": None if result is None else asdict(result),
            "affected": affected,
            "usage": {**session.usage(), "seconds": round(time.time() - self._began, 3)},
            **session.commit_facts(),
        }
        self._stop_if_told()
        self.is_committing = True
        decided = self._write(marks.DECISION, {"verdict": "commit", **facts})
        if decided is not None:
            session.rollback()
            return ended_by(decided, is_begun=True)
        try:
            session.commit()
        except Exception as error:  # noqa: BLE001 - what a driver raises is for the database to tell
            return self._after_commit(database, error, facts)
        return success(facts)

    def _after_commit(self, database: Database, error: Exception, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the end where a commit brought an error: the server's no, or a connection that broke."""
        complaint = database.complain(error)
        if complaint is None:
            raise error
        if not complaint.is_broken:
            return _failed_by(complaint)
        decision = {"verdict": "commit", **facts}
        give_up, fate = time.monotonic() + FATE_S, Fate.UNKNOWN
        while time.monotonic() < give_up:
            try:
                fate = database.fate(self._spec.key, self._spec.wish, decision)
            except Exception:  # noqa: BLE001 - the server is away; it may come back
                fate = Fate.LIVE
            if fate is not Fate.LIVE:
                break
            time.sleep(1.0)
        if fate is Fate.DONE:
            return success(facts)
        return _failed_by(complaint) if fate is Fate.NOTHING else self._unknown(complaint)

    def _failed(self, error: BaseException) -> dict[str, Any]:
        """Return the end of a statement that failed, after it was undone where that can be done."""
        if isinstance(error, TooLarge):
            end = end_document("FAILED", code="ResultTooLarge", message=str(error))
        elif isinstance(error, UnfitValue):
            end = end_document("FAILED", code="UnfitValue", message=str(error))
        elif isinstance(error, (TransferError, OSError)):
            words = f"the result cannot be stored: {first_line(error)}"
            end = end_document("FAILED", code="StoreUnavailable", message=words, actor="operator", is_retryable=True)
        else:
            end = self._failed_in_database(error)
        if self._session is not None:
            try:
                self._session.interrupt()
                self._session.rollback()
            except Exception as trouble:  # noqa: BLE001 - a broken session is undone by its server
                sys.stderr.write(f"rollback: {first_line(trouble)}\n")
        return self._as_decided(end)

    def _failed_in_database(self, error: BaseException) -> dict[str, Any]:
        complaint = self._database.complain(error) if self._database is not None else None
        if complaint is None:
            words = f"the worker failed: {type(error).__name__}"
            return end_document("FAILED", code=type(error).__name__, message=words, actor="platform", is_retryable=True)
        is_undone = self._session is None or (self._database is not None and self._database.undoes(self._spec.wish))
        if complaint.is_broken and not is_undone:
            return self._unknown(complaint)
        if complaint.actor == "cancelled" and self._exceeds_its_time():  # whatever language the server speaks
            words = f"the statement exceeded its time limit of {self._spec.wish.timeout_s:g} s"
            return end_document("FAILED", code=complaint.code, message=words)
        return _failed_by(complaint)

    def _exceeds_its_time(self, overtime_s: float = 0.0) -> bool:
        began, limit_s = self._statement_began, self._spec.wish.timeout_s
        return bool(limit_s) and began is not None and time.monotonic() - began >= limit_s + overtime_s

    def _unknown(self, complaint: Complaint) -> dict[str, Any]:
        return lost(complaint.words) if self._spec.is_idempotent else unknown(complaint.words)

    def _as_decided(self, end: dict[str, Any]) -> dict[str, Any]:
        """Return the end that a decision of others makes of a failure: who cancelled gets a cancelled statement."""
        verdict = "cancelled" if self.is_told_to_stop else "failed"
        decided = self._write(marks.DECISION, {"verdict": verdict})
        verdict = str(decided.get("verdict")) if decided is not None else verdict
        if end["state"] == "FAILED" and verdict in ("cancelled", "lost"):
            return ended_by({"verdict": verdict}, is_begun=True)
        return end

    def _stop_if_told(self) -> None:
        if not self.is_told_to_stop:
            return
        if self._session is not None:
            self._session.rollback()
        self._write(marks.START, {"verdict": "never", "reason": "cancelled"})
        decided = self._write(marks.DECISION, {"verdict": "cancelled"})
        raise _Over(cancelled() if decided is None else ended_by(decided, is_begun=True))

    def _write(self, name: str, document: Mapping[str, Any]) -> dict[str, Any] | None:
        return _insist(lambda: self._marks.write_once(name, dict(document)), MARK_S[name])

    def _tell_end(self, end: dict[str, Any]) -> None:
        end = {**end, "declared": self._spec.declared, "ended_at": time.time()}
        try:
            self._write(marks.END, end)
        except MarksUnavailable as error:
            sys.stderr.write(f"the end cannot be told: {error}\n")
            return
        self.exit_code = EXIT_TOLD


def _failed_by(complaint: Complaint) -> dict[str, Any]:
    return end_document(
        "FAILED",
        code=complaint.code,
        message=complaint.words,
        actor=complaint.actor,
        is_retryable=complaint.is_retryable,
    )


def _insist(write: Callable[[], T], for_s: float) -> T:
    """Write, and try again for so long where the store does not answer."""
    give_up, pause_s = time.monotonic() + for_s, 0.2
    while True:
        try:
            return write()
        except MarksUnavailable:
            if time.monotonic() + pause_s > give_up:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
