"""Cases of the embedded platform: its jobs are processes, the truth about them is their job directory.

Faults strike at the agents' boundary. Time is real, and jobs that outlive a check would outlive the run, so each stand-in
ends what still runs when it is taken down.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from outboard.agent import Task
from outboard.detached.job_directory import JobDirectory
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, ListType, SimpleType
from outboard.errors import OutboardError
from outboard.host.stores import Stores
from outboard.platforms.embedded.duckdb_agent import DuckDBAgent
from outboard.platforms.embedded.platform import Embedded
from outboard.platforms.embedded.process_agent import ProcessAgent
from outboard.platforms.embedded.rows_agent import DuckDBRowsAgent
from outboard.platforms.embedded.settings import EmbeddedSettings
from outboard.testing.conformance.cases import Case, Clock, MakeStandIn, PlatformJob, Site, StandIn

_SLEEPING_SQL: Final = "SELECT pg_sleep(600)"
_COMPUTING_SQL: Final = "SELECT count(*) FROM range(10000000000) a, range(1000) b WHERE a.range % 7 = b.range % 3"
_ENDING_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.05
_ONE_ROW: Final = Interface(outputs={"rows": ListType(SimpleType.STRUCT)})


def _process(*command: str) -> RawTask:
    return Task(type="process", config={"command": list(command), "grace_s": 0.2})


def _query(kind: str, sql: str, interface: Interface, **config: Any) -> RawTask:
    return Task(type=kind, config={"sql": sql, **config}, interface=interface)


@cache
def _long_sql() -> str:
    """Return a query without an end; one that leaves the processors to the other checks, where this DuckDB has it."""
    import duckdb  # noqa: PLC0415 - the case of commands needs none

    asked = "SELECT count(*) FROM duckdb_functions() WHERE function_name = 'pg_sleep'"
    with duckdb.connect() as connection:
        return _SLEEPING_SQL if connection.execute(asked).fetchone() != (0,) else _COMPUTING_SQL


def _stand_in(tasks: Callable[[], Mapping[str, RawTask]]) -> MakeStandIn:
    def make(site: Site) -> AbstractAsyncContextManager[StandIn]:
        return _jobs_in(site, tasks())

    return make


@asynccontextmanager
async def _jobs_in(site: Site, tasks: Mapping[str, RawTask]) -> AsyncIterator[StandIn]:
    root = site.folder / "jobs"
    settings = EmbeddedSettings(root=root, allow_process=True, threads=1, memory_limit="128MB")
    try:
        yield StandIn(
            platform=lambda: Embedded(settings),
            jobs=lambda: list(_jobs(root)),
            quick=tasks["quick"],
            long=tasks.get("long"),
            failing=tasks.get("failing"),
            stores=Stores(),
            prefix=str(site.folder / "out"),
        )
    finally:
        await _end_all(root)


async def _end_all(root: Path) -> None:
    """End what still runs, and wait for that: runners write into the folder that is about to go."""
    give_up = time.monotonic() + _ENDING_S
    while (living := [job for job in _jobs(root) if job.is_live]) and time.monotonic() < give_up:
        for job in living:
            with contextlib.suppress(OutboardError):
                JobDirectory(root).cancel(job.id)
        await asyncio.sleep(_LOOK_EVERY_S)


def _jobs(root: Path) -> Iterator[PlatformJob]:
    directory = JobDirectory(root)
    for path in sorted(root.glob("[!.]*")) if root.is_dir() else ():
        snapshot = directory.snapshot(path.name)
        if snapshot is not None:
            yield PlatformJob(id=path.name, is_live=not snapshot.state.has_ended)


PROCESS: Final = Case(
    ProcessAgent,
    _stand_in(
        lambda: {
            "quick": _process("/bin/sleep", "0.3"),
            "long": _process("/bin/sleep", "600"),
            "failing": _process("/bin/false"),
        }
    ),
    clock=Clock.REAL,
)
"""Commands."""

DUCKDB: Final = Case(
    DuckDBAgent,
    _stand_in(
        lambda: {
            "quick": _query("duckdb", "SELECT 1 AS one", Interface(outputs={"rows": SimpleType.INTEGER})),
            "long": _query("duckdb", _long_sql(), Interface(outputs={"rows": SimpleType.INTEGER}), grace_s=0.5),
            "failing": _query("duckdb", "SELECT * FROM nowhere", Interface()),
        }
    ),
    clock=Clock.REAL,
    requires=("duckdb", "pyarrow"),
)
"""Queries."""

DUCKDB_ROWS: Final = Case(
    DuckDBRowsAgent,
    _stand_in(
        lambda: {
            "quick": _query("duckdb_rows", "SELECT 1 AS one", _ONE_ROW),
            "failing": _query("duckdb_rows", "SELECT * FROM nowhere", _ONE_ROW),
        }
    ),
    clock=Clock.REAL,
    requires=("duckdb", "pyarrow"),
)
"""Small queries, answered at once."""
