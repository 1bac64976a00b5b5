"""Case of the BigQuery agent: over the fake platform, with an access token as the secret that must not leak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from outboard.agent import Sql, Task
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, StructuredDatasetType
from outboard.platforms.bigquery.agent import BigQueryAgent
from outboard.platforms.bigquery.platform import BigQuery
from outboard.platforms.bigquery.settings import BigQuerySettings, Login
from outboard.testing.conformance.cases import Case, Site, StandIn, jobs_of
from outboard.testing.ledger import Course
from outboard.testing.ledger_jobs import FAILED
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery

TASK_TYPE: Final = "bigquery_query_job_task"
QUERIES: Final = {
    "SELECT quick": FakeQuery(course=Course(queued_s=1.0, running_s=10.0), location="europe-west3"),
    "SELECT long": FakeQuery(course=Course(running_s=None), location="europe-west3"),
    "SELECT failing": FakeQuery(course=Course(running_s=5.0, outcome=FAILED), location="europe-west3"),
}


def query_task(sql: str, *, has_result: bool = True, **custom: Any) -> RawTask:
    """Return a task as flytekit's BigQueryTask sends it."""
    outputs = {"results": StructuredDatasetType()} if has_result else {}
    return Task(
        type=TASK_TYPE,
        config={"ProjectID": "analytics-prod", "Location": "europe-west3", "Domain": "development", **custom},
        sql=Sql(statement=sql, dialect="ANSI"),
        interface=Interface(outputs=outputs),
    )


@asynccontextmanager
async def _bigquery(site: Site) -> AsyncIterator[StandIn]:  # noqa: ARG001 - its jobs write no files
    async with FakeBigQuery(QUERIES) as server:
        settings = BigQuerySettings(endpoint=server.url, login=Login.TOKEN, secret="bigquery-token")  # noqa: S106 - a name

        yield StandIn(
            platform=lambda: BigQuery(settings),
            jobs=lambda: jobs_of(server.ledger),
            faults=server.faults,
            operations={"get_many": "get", "find": "get"},
            quick=query_task("SELECT quick"),
            long=query_task("SELECT long"),
            failing=query_task("SELECT failing"),
        )


BIGQUERY: Final = Case(BigQueryAgent, _bigquery)
"""Query jobs."""
