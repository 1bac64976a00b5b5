"""The conformance suite on bqemulator behind the life-cycle proxy, in real time; some minutes, so no test runs it.

PYTHONPATH=src:tests python -m outboard check integration.platforms.bigquery.bigquery_emulated_case:EMULATED
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from integration.platforms.bigquery import bigquery_emulator
from outboard.platforms.bigquery.agent import BigQueryAgent
from outboard.platforms.bigquery.platform import BigQuery
from outboard.platforms.bigquery.settings import BigQuerySettings, Login
from outboard.testing.cases.bigquery import query_task
from outboard.testing.conformance.cases import Case, Clock, PlatformJob, Site, StandIn
from outboard.testing.lifecycle_proxy import Asked, Life, LifecycleProxy, Stay
from outboard.testing.platforms.bigquery_shape import OPERATIONS, BigQueryShape

_LONG: Final = "SELECT 'long' AS word"
_STARTED: Final = contextlib.ExitStack()
"""One emulator for all checks: it takes seconds to start."""
atexit.register(_STARTED.close)


def _life(asked: Asked) -> Life:
    is_long = asked.document["configuration"]["query"]["query"] == _LONG
    return Life(running=Stay(seconds=None if is_long else 0.3))


def _urls() -> Iterator[str]:
    url = _STARTED.enter_context(bigquery_emulator.emulator())
    while True:
        yield url


_URLS: Final = _urls()
_NUMBERS: Final = itertools.count(1)


@contextlib.asynccontextmanager
async def _emulated(site: Site) -> AsyncIterator[StandIn]:
    # Each check has a project of its own: it starts jobs of the same ids, and the emulator keeps those of the last one.
    where: dict[str, Any] = {"ProjectID": f"p{next(_NUMBERS)}", "Location": "US"}
    async with LifecycleProxy(next(_URLS), OPERATIONS, BigQueryShape(), _life) as proxy:
        settings = BigQuerySettings(endpoint=proxy.url, login=Login.TOKEN, secret="bigquery-token")  # noqa: S106 - a name
        yield StandIn(
            platform=lambda: BigQuery(settings),
            jobs=lambda: [PlatformJob(id=job.id, is_live=job.is_live) for job in proxy.jobs.values()],
            faults=proxy.faults,
            operations={"get_many": "get", "find": "get"},
            quick=query_task("SELECT 1 AS one", **where),
            long=query_task(_LONG, **where),
            failing=query_task("SELECT * FROM nowhere.nothing", **where),
        )


EMULATED: Final = Case(BigQueryAgent, _emulated, clock=Clock.REAL)
"""Query jobs on a real engine."""
