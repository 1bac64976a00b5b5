"""SQL anywhere under load: the memory of a worker with a large result, and what many statements at once cost.

Workers are processes, so time is real here: fewer than a thousand statements run, and the table says how many.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from integration.platforms.sql.sql_hosts import site
from outboard.detached.job_directory import JobDirectory
from outboard.domain.types import StructuredDatasetType
from outboard.testing.cases.sql import sql_task
from sql_servers import DatabaseServer
from tables.sections import Section

LARGE: Final = {
    "postgresql": "SELECT n, md5(n::text) AS a, n * 1.5::float8 AS b, now() AS c FROM generate_series(1, {}) AS n",
    "mysql": "SELECT seq AS n, MD5(seq) AS a, seq * 1.5e0 AS b, NOW(6) AS c FROM seq_1_to_{}",
    "duckdb": "SELECT n, md5(n::varchar) AS a, n * 1.5::double AS b, now() AS c FROM range({}) AS r(n)",
}
MANY_ROWS: Final = 5_000_000
SLOWEST: Final = {"mysql": 1_000_000}
"""PyMySQL reads a hundred thousand rows a second."""
FEW_ROWS: Final = 200_000
MOST_GROWTH: Final = 1.5
POLL_S: Final = 2.0
_PATIENCE_S: Final = 300.0


def memory(connections: Mapping[str, Mapping[str, Any]], most: int = MANY_ROWS) -> Section:
    """Measure the most memory that a worker held, for a result of some rows and of many."""
    found: list[dict[str, Any]] = []
    failures = []
    for kind, connection in connections.items():
        rows = min(most, SLOWEST.get(kind, most))
        few, _, _ = asyncio.run(_peak(kind, connection, FEW_ROWS))
        many, size, took = asyncio.run(_peak(kind, connection, rows))
        found.append(
            {
                "database": kind,
                "rows": f"{rows:,}",
                "file MB": round(size / 1e6),
                "s": round(took, 1),
                "peak RSS MB": round(many / 1e6),
                f"of {FEW_ROWS:,} rows": round(few / 1e6),
            }
        )
        if many > MOST_GROWTH * few:
            failures.append(f"{kind}: {many / 1e6:.0f} MB for {rows:,} rows, {few / 1e6:.0f} MB for {FEW_ROWS:,}")
    columns = ["database", "rows", "file MB", "s", "peak RSS MB", f"of {FEW_ROWS:,} rows"]
    return Section(title="memory of a worker with a large result", columns=columns, rows=found, failures=failures)


async def _peak(kind: str, connection: Mapping[str, Any], rows: int) -> tuple[int, int, float]:
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        task = sql_task(LARGE[kind].format(rows), {"table": StructuredDatasetType()})
        async with site(folder, {"checks": connection}) as at:
            status = await at.run(task, patience_s=_PATIENCE_S)
        if status.outputs is None:
            raise AssertionError(status.message)
        (job,) = JobDirectory(at.jobs).jobs()
        return job.peak_rss_bytes or 0, _size(status.outputs["table"].uri), time.monotonic() - began


def _size(path: str) -> int:
    return Path(path).stat().st_size


def thousand_jobs(server: DatabaseServer, count: int = 200, limit: int = 16) -> Section:
    """Run many statements at once, polled each second, and tell what that took."""
    row = asyncio.run(_many(server, count, limit))
    failures = (
        []
        if row["ends"] == "SUCCEEDED" and row["most sessions"] <= limit
        else [f"{row['ends']}, {row['most sessions']} sessions at most"]
    )
    note = (
        f"{count} of 1,000 were run: each is a process of its own, which a thousand at once would only make wait longer. "
        "Waiting: from claim to connection; lag: from the end mark until a poll (each two seconds) told it."
    )
    return Section(title="1,000 jobs", columns=list(row), rows=[row], failures=failures, notes=[note])


async def _many(server: DatabaseServer, count: int, limit: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        polls, most, seen = 0, 0, dict[str, float]()
        ends: set[str] = set()
        task = sql_task("SELECT 1 FROM (SELECT pg_sleep(0.2)) AS z")
        began = time.monotonic()
        with server.connect() as watcher:
            async with site(folder, {"checks": server.connection(limit=limit)}) as at:
                nodes = [f"n{number}" for number in range(count)]
                handles = await asyncio.gather(*(at.start(task, node=node) for node in nodes))
                created = time.monotonic() - began
                while len(seen) < count:
                    if time.monotonic() - began > _PATIENCE_S:
                        raise TimeoutError(f"{count - len(seen)} have not ended")
                    open_now = [(node, handle) for node, handle in zip(nodes, handles, strict=True) if node not in seen]
                    for (node, _), status in zip(
                        open_now,
                        await asyncio.gather(*(at.host.get_task(handle) for _, handle in open_now)),
                        strict=True,
                    ):
                        polls += 1
                        if status.phase.is_terminal:
                            seen[node] = time.time()
                            ends.add(status.phase.value)
                    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'ob-%'"
                    most = max(most, watcher.execute(query).fetchone()[0])
                    await asyncio.sleep(POLL_S)
        took = time.monotonic() - began
        marks = {node: _marks(folder / "out" / node) for node in nodes}
    waits = sorted(each["start"] - each["claim"] for each in marks.values())
    lags = sorted(seen[node] - marks[node]["end"] for node in nodes)
    return {
        "run": count,
        "limit": limit,
        "creates": count,
        "in s": round(created, 1),
        "polls": polls,
        "most sessions": most,
        "all ended in s": round(took, 1),
        "waiting s (median / p95 / longest)": _spread(waits),
        "lag s (median / p95 / longest)": _spread(lags),
        "ends": ", ".join(sorted(ends)),
    }


def _marks(folder: Path) -> dict[str, float]:
    return {path.stem: float(json.loads(path.read_text())["at"]) for path in folder.rglob("*.json")}


def _spread(values: list[float]) -> str:
    picked = (values[len(values) // 2], values[int(len(values) * 0.95)], values[-1])
    return " / ".join(f"{value:.1f}" for value in picked)
