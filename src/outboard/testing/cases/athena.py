"""Cases of the Athena agent: over the fake platform, which checks signatures; the secret access key must not leak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from outboard.agent import Http, Secrets, Task
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, SchemaType, StructuredDatasetType
from outboard.platforms.athena.agent import AthenaAgent
from outboard.platforms.athena.client import AthenaClient
from outboard.platforms.athena.platform import Athena
from outboard.platforms.athena.settings import AthenaConnection, AthenaSettings
from outboard.testing.conformance.cases import Case, MakeStandIn, Site, StandIn, jobs_of
from outboard.testing.ledger import Course
from outboard.testing.ledger_jobs import FAILED
from outboard.testing.platforms.athena import KEY_ID, REGION, FakeAthena
from outboard.testing.platforms.athena_queries import FakeQuery
from outboard.testing.platforms.athena_signatures import FakeKey

QUERIES: Final = {
    "SELECT quick": FakeQuery(course=Course(queued_s=1.0, running_s=10.0)),
    "SELECT long": FakeQuery(course=Course(running_s=None)),
    "SELECT failing": FakeQuery(course=Course(running_s=5.0, outcome=FAILED)),
}


def presto_task(sql: str, *, has_result: bool = True, **custom: Any) -> RawTask:
    """Return a task as flytekit's AthenaTask sends it."""
    outputs = {"results": SchemaType()} if has_result else {}
    config = {"statement": sql, "schema": "shop", "routingGroup": "etl", "catalog": "AwsDataCatalog", **custom}
    return Task(type="presto", config=config, interface=Interface(outputs=outputs))


def hive_task(sql: str) -> RawTask:
    """Return a task as flytekit's HiveTask sends it."""
    return Task(type="hive", config={"query": {"query": sql}, "clusterLabel": "shop", "tags": ["nightly"]})


def athena_task(sql: str, **custom: Any) -> RawTask:
    """Return a task of our own plain form."""
    table = Interface(outputs={"rows": StructuredDatasetType()})
    return Task(type="athena", config={"statement": sql, "database": "shop", **custom}, interface=table)


def settings_for(url: str, **more: Any) -> AthenaSettings:
    """Return settings that lead everything to a server."""
    fields: dict[str, Any] = {
        "endpoint": url,
        "sts_endpoint": url,
        "region": REGION,
        "login": "keys",
        "secret": "athena-key",
        "access_key_id": KEY_ID,
        "output_location": "s3://results/athena",
        **more,
    }
    return AthenaSettings.model_validate(fields)


class _Account(Athena):
    """Athena with an account whose secret access key is the one that the suite made up."""

    def __init__(self, settings: AthenaSettings, server: FakeAthena) -> None:
        super().__init__(settings)
        self._server = server

    def open(
        self, connection: AthenaConnection, secrets: Secrets, http: Http
    ) -> AbstractAsyncContextManager[AthenaClient]:
        if connection.credentials is not None:
            self._server.keys[KEY_ID] = FakeKey(secrets[connection.credentials].get_secret_value())
        return super().open(connection, secrets, http)


def _stand_in(kind: Any) -> MakeStandIn:
    def make(site: Site) -> AbstractAsyncContextManager[StandIn]:  # noqa: ARG001 - its jobs write no files here
        return _athena(kind)

    return make


@asynccontextmanager
async def _athena(kind: Any) -> AsyncIterator[StandIn]:
    async with FakeAthena(QUERIES) as server:
        settings = settings_for(server.url)

        yield StandIn(
            platform=lambda: _Account(settings, server),
            jobs=lambda: jobs_of(server.ledger),
            faults=server.faults,
            operations={"get_many": "get"},
            quick=kind("SELECT quick"),
            long=kind("SELECT long"),
            failing=kind("SELECT failing"),
        )


PRESTO: Final = Case(AthenaAgent, _stand_in(presto_task), requires=("botocore",))
"""Queries of flytekit's AthenaTask."""

HIVE: Final = Case(AthenaAgent, _stand_in(hive_task), requires=("botocore",))
"""Queries of flytekit's HiveTask."""

ATHENA: Final = Case(AthenaAgent, _stand_in(athena_task), requires=("botocore",))
"""Queries of our own plain form."""
