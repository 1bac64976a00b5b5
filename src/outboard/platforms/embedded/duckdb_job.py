"""The program of a DuckDB job: `boot.py outboard.platforms.embedded.duckdb_job`, in a job directory that holds `query.json`.

The query runs in a thread of its own; the main thread writes `progress.json` twice a second and hears SIGTERM, which
interrupts the query. The result is complete before it has its name: it is written next to its place and renamed, or
written locally and uploaded, and only then described in `result.json`.

Failures leave `error.json` (whose fault, DuckDB's name for it, the first line of its words) and all of DuckDB's words
in the job's own `stderr.log`. Nothing about the SQL goes anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outboard.detached import job_files, transfers
from outboard.platforms.embedded import duckdb_inputs

if TYPE_CHECKING:
    from outboard.platforms.embedded.duckdb_session import Session, Table

QUERY_FILE = "query.json"
TICK_S = 0.5
INTERRUPT_PATIENCE_TICKS = 4
"""How often the query is interrupted before the program leaves without it: a download hears no interrupt."""

EXIT_USER = 2
EXIT_SYSTEM = 3
EXIT_INTERRUPTED = 128 + signal.SIGTERM
SYSTEM_ERRORS = ("OutOfMemoryException", "InternalException", "FatalException", "HTTPException", "ConnectionException")
"""DuckDB's errors that the SQL's author cannot mend by changing the SQL, or that may pass by themselves."""


def main(_arguments: list[str]) -> int:
    """Run the query of the job directory; the exit code says who must act."""
    folder = Path(os.environ[job_files.JOB_VARIABLE])
    job = QueryJob(folder, json.loads((folder / QUERY_FILE).read_text("utf-8")))
    signal.signal(signal.SIGTERM, job.on_terminate)
    worker = threading.Thread(target=job.run, daemon=True)
    worker.start()
    left = INTERRUPT_PATIENCE_TICKS
    while worker.is_alive() and left:
        worker.join(TICK_S)
        job.tell_progress()
        if job.is_told_to_stop:
            job.interrupt()
            left -= 1
    job.clean_up()
    sys.stdout.flush()
    sys.stderr.flush()
    # A worker that hangs in a foreign library would keep the interpreter from ending.
    os._exit(EXIT_INTERRUPTED if job.is_told_to_stop else job.exit_code)


class QueryJob:
    """One query from its document to its result.

    Args:
        folder: The job directory.
        query: What `queries.Query` wrote.
    """

    def __init__(self, folder: Path, query: dict[str, Any]) -> None:
        self.exit_code = EXIT_SYSTEM
        self.is_told_to_stop = False
        self._folder = folder
        self._query = query
        self._spill = folder / "spill"
        self._staging = folder / "inputs"
        self._session: Session | None = None
        self._step = ""
        self._target = duckdb_inputs.local_path(query["output_uri"])
        place = folder / "output" if self._target is None else self._target.parent
        self._output = place / f".{folder.name}.{os.getpid()}.parquet"

    def run(self) -> None:
        """Run the query and record how it went; never raises."""
        try:
            table = self._execute()
            self._step = "storing the result"
            self._publish(table)
        except BaseException as error:  # noqa: BLE001 - the last line of defence of a process that must explain itself
            if not self.is_told_to_stop:
                self._explain(error)
        else:
            self.exit_code = 0

    def tell_progress(self) -> None:
        """Write how far the query is."""
        session = self._session
        percent = session.percent() if session is not None else None
        message = self._step or (session.step if session is not None else "")
        try:
            job_files.write_latest(str(self._folder), job_files.PROGRESS, {"percent": percent, "message": message})
        except OSError:
            return

    def interrupt(self) -> None:
        """Make the running statement give up."""
        if self._session is not None:
            self._session.interrupt()

    def on_terminate(self, _number: int, _frame: object) -> None:
        """Hear SIGTERM."""
        self.is_told_to_stop = True
        self.interrupt()

    def clean_up(self) -> None:
        """Remove what only the query needed."""
        for folder in (self._spill, self._staging, self._folder / "output"):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            self._output.unlink(missing_ok=True)

    def _execute(self) -> Table | None:
        from outboard.platforms.embedded.duckdb_session import Session  # noqa: PLC0415 - its absence must be told

        query = self._query
        self._output.parent.mkdir(parents=True, exist_ok=True)
        self._spill.mkdir(exist_ok=True)
        session = Session(self._spill, memory_limit=query["memory_limit"], threads=query["threads"])
        readable: list[Path] = []
        self._step = "reading the inputs"
        for name, table in query["tables"].items():
            staging = self._staging / f"{len(readable)}"
            files, file_format = duckdb_inputs.local_files(name, table["uris"], table["format"], staging)
            session.add_view(duckdb_inputs.view_of(name, files, file_format))
            readable += files
        session.lock(readable, self._output, allows_external_access=query["allows_external_access"])
        parameters = {name: duckdb_inputs.decode(value) for name, value in query["parameters"].items()}
        self._step, self._session = "", session
        try:
            return session.run(query["sql"], parameters, self._output)
        finally:
            self._session = None
            session.close()

    def _publish(self, table: Table | None) -> None:
        """Give the result its name and describe it; a query without a SELECT has none."""
        if table is None:
            job_files.write_latest(
                str(self._folder), job_files.RESULT, {"uri": None, "columns": [], "rows": 0, "size_bytes": 0}
            )
            return
        size_bytes = self._output.stat().st_size
        if self._target is None:
            transfers.upload(self._output, self._query["output_uri"])
        else:
            self._output.replace(self._target)
        document: job_files.Document = {
            "uri": self._query["output_uri"],
            "format": "parquet",
            "columns": [list(column) for column in table.columns],
            "rows": table.rows,
            "size_bytes": size_bytes,
        }
        job_files.write_latest(str(self._folder), job_files.RESULT, document)

    def _explain(self, error: BaseException) -> None:
        is_user_error = is_users_to_mend(error)
        self.exit_code = EXIT_USER if is_user_error else EXIT_SYSTEM
        words = str(error) or type(error).__name__
        sys.stderr.write(words + "\n")
        document: job_files.Document = {
            "kind": "user" if is_user_error else "system",
            "code": type(error).__name__,
            "message": words.splitlines()[0][:256],
        }
        job_files.write_latest(str(self._folder), job_files.ERROR, document)


def is_users_to_mend(error: BaseException) -> bool:
    """Whether the author of the SQL or of the inputs must act, rather than whoever runs the job."""
    if isinstance(error, duckdb_inputs.InputError):
        return True
    if not type(error).__module__.endswith("duckdb") or type(error).__name__ in SYSTEM_ERRORS:
        return False
    is_about_files = type(error).__name__ == "IOException"
    return not is_about_files or "No files found" in str(error)
