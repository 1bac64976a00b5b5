"""Cases of SQL anywhere: a DuckDB file on a bare machine, and any server that a test has started.

Workers are processes, so time is real and faults strike at the agent's boundary. The truth about jobs is the claims that workers
made, each of which is one statement that was begun or will be; stand-ins end what still runs when they are taken down.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from outboard.agent import Sql, Task
from outboard.detached.job_directory import JobDirectory
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, SimpleType
from outboard.errors import OutboardError
from outboard.host.stores import Stores
from outboard.platforms.sql.agent import SqlAgent
from outboard.platforms.sql.documents import EXIT_NOT_OURS, STATEMENT_FILE
from outboard.platforms.sql.marks import END, Marks
from outboard.platforms.sql.platform import SqlAnywhere
from outboard.platforms.sql.settings import SqlSettings
from outboard.testing.conformance.cases import Case, Clock, MakeStandIn, PlatformJob, Site, StandIn

ENDLESS_DUCKDB: Final = "SELECT count(*) AS n FROM range(10000000000) a, range(1000) b WHERE a.range % 7 = b.range % 3"
_ENDING_S: Final = 25.0
_LOOK_EVERY_S: Final = 0.05


def sql_task(statement: str, outputs: Mapping[str, Any] | None = None, **config: Any) -> RawTask:
    """Return a task of type `sql`."""
    declared = {"rows": SimpleType.INTEGER} if outputs is None else outputs
    return Task(
        type="sql",
        config={"connection": "checks", **config},
        sql=Sql(statement=statement),
        interface=Interface(outputs=declared),
    )


def case(connection: Callable[[Path], Mapping[str, Any]], endless: str, *requires: str) -> Case:
    """Return a case of a database.

    Args:
        connection: Makes a connection's settings, given the folder of a check.
        endless: A statement that runs until it is ended.
        requires: Modules that it needs.
    """
    tasks = {
        "quick": sql_task("SELECT 1 AS one"),
        "long": sql_task(endless, grace_s=5),
        "failing": sql_task("SELECT * FROM nowhere"),
    }
    return Case(SqlAgent, _stand_in(connection, tasks), clock=Clock.REAL, requires=requires)


def _stand_in(connection: Callable[[Path], Mapping[str, Any]], tasks: Mapping[str, RawTask]) -> MakeStandIn:
    def make(site: Site) -> AbstractAsyncContextManager[StandIn]:
        return _serving(site, connection(site.folder), tasks)

    return make


@asynccontextmanager
async def _serving(site: Site, connection: Mapping[str, Any], tasks: Mapping[str, RawTask]) -> AsyncIterator[StandIn]:
    root = site.folder / "workers"
    settings = SqlSettings.model_validate({"root": root, "connections": {"checks": connection}})
    try:
        yield StandIn(
            platform=lambda: SqlAnywhere(settings),
            jobs=lambda: list(statements_in(root)),
            quick=tasks["quick"],
            long=tasks["long"],
            failing=tasks["failing"],
            stores=Stores(),
            prefix=str(site.folder / "out"),
        )
    finally:
        await _end_all(root)


def statements_in(root: Path) -> Iterator[PlatformJob]:
    """Return every statement that a worker of this machine holds or held."""
    directory = JobDirectory(root / "jobs")
    for path in sorted(directory.root.glob("[!.]*")) if directory.root.is_dir() else ():
        snapshot = directory.snapshot(path.name)
        if snapshot is None or snapshot.exit_code == EXIT_NOT_OURS:
            continue
        is_live = not snapshot.state.has_ended
        if is_live and (path / STATEMENT_FILE).exists():
            place = json.loads((path / STATEMENT_FILE).read_text())["place"]
            is_live = Marks(place).read(END) is None
        yield PlatformJob(id=path.name, is_live=is_live)


async def _end_all(root: Path) -> None:
    """End what still runs, and wait for that: workers write into the folder that is about to go."""
    directory = JobDirectory(root / "jobs")
    give_up = time.monotonic() + _ENDING_S
    while time.monotonic() < give_up:
        paths = list(directory.root.glob("[!.]*")) if directory.root.is_dir() else []
        found = [directory.snapshot(path.name) for path in paths]
        living = [job for job in found if job is not None and not job.state.has_ended]
        if not living:
            return
        for job in living:
            with contextlib.suppress(OutboardError):
                directory.cancel(job.name)
        await asyncio.sleep(_LOOK_EVERY_S)


def _duckdb(folder: Path) -> Mapping[str, Any]:
    path = folder / "checks.duckdb"
    if not path.exists():
        import duckdb  # noqa: PLC0415 - the case is loaded where it is not installed

        duckdb.connect(str(path)).close()
    return {"kind": "duckdb", "database": str(path), "read_only": True, "limit": 4}


DUCKDB: Final = case(_duckdb, ENDLESS_DUCKDB, "duckdb", "pyarrow")
"""Statements on a DuckDB file."""
