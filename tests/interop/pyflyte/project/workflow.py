"""A user's workflows, as `pyflyte run workflow.py <name>` runs them: nothing here knows of Outboard.

`flow` has three tasks with agents on three platforms and two plain ones. `one` has a single job, whose course, kind, retries
and time limit the environment says, so that a test can hold it, lose it or let it fail.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import connectors  # type: ignore[import-not-found]  # noqa: F401 - a user's module beside this one; it registers them
import pyarrow as pa
from flytekit import TaskMetadata, kwtypes, task, workflow
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.extend.backend.base_connector import AsyncConnectorExecutorMixin
from flytekit.sensor.file_sensor import FileSensor
from flytekit.types.structured.structured_dataset import StructuredDataset


class PlatformTask(AsyncConnectorExecutorMixin, PythonTask):  # type: ignore[misc]  # flytekit has no types that mypy follows
    """A task whose configuration travels as `custom`, as those of flytekit's plugins do."""

    def __init__(self, name: str, task_type: str, custom: dict[str, Any], **options: Any) -> None:
        interface = Interface(inputs=options.pop("inputs", None), outputs=options.pop("outputs", None))
        super().__init__(task_type=task_type, name=name, task_config=None, interface=interface, **options)
        self._custom = custom

    def get_custom(self, settings: Any) -> dict[str, Any]:
        """Return the configuration."""
        return self._custom


arrival = FileSensor(name="arrival")
squares = PlatformTask(
    "squares",
    "duckdb",
    {"sql": "SELECT i, i * i AS square FROM range($n) AS numbers(i)"},
    inputs=kwtypes(n=int),
    outputs=kwtypes(table=StructuredDataset, rows=int),
)
score = PlatformTask(
    "score",
    "rest_named",
    {"running_s": 0.5, "outputs": {"answer": 42}},
    inputs=kwtypes(rows=int),
    outputs=kwtypes(answer=int),
)
job = PlatformTask(
    "job",
    os.environ.get("INTEROP_KIND", "rest_named"),
    {"outputs": {"answer": 42}, **json.loads(os.environ.get("INTEROP_COURSE", "{}"))},
    outputs=kwtypes(answer=int),
    metadata=TaskMetadata(
        retries=int(os.environ.get("INTEROP_RETRIES", "0")), timeout=int(os.environ.get("INTEROP_TIMEOUT_S", "0"))
    ),
)


@task  # type: ignore[untyped-decorator]  # same
def land(folder: str) -> str:
    """Let a file arrive."""
    path = Path(folder) / "landed"
    path.touch()
    return str(path)


@task  # type: ignore[untyped-decorator]  # same
def report(table: StructuredDataset, rows: int, answer: int) -> str:
    """Read what the others made."""
    numbers = table.open(pa.Table).all()["square"].to_pylist()
    return f"{rows} rows, sum {sum(numbers)}, answer {answer}"


@workflow  # type: ignore[untyped-decorator]  # same
def flow(folder: str, n: int = 1000) -> str:
    """Run three agents' tasks and two plain ones."""
    path = land(folder=folder)
    arrival(path=path)
    table, rows = squares(n=n)
    return report(table=table, rows=rows, answer=score(rows=rows))  # type: ignore[no-any-return]  # same


@workflow  # type: ignore[untyped-decorator]  # same
def one() -> int:
    """Run one job."""
    return job()  # type: ignore[no-any-return]  # same
