"""Answers that no documentation has: whatever comes, no query is started twice, none is taken for ended, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from integration.platforms.athena.athena_hosts import host_for, sent
from integration.platforms.strange_answers import ANYWHERE, FOR_A_YEAR, HTML, Strange, Told, followed
from outboard.agent import Phase
from outboard.errors import OutboardError
from outboard.testing.cases.athena import presto_task, settings_for
from outboard.testing.ledger import Course
from outboard.testing.platforms.athena import FakeAthena
from outboard.testing.platforms.athena_queries import FakeQuery
from outboard.testing.virtual_time import virtually

OTHER = {"QueryExecutionId": "11111111-2222-5333-8444-555555555555", "Status": {"State": "SUCCEEDED"}}
STRANGE: dict[str, Told] = {
    **ANYWHERE,
    "fields that are numbers": (200, {"QueryExecutionId": 7, "QueryExecution": 7, "QueryExecutions": 7}),
    "an id as long as a book": (200, {"QueryExecutionId": "x" * 5_000}),
    "an id with a space": (200, {"QueryExecutionId": "a b"}),
    "another query": (200, {"QueryExecution": OTHER, "QueryExecutions": [OTHER]}),
    "a query without a state": (200, {"QueryExecution": {"QueryExecutionId": "%id"}, "QueryExecutions": [None]}),
    "a query in a state that nobody knows": (
        200,
        {"QueryExecution": {"QueryExecutionId": "%id", "Status": {"State": "PAUSED", "AthenaError": [1]}}},
    ),
    "Too many requests, for a year": (
        400,
        {"__type": "TooManyRequestsException", "message": "Rate exceeded"},
        FOR_A_YEAR,
    ),
    "Throttling, 429": (429, {"__type": "ThrottlingException", "Message": {"no": "text"}}, FOR_A_YEAR),
    "an error of theirs": (500, {"__type": "InternalServerException"}),
    "an error without words": (503, ""),
}
OF_LOOKS: dict[str, Told] = {
    "keys that have ended": (
        400,
        {"__type": "ExpiredTokenException", "message": "The security token is expired"},
        FOR_A_YEAR,
    ),
    "no permission any more": (400, {"__type": "AccessDeniedException", "Message": "not authorized"}, FOR_A_YEAR),
    "a refusal that says nothing of the query": (
        400,
        {"__type": "InvalidRequestException", "message": "no"},
        FOR_A_YEAR,
    ),
    "a page that says 403": (403, HTML),
    "a page that says 404": (404, HTML),
}
"""Those that a start is refused by."""
LOOKS = ("GetQueryExecution", "BatchGetQueryExecution")


class StrangeAthena(Strange, FakeAthena):
    """An Athena that answers otherwise."""

    unheard = ("StopQueryExecution",)

    def job_id(self, request: web.Request, body: Any) -> str:
        return str(body.get("QueryExecutionId") or body.get("QueryExecutionIds", [""])[0])


@pytest.mark.parametrize("name", [*STRANGE, *OF_LOOKS])
def test_a_strange_answer_ends_no_query_and_starts_none_twice(name: str) -> None:
    @virtually
    async def check() -> None:
        queries = {f"SELECT {n}": FakeQuery(course=Course(running_s=300)) for n in range(2)}
        tasks = [sent(presto_task(sql), node=f"n{n}") for n, sql in enumerate(queries)]
        async with StrangeAthena(queries) as server, host_for(settings_for(server.url)) as host:
            if name in STRANGE:
                server.instead = {"StartQueryExecution": STRANGE[name]}
            handles = [await host.create_task(task, timeout_s=10) for task in tasks]
            await asyncio.sleep(5)
            server.instead = dict.fromkeys(LOOKS, {**STRANGE, **OF_LOOKS}[name])
            pairs = list(zip(handles, tasks, strict=True))
            for status in await asyncio.gather(
                *(followed(host, handle, 200, task_type=task.task_type) for handle, task in pairs)
            ):
                assert not status.phase.is_terminal, status
            assert server.told > 0
            server.instead = {}
            for status in await asyncio.gather(
                *(followed(host, handle, 1500, task_type=task.task_type) for handle, task in pairs)
            ):
                assert status.phase is Phase.SUCCEEDED, status
            assert len(server.ledger.jobs) == 2

    check()


@virtually
async def test_a_query_alone_that_cannot_be_looked_at_for_an_hour_is_not_gone() -> None:
    task = sent(presto_task("SELECT 1"))
    queries = {"SELECT 1": FakeQuery(course=Course(running_s=None))}
    async with StrangeAthena(queries) as server, host_for(settings_for(server.url)) as host:
        handle = await host.create_task(task, timeout_s=10)
        server.instead = {"GetQueryExecution": (400, {"__type": "InvalidRequestException", "message": "no"})}
        assert not (await followed(host, handle, 3600, task_type=task.task_type)).phase.is_terminal
        assert server.told > 0
        server.instead = {}
        server.ledger.settle(next(iter(server.ledger.jobs)), "SUCCEEDED")
        assert (await followed(host, handle, 1500, task_type=task.task_type)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize(
    "told",
    [(302, ""), (200, ""), (200, HTML), (404, HTML), (400, {"__type": "InvalidRequestException", "message": "no"})],
    ids=str,
)
def test_an_answer_that_accepts_no_cancel_is_not_taken_for_one_and_the_cancel_goes_on(told: Told) -> None:
    @virtually
    async def check() -> None:
        queries = {"SELECT 1": FakeQuery(course=Course(running_s=None))}
        task = sent(presto_task("SELECT 1"))
        async with StrangeAthena(queries) as server, host_for(settings_for(server.url)) as host:
            handle = await host.create_task(task, timeout_s=10)
            server.instead = {"StopQueryExecution": told}
            with pytest.raises(OutboardError):
                await host.delete_task(handle, task_type=task.task_type, timeout_s=10)
            await asyncio.sleep(3600)  # an accepted cancel is watched for half as long
            assert server.ledger.live()
            server.instead = {}
            await asyncio.sleep(600)
            assert not server.ledger.live()

    check()
