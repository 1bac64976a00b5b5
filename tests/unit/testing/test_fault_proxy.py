"""The proxy passes requests on as they are, and loses what it is told to lose, on the right side of the effect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from outboard.testing.conformance import Case, Outcome, Site, StandIn, check_case, jobs_of
from outboard.testing.conformance.proxy import FaultProxy
from outboard.testing.faults import EFFECT_LOST, REPLY_LOST, throttled
from outboard.testing.ledger_agents import sample_task
from outboard.testing.platform_server import PlatformServer
from outboard.testing.rest_agents import RestNamedAgent, RestPlatform, RestSettings
from unit.testing.conformance_cases import failed

OPERATIONS = {
    "create": "POST /jobs",
    "cancel": "POST /jobs/*/cancel",
    "find": "GET /jobs?label=*",
    "get": "GET /jobs/*",
}


async def echo(request: web.Request) -> web.Response:
    body = await request.read()
    headers = {"X-Path": request.raw_path, "X-Method": request.method, "X-Sent": request.headers.get("X-Sent", "")}
    return web.Response(status=207, body=body, headers=headers, content_type="application/x-odd")


async def test_requests_and_answers_pass_as_they_are() -> None:
    async with (
        PlatformServer(routes=[web.route("*", "/echo/{rest:.*}", echo)]) as server,
        FaultProxy(server.url, {}) as proxy,
        aiohttp.ClientSession() as session,
    ):
        url = f"{proxy.url}/echo/a%2Fb?x=1&y=%C3%A4"
        async with session.put(url, data=b"\x00\xff" * 500_000, headers={"X-Sent": "yes"}) as answer:
            assert (answer.status, answer.content_type) == (207, "application/x-odd")
            assert answer.headers["X-Sent"] == "yes"
            assert answer.headers["X-Method"] == "PUT"
            assert answer.headers["X-Path"] == "/echo/a%2Fb?x=1&y=%C3%A4"
            assert len(await answer.read()) == 1_000_000


@pytest.mark.parametrize(("fault", "jobs"), [(REPLY_LOST, 1), (EFFECT_LOST, 0)])
async def test_a_fault_strikes_on_its_side_of_the_effect(fault: object, jobs: int) -> None:
    async with (
        PlatformServer() as server,
        FaultProxy(server.url, OPERATIONS) as proxy,
        aiohttp.ClientSession() as session,
    ):
        proxy.faults.add(fault, "create", times=1)  # type: ignore[arg-type]  # a fault
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"{proxy.url}/jobs", json={"name": "a"})
        assert len(server.ledger.jobs) == jobs
        async with session.get(f"{proxy.url}/jobs/a") as answer:
            assert answer.status == (200 if jobs else 404)


async def test_requests_are_told_apart_by_method_path_and_query() -> None:
    async with (
        PlatformServer() as server,
        FaultProxy(server.url, OPERATIONS) as proxy,
        aiohttp.ClientSession() as session,
    ):
        proxy.faults.add(throttled(), "find")
        async with (
            session.get(f"{proxy.url}/jobs?label=a=b") as found,
            session.get(f"{proxy.url}/jobs?ids=a") as listed,
        ):
            assert (found.status, listed.status) == (429, 200)
        assert (proxy.faults.calls["find"], proxy.faults.calls["other"]) == (1, 1)


async def test_a_platform_that_is_not_there_is_a_bad_gateway() -> None:
    async with PlatformServer() as server:
        gone = server.url
    async with (
        FaultProxy(gone, OPERATIONS) as proxy,
        aiohttp.ClientSession() as session,
        session.get(f"{proxy.url}/jobs/a") as answer,
    ):
        assert answer.status == 502


def test_an_agent_is_checked_through_the_proxy() -> None:
    """The server has no faults of its own here: it stands for an emulator that nobody can change."""

    @asynccontextmanager
    async def stand_in(site: Site) -> AsyncIterator[StandIn]:
        async with PlatformServer() as server, FaultProxy(server.url, OPERATIONS) as proxy:
            yield StandIn(
                platform=lambda: RestPlatform(RestSettings(url=proxy.url)),
                jobs=lambda: jobs_of(server.ledger),
                faults=proxy.faults,
                quick=sample_task("rest_named"),
                long=sample_task("rest_named", running_s=None),
            )

    report = check_case(
        Case(RestNamedAgent, stand_in, checks=("started-once/reply", "started-once/effect", "unreachable"))
    )
    assert failed(report) == {}
    assert len(report.having(Outcome.PASSED)) >= 6
