"""The demo's tasks, and what feeds what.

::

    flights ──┬── by_carrier ──┐
              ├── by_hour    ──┤
              ├── by_route   ──┼── report ──┬── report_is_there (sensor) ── answer (sync)
              ├── by_weather ──┤            │
              └── by_plane   ──┘            └── Parquet

Every query is a `duckdb` task and becomes a job; the sensor waits from the start for the file that `report` writes; the
answer is a `duckdb_rows` call over that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from outboard.demo.dataset import Dataset
from outboard.domain.tasks import Inputs, RawTask, Task
from outboard.domain.types import BlobType, Interface, ListType, SimpleType, StructuredDatasetType, ValueType
from outboard.domain.values import Blob, StructuredDataset

BOOTSTRAP_DRAWS: Final = 600
"""Enough for a 95 % interval, and some seconds of work for the service to be killed in."""

SENSOR: Final = "report_is_there"
REPORT: Final = "report"
ANSWER: Final = "answer"
FLIGHTS: Final = "flights"
STUDIES: Final = ("by_carrier", "by_hour", "by_route", "by_weather", "by_plane")
QUERIES: Final = (FLIGHTS, *STUDIES, REPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """Makes the tasks.

    Args:
        dataset: The input.
        folder: Where the report goes.
        draws: How often `by_carrier` draws a year of flights.
    """

    dataset: Dataset
    folder: Path
    draws: int = field(default=BOOTSTRAP_DRAWS)

    @property
    def report_glob(self) -> str:
        """Where the report's Parquet will lie, whichever attempt writes it."""
        return str(self.folder / REPORT / "*" / REPORT)

    def sensor(self) -> RawTask:
        """Return the task that waits for the report's file."""
        return _task("file_sensor", {"poll_after_s": 0.2}, {"path": self.report_glob})

    def flights(self) -> RawTask:
        """Return the task that reads the flights."""
        return _query(FLIGHTS, {"raw": _csv(self.dataset.flights)})

    def studies(self, flights: StructuredDataset) -> dict[str, RawTask]:
        """Return the tasks that look at the flights, by name."""
        further: dict[str, dict[str, Any]] = {
            "by_carrier": {"airlines": _csv(self.dataset.airlines), "draws": self.draws},
            "by_weather": {"weather": _csv(self.dataset.weather)},
        }
        return {name: _query(name, {"flights": flights, **further.get(name, {})}) for name in STUDIES}

    def report(self, studies: Mapping[str, StructuredDataset]) -> RawTask:
        """Return the task that sums the studies up."""
        return _query(REPORT, studies, output_prefix=str(self.folder / REPORT / "0"))

    def answer(self, report: StructuredDataset) -> RawTask:
        """Return the task that reads the report."""
        outputs: dict[str, ValueType] = {"rows": ListType(SimpleType.STRUCT)}
        return _task("duckdb_rows", {"sql": "FROM report ORDER BY place"}, {REPORT: report}, outputs)


def _csv(path: Path) -> Blob:
    return Blob(str(path), "csv")


def _query(name: str, inputs: Mapping[str, Any], *, output_prefix: str = "") -> RawTask:
    sql = (files("outboard.demo") / "sql" / f"{name}.sql").read_text("utf-8")
    outputs: dict[str, ValueType] = {name: StructuredDatasetType(format="parquet"), "rows": SimpleType.INTEGER}
    return _task("duckdb", {"sql": sql, "memory_limit": "1GB"}, inputs, outputs, output_prefix=output_prefix)


def _task(
    kind: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, ValueType] | None = None,
    *,
    output_prefix: str = "",
) -> RawTask:
    types = {name: _type_of(value) for name, value in inputs.items()}
    return Task(
        type=kind,
        config=config,
        inputs=Inputs(inputs),
        interface=Interface(types, outputs or {}),
        output_prefix=output_prefix,
    )


def _type_of(value: object) -> ValueType:
    match value:
        case StructuredDataset():
            return StructuredDatasetType(format=value.format)
        case Blob():
            return BlobType(value.format)
        case int():
            return SimpleType.INTEGER
    return SimpleType.STRING
