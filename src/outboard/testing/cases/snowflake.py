"""Case of the Snowflake agent: over the fake account, with an OAuth token as the secret that must not leak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from outboard.agent import Sql, Task
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, StructuredDatasetType
from outboard.platforms.snowflake.agent import SnowflakeAgent
from outboard.platforms.snowflake.platform import Snowflake
from outboard.platforms.snowflake.settings import AccountSettings, SnowflakeSettings
from outboard.testing.conformance.cases import Case, Site, StandIn, jobs_of
from outboard.testing.ledger import Course
from outboard.testing.ledger_jobs import FAILED
from outboard.testing.platforms.snowflake import Answer, FakeSnowflake

ACCOUNT: Final = "myorg-checks"
PLACE: Final = {"user": "FLYTE", "account": ACCOUNT, "database": "SALES", "schema": "PUBLIC", "warehouse": "LOADING"}
ANSWERS: Final = {
    "SELECT quick": Answer(course=Course(queued_s=1, running_s=10), columns=[("ONE", "fixed")], rows=[["1"]]),
    "SELECT long": Answer(course=Course(running_s=None)),
    "SELECT failing": Answer(course=Course(running_s=5, outcome=FAILED)),
}


def settings_for(url: str, **more: Any) -> SnowflakeSettings:
    """Return settings by which `ACCOUNT` is reached at an address."""
    return SnowflakeSettings(**{"accounts": {ACCOUNT: AccountSettings(url=url)}, "auth": "oauth", **more})


def statement_task(sql: str, *, has_result: bool = True, **config: str) -> RawTask:
    """Return a task as flytekit's SnowflakeTask sends it."""
    outputs = {"results": StructuredDatasetType()} if has_result else {}
    return Task(
        type="snowflake",
        config={},
        settings={**PLACE, **config},
        sql=Sql(statement=sql, dialect="ANSI"),
        interface=Interface(outputs=outputs),
    )


@asynccontextmanager
async def _snowflake(site: Site) -> AsyncIterator[StandIn]:  # noqa: ARG001 - its statements write no files
    async with FakeSnowflake(ANSWERS) as server:
        server.access.prefix = "canary-"

        yield StandIn(
            platform=lambda: Snowflake(settings_for(server.url)),
            jobs=lambda: jobs_of(server.ledger),
            faults=server.faults,
            quick=statement_task("SELECT quick"),
            long=statement_task("SELECT long"),
            failing=statement_task("SELECT failing"),
        )


SNOWFLAKE: Final = Case(SnowflakeAgent, _snowflake)
"""Statements over the SQL API."""
