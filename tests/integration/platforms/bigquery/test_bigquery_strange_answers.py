"""Answers that no documentation has: whatever comes, no job is started twice, none is taken for ended, and none is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from integration.platforms.bigquery.bigquery_hosts import TYPE, follow, host_for, run, sent, settings_for
from integration.platforms.strange_answers import ANYWHERE, Strange, Told, followed
from outboard.agent import Phase
from outboard.domain.tasks import Inputs, RawTask
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType, ValueType
from outboard.testing.cases.bigquery import query_task
from outboard.testing.ledger import Course
from outboard.testing.platforms.bigquery import FakeBigQuery, FakeQuery
from outboard.testing.virtual_time import virtually

ID = {"jobId": "%id", "location": "US"}


def refusal(status: int, reason: str) -> Told:
    error = {"reason": reason, "message": "words"}
    return status, {"error": {"code": status, "message": "words", "errors": [error]}}


STRANGE: dict[str, Told] = {
    **ANYWHERE,
    "a job without an id": (200, {"status": {"state": "DONE"}}),
    "another job": (200, {"jobReference": {"jobId": "other"}, "status": {"state": "DONE"}}),
    "a state that is no word": (200, {"jobReference": ID, "status": {"state": 7}}),
    "a status that is a word": (200, {"jobReference": ID, "status": "DONE"}),
    "an unknown state": (200, {"jobReference": ID, "status": {"state": "PREPARING"}}),
    "a refusal with status 200": (200, refusal(403, "rateLimitExceeded")[1]),
    "rateLimitExceeded": refusal(403, "rateLimitExceeded"),
    "quotaExceeded": refusal(403, "quotaExceeded"),
    "accessDenied": refusal(403, "accessDenied"),
    "a reason that nobody knows": refusal(400, "brandNew"),
    "backendError": refusal(503, "backendError"),
}
NO_START = ("a reason that nobody knows", "accessDenied")
"""A create that is refused for good is a failed task."""


class StrangeBigQuery(Strange, FakeBigQuery):
    """A BigQuery that answers otherwise."""

    def job_id(self, request: web.Request, body: Any) -> str:
        return str(body["jobReference"]["jobId"]) if body else super().job_id(request, body)


@pytest.mark.parametrize("name", list(STRANGE))
def test_a_strange_answer_ends_nothing_and_starts_nothing_twice(name: str) -> None:
    @virtually
    async def check() -> None:
        queries = {"SELECT 1": FakeQuery(course=Course(running_s=300))}
        async with StrangeBigQuery(queries) as server, host_for(settings_for(server)) as host:
            if name not in NO_START:
                server.instead = {"jobs.insert": STRANGE[name]}
            handle = await host.create_task(sent(query_task("SELECT 1", Location="US")), timeout_s=10)
            await asyncio.sleep(5)
            server.instead = {"jobs.get": STRANGE[name], "jobs.list": STRANGE[name]}
            status = await followed(host, handle, 200, task_type=TYPE)
            assert not status.phase.is_terminal, status
            assert server.told > 0
            server.instead = {}
            status = await followed(host, handle, 1500, task_type=TYPE)
            assert (status.phase, len(server.ledger.jobs)) == (Phase.SUCCEEDED, 1), status

    check()


@virtually
async def test_a_job_that_may_not_be_looked_at_for_an_hour_is_not_gone() -> None:
    queries = {"SELECT 1": FakeQuery(course=Course(running_s=None))}
    async with StrangeBigQuery(queries) as server, host_for(settings_for(server)) as host:
        handle = await host.create_task(sent(query_task("SELECT 1", Location="US")), timeout_s=10)
        server.instead = {"jobs.get": refusal(403, "accessDenied")}
        assert not (await followed(host, handle, 3600, task_type=TYPE)).phase.is_terminal
        assert server.told > 0
        server.instead = {}
        server.ledger.settle(next(iter(server.ledger.jobs)), "SUCCEEDED")
        assert (await followed(host, handle, 1500, task_type=TYPE)).phase is Phase.SUCCEEDED


@virtually
async def test_a_job_outside_of_us_and_eu_is_cancelled_where_it_runs() -> None:
    queries = {"SELECT 1": FakeQuery(course=Course(running_s=None), location="asia-northeast1")}
    async with FakeBigQuery(queries) as server, host_for(settings_for(server)) as host:
        handle = await host.create_task(sent(query_task("SELECT 1", Location="asia-northeast1")), timeout_s=10)
        assert server.ledger.live()
        await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        assert not server.ledger.live()


@pytest.mark.parametrize(
    "told",
    [
        (200, {"nextPageToken": "a"}),
        (200, {"jobs": [{}, {"jobReference": 7}]}),
        (200, {"jobs": 7}),
        refusal(403, "accessDenied"),
    ],
)
def test_listings_that_go_round_or_are_forbidden_keep_nobody_waiting(told: Told) -> None:
    @virtually
    async def check() -> None:
        queries = {"SELECT 1": FakeQuery(course=Course(running_s=None))}
        async with StrangeBigQuery(queries) as server, host_for(settings_for(server)) as host:
            task = query_task("SELECT 1", Location="US")
            handles = [await host.create_task(sent(task, node=f"n{n}"), timeout_s=10) for n in range(8)]
            server.instead = {"jobs.list": told}
            for _ in range(8):
                await asyncio.sleep(10)
                statuses = await asyncio.gather(
                    *(host.get_task(handle, task_type=TYPE, timeout_s=10) for handle in handles)
                )
            assert {status.phase for status in statuses} == {Phase.RUNNING}, statuses
            for job in server.ledger.jobs:
                server.ledger.settle(job, "SUCCEEDED")
            ended = await asyncio.gather(*(followed(host, handle, 120, task_type=TYPE) for handle in handles))
            assert {status.phase for status in ended} == {Phase.SUCCEEDED}, "an end is seen without the listing"
            assert server.calls["jobs.list"] < 100

    check()


class RoundAndRound(FakeBigQuery):
    """Its listings of children have two pages, and the second leads to itself."""

    async def _list_jobs(self, request: web.Request) -> web.Response:
        listed = self._children(request.query.get("parentJobId", ""))
        page = listed[1:] if "pageToken" in request.query else listed[:1]
        return web.json_response({"jobs": page, "nextPageToken": "again"})


@virtually
async def test_children_that_go_round_are_counted_once() -> None:
    script = FakeQuery(statement_type="SCRIPT", children=(FakeQuery(), FakeQuery()))
    async with RoundAndRound({"SELECT 1": script}) as server, host_for(settings_for(server)) as host:
        status = await run(host, query_task("SELECT 1", Location="US"))
    assert len((status.custom_info or {})["children"]) == 2


@virtually
async def test_a_cancel_of_what_has_just_ended_or_vanished_is_done() -> None:
    queries = {"SELECT 1": FakeQuery(course=Course(running_s=None))}
    async with FakeBigQuery(queries) as server, host_for(settings_for(server)) as host:
        for is_forgotten in (False, True):
            handle = await host.create_task(
                sent(query_task("SELECT 1", Location="US"), node=f"n{is_forgotten}"), timeout_s=10
            )
            await host.get_task(handle, task_type=TYPE, timeout_s=10)
            job = list(server.ledger.jobs)[-1]
            server.ledger.settle(job, "SUCCEEDED")
            if is_forgotten:
                server.ledger.forget(job)
            await host.delete_task(handle, task_type=TYPE, timeout_s=10)
        assert server.ledger.live() == []


def huge(**custom: Any) -> RawTask:
    return query_task(f"SELECT '{'x' * 1_000_000}' AS x", Location="US", **custom)


@virtually
async def test_a_query_of_nearly_a_megabyte_is_sent_and_a_longer_one_is_refused_here() -> None:
    async with FakeBigQuery() as server, host_for(settings_for(server)) as host:
        handle = await host.create_task(sent(huge()), timeout_s=10)
        assert len(handle) <= 512
        assert (await follow(host, handle))[-1].phase is Phase.SUCCEEDED
        longer = query_task(f"SELECT '{'x' * 2**20}' AS x", Location="US")
        status = (await follow(host, await host.create_task(sent(longer, node="n1"), timeout_s=10)))[-1]
        assert (status.phase, "limit of 1 MB" in status.message) == (Phase.FAILED, True)
        assert len(server.ledger.jobs) == 1


@virtually
async def test_arrays_structs_and_nulls_arrive_as_they_are_declared() -> None:
    pair = {
        "type": "STRUCT",
        "structTypes": [{"name": "a", "type": {"type": "INT64"}}, {"name": "b", "type": {"type": "STRING"}}],
    }
    declared = [
        {"name": "pair", "parameterType": pair},
        {"name": "pairs", "parameterType": {"type": "ARRAY", "arrayType": pair}},
        {"name": "none", "parameterType": {"type": "NUMERIC"}},
    ]
    values = {"pair": {"a": 1}, "pairs": [{"a": 1, "b": "x"}, {"b": "y"}], "none": None, "ids": [], "word": "x" * 2**19}
    types: dict[str, ValueType] = {
        "pair": SimpleType.STRUCT,
        "pairs": ListType(SimpleType.STRUCT),
        "none": SimpleType.NONE,
        "ids": ListType(SimpleType.INTEGER),
        "word": SimpleType.STRING,
    }
    task = replace(
        query_task("SELECT 1", Location="US", queryParameters=declared),
        inputs=Inputs(values),
        interface=Interface(inputs=types, outputs={"results": StructuredDatasetType()}),
    )
    async with FakeBigQuery() as server, host_for(settings_for(server)) as host:
        assert (await run(host, task)).phase is Phase.SUCCEEDED
        (body,) = server.bodies
    found = {each["name"]: each["parameterValue"] for each in body["configuration"]["query"]["queryParameters"]}
    assert found["pair"] == {"structValues": {"a": {"value": "1"}, "b": {"value": None}}}
    assert found["pairs"]["arrayValues"][1] == {"structValues": {"a": {"value": None}, "b": {"value": "y"}}}
    assert (found["none"], found["ids"]) == ({"value": None}, {"arrayValues": []})
    assert len(found["word"]["value"]) == 2**19
