"""What the operator decides about the embedded platform, and what of it travels with a job's handle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from outboard.agent import Connection, Settings

MemoryLimit = Annotated[str, StringConstraints(pattern=r"(?i)^\d+(\.\d+)?\s*([KMGT]i?)?B$")]
"""A size as DuckDB writes it: `512MB`, `2GiB`."""

Threads = Annotated[int, Field(ge=1, le=1024)]


def default_root() -> Path:
    """Where jobs live unless the operator says otherwise: the user's state directory."""
    return Path.home() / ".local" / "state" / "outboard" / "jobs"


class EmbeddedSettings(Settings):
    """Settings of the embedded platform.

    Attributes:
        root: The folder of the job directories, on a local disk. Services that share it share their jobs.
        allow_process: Serve the task type `process`, which runs any command as the service's user.
        allow_external_access: Let the SQL of `duckdb` tasks name any file, address or installed extension, not only
            the task's inputs.
        memory_limit: DuckDB's memory for a `duckdb` job that does not ask for another; None is DuckDB's own default.
        threads: DuckDB's threads for such a job; None is one per core.
        rows_memory_limit: DuckDB's memory for one `duckdb_rows` answer, within the service's process.
        rows_threads: DuckDB's threads for one such answer.
    """

    root: Path = Field(default_factory=default_root)
    allow_process: bool = False
    allow_external_access: bool = False
    memory_limit: MemoryLimit | None = None
    threads: Threads | None = None
    rows_memory_limit: MemoryLimit = "256MB"
    rows_threads: Threads = 1


class EmbeddedConnection(Connection):
    """Which job directory a job lives in, so that it is found there after the setting has changed.

    Attributes:
        root: The folder of the job directories, absolute.
    """

    root: str
