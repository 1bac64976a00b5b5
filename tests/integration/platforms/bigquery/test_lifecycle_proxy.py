"""The life-cycle proxy gives jobs of an emulator that finishes at once a life, and keeps the emulator's own results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, web

from outboard.testing.faults import Cut, Refuse, When
from outboard.testing.ledger import Course, Ledger, LedgerRules
from outboard.testing.lifecycle_proxy import (
    CANCELLED,
    ENDED,
    PENDING,
    RUNNING,
    Asked,
    JobShape,
    Life,
    LifecycleProxy,
    ProxiedJob,
    Stay,
)
from outboard.testing.platform_server import PlatformServer
from outboard.testing.virtual_time import virtually

OPERATIONS = {
    "cancel": "POST /jobs/*/cancel",
    "create": "POST /jobs",
    "get_many": "GET /jobs?*",
    "get": "GET /jobs/*",
}
STATES = {PENDING: "QUEUED", RUNNING: "RUNNING", CANCELLED: "CANCELLED"}


class ReferenceShape(JobShape):
    """Jobs as the kit's reference API writes them."""

    def chosen_id(self, asked: Asked) -> str:
        return str(asked.document.get("name", ""))

    def started_id(self, asked: Asked, answer: Any) -> str:
        return str(answer["id"])

    def asked_id(self, asked: Asked) -> str:
        return asked.path.removesuffix("/cancel").rpartition("/")[2]

    def shown(self, job: ProxiedJob, state: str, answer: Any) -> Any:
        return answer if state == ENDED else {**answer, "state": STATES[state], "has_outputs": False}

    def duplicate(self, asked: Asked, job: ProxiedJob) -> web.Response:
        return web.json_response({"taken": job.id}, status=409)

    def cancel_answer(self, job: ProxiedJob) -> web.Response:
        return web.json_response({"cancelled": job.id}, status=202)

    def listed(self, asked: Asked, jobs: Mapping[str, ProxiedJob], answer: Any) -> Any:
        return {"jobs": [self.shown(jobs[each["id"]], jobs[each["id"]].state, each) for each in answer["jobs"]]}


class Emulated:
    """An emulator whose jobs end at once, behind a proxy."""

    def __init__(self, server: PlatformServer, proxy: LifecycleProxy, session: ClientSession) -> None:
        self.server, self.proxy, self.session = server, proxy, session

    async def create(self, name: str = "j1") -> tuple[int, Any]:
        body = {"name": name, "course": {"outputs": {"n": 1}}}
        async with self.session.post(f"{self.proxy.url}/jobs", json=body) as answer:
            return answer.status, await answer.json()

    async def state(self, name: str = "j1") -> str:
        async with self.session.get(f"{self.proxy.url}/jobs/{name}") as answer:
            return str((await answer.json())["state"])

    async def cancel(self, name: str = "j1") -> int:
        async with self.session.post(f"{self.proxy.url}/jobs/{name}/cancel") as answer:
            return answer.status


@asynccontextmanager
async def emulated(life: Any = None) -> AsyncIterator[Emulated]:
    ledger = Ledger(LedgerRules(course=Course(running_s=0.0)))
    async with (
        PlatformServer(ledger) as server,
        LifecycleProxy(server.url, OPERATIONS, ReferenceShape(), life) as proxy,
        ClientSession() as session,
    ):
        yield Emulated(server, proxy, session)


async def test_a_job_stays_for_so_many_polls_and_then_has_the_emulators_own_end() -> None:
    async with emulated(Life(pending=Stay(polls=2), running=Stay(polls=1))) as there:
        assert (await there.create())[1]["state"] == "QUEUED"
        assert [await there.state() for _ in range(5)] == ["QUEUED", "QUEUED", "RUNNING", "SUCCEEDED", "SUCCEEDED"]


@virtually
async def test_a_job_stays_for_so_many_seconds() -> None:
    async with emulated(Life(pending=Stay(seconds=10), running=Stay(seconds=20))) as there:
        await there.create()
        seen = []
        for _ in range(5):
            seen.append(await there.state())
            await asyncio.sleep(8)
        assert seen == ["QUEUED", "QUEUED", "RUNNING", "RUNNING", "SUCCEEDED"]


async def test_without_a_life_it_passes_on_what_the_emulator_says() -> None:
    async with emulated() as there:
        assert (await there.create())[1]["state"] == "SUCCEEDED"
        async with there.session.get(f"{there.proxy.url}/jobs/j1/outputs") as answer:
            assert await answer.json() == {"outputs": {"n": 1}}


async def test_a_second_job_of_an_id_is_refused_and_the_emulator_never_hears_of_it() -> None:
    async with emulated() as there:
        await there.create()
        calls = there.server.faults.calls["create"]
        assert await there.create() == (409, {"taken": "j1"})
        assert (there.proxy.duplicates, there.server.faults.calls["create"]) == (1, calls)


async def test_of_two_creates_at_once_one_is_refused() -> None:
    async with emulated() as there:
        answers = await asyncio.gather(*(there.create() for _ in range(5)))
        assert sorted(status for status, _ in answers) == [201, 409, 409, 409, 409]
        assert there.server.faults.calls["create"] == 1


async def test_a_cancel_ends_a_job_that_lives_and_leaves_one_that_is_over() -> None:
    async with emulated(
        lambda asked: Life(running=Stay(seconds=None if asked.document["name"] == "long" else 0))
    ) as there:
        await there.create("long")
        await there.create("short")
        assert await there.state("long") == "RUNNING"
        assert there.proxy.jobs["long"].is_live
        assert [await there.cancel(name) for name in ("long", "short")] == [202, 202]
        assert [await there.state(name) for name in ("long", "short")] == ["CANCELLED", "SUCCEEDED"]
        assert not there.proxy.jobs["long"].is_live


@virtually
async def test_a_cancel_may_take_its_time() -> None:
    life = Life(running=Stay(seconds=None), cancelling=Stay(seconds=30))
    async with emulated(life) as there:
        await there.create()
        await there.cancel()
        assert await there.state() == "RUNNING"
        seen = []
        for _ in range(3):
            await asyncio.sleep(12)
            seen.append(await there.state())
        assert seen == ["RUNNING", "RUNNING", "CANCELLED"]


async def test_a_listing_shows_each_job_as_it_stands() -> None:
    async with emulated(Life(running=Stay(polls=2))) as there:
        for name in ("a", "b"):
            await there.create(name)
        seen = []
        for _ in range(3):
            async with there.session.get(f"{there.proxy.url}/jobs?ids=a,b") as answer:
                seen.append({each["state"] for each in (await answer.json())["jobs"]})
        assert seen == [{"RUNNING"}, {"RUNNING"}, {"SUCCEEDED"}]


async def test_a_lost_reply_leaves_a_job_and_a_refusal_none() -> None:
    async with emulated() as there:
        there.proxy.faults.add(Cut(when=When.AFTER), "create", times=1)
        there.proxy.faults.add(Refuse(status=429, code="SLOW_DOWN"), "create", times=1)
        with pytest.raises(ClientError):
            await there.create("lost")
        assert (await there.create("refused"))[0] == 429
        assert list(there.proxy.jobs) == ["lost"]
        assert (await there.create("lost"))[0] == 409
