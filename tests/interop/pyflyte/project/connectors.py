"""What flytekit alone runs the tasks of `workflow.py` with: connectors for the same task types against the same platform.

Written as flytekit's own are: one with coroutines, as its connectors over HTTP, one with plain functions, as its BigQuery one.
They know nothing of Outboard. The platform is the test kit's, at `INTEROP_PLATFORM`.
"""

from __future__ import annotations

import json
import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import duckdb
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import FlyteContextManager
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.types.structured.structured_dataset import StructuredDataset

PHASES: Final = {
    "QUEUED": TaskExecution.QUEUED,
    "RUNNING": TaskExecution.RUNNING,
    "CANCELLING": TaskExecution.RUNNING,
    "SUCCEEDED": TaskExecution.SUCCEEDED,
    "FAILED": TaskExecution.FAILED,
    "LOST": TaskExecution.RETRYABLE_FAILED,
    "CANCELLED": TaskExecution.FAILED,
}


@dataclass
class JobMeta(ResourceMeta):  # type: ignore[misc]  # flytekit has no types that mypy follows
    """A job by its id."""

    job_id: str


class CoroutineConnector(AsyncConnectorBase):  # type: ignore[misc]  # same
    """Jobs of the platform, by coroutines."""

    name = "platform, coroutines"

    def __init__(self) -> None:
        super().__init__(task_type_name="rest_named", metadata_type=JobMeta)

    async def create(self, task_template: Any, output_prefix: str, **_: Any) -> JobMeta:
        """Start the job."""
        job = await _asked("POST", "jobs", {"course": task_template.custom, "output_prefix": output_prefix})
        return JobMeta(job_id=job["id"])

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Return where the job stands."""
        job = await _asked("GET", f"jobs/{resource_meta.job_id}")
        told = await _asked("GET", f"jobs/{resource_meta.job_id}/outputs") if job["state"] == "SUCCEEDED" else {}
        return Resource(phase=PHASES[job["state"]], message=job["message"], outputs=told.get("outputs"))

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        """Ask for its end."""
        await _asked("POST", f"jobs/{resource_meta.job_id}/cancel")


class FunctionConnector(AsyncConnectorBase):  # type: ignore[misc]  # same
    """Jobs of the platform, by plain functions."""

    name = "platform, functions"

    def __init__(self) -> None:
        super().__init__(task_type_name="rest_token", metadata_type=JobMeta)

    def create(self, task_template: Any, output_prefix: str, **_: Any) -> JobMeta:
        """Start the job."""
        job = _ask("POST", "jobs", {"course": task_template.custom, "output_prefix": output_prefix})
        return JobMeta(job_id=job["id"])

    def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Return where the job stands."""
        job = _ask("GET", f"jobs/{resource_meta.job_id}")
        told = _ask("GET", f"jobs/{resource_meta.job_id}/outputs") if job["state"] == "SUCCEEDED" else {}
        return Resource(phase=PHASES[job["state"]], message=job["message"], outputs=told.get("outputs"))

    def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        """Ask for its end."""
        _ask("POST", f"jobs/{resource_meta.job_id}/cancel")


@dataclass
class QueryMeta(ResourceMeta):  # type: ignore[misc]  # same
    """A query that has run."""

    uri: str
    rows: int


class DuckDBConnector(AsyncConnectorBase):  # type: ignore[misc]  # same
    """DuckDB in this process."""

    name = "duckdb"

    def __init__(self) -> None:
        super().__init__(task_type_name="duckdb", metadata_type=QueryMeta)

    def create(self, task_template: Any, output_prefix: str, inputs: Any, **_: Any) -> QueryMeta:
        """Run the query."""
        values = {name: literal.scalar.primitive.value for name, literal in inputs.literals.items()}
        uri = Path(FlyteContextManager.current_context().file_access.get_random_local_directory()) / "table.parquet"
        uri.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE found AS {task_template.custom['sql']}", values)
            table = connection.table("found")
            table.write_parquet(str(uri))
            return QueryMeta(uri=str(uri), rows=len(table))

    def get(self, resource_meta: QueryMeta, **_: Any) -> Resource:
        """Return its result."""
        table = StructuredDataset(uri=resource_meta.uri, file_format="parquet")
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"table": table, "rows": resource_meta.rows})

    def delete(self, resource_meta: QueryMeta, **_: Any) -> None:
        """Do nothing: it is over."""


async def _asked(verb: str, path: str, body: Any = None) -> Any:
    url = f"{os.environ['INTEROP_PLATFORM']}/{path}"
    async with aiohttp.ClientSession() as session, session.request(verb, url, json=body) as answer:
        answer.raise_for_status()
        return await answer.json()


def _ask(verb: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{os.environ['INTEROP_PLATFORM']}/{path}", data, headers, method=verb)  # noqa: S310 - the test's own server
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - same
        return json.load(answer)


for _connector in (CoroutineConnector(), FunctionConnector(), DuckDBConnector()):
    ConnectorRegistry.register(_connector)
