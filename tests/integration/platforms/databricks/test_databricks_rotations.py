"""Logins that change while runs and statements go on: tokens replaced, secrets rotated, per project and per workspace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from integration.platforms.databricks.databricks_hosts import TOKEN, Site, site
from outboard.agent import Task
from outboard.domain.phases import Phase
from outboard.domain.provided import Provided
from outboard.testing.cases.databricks import function_task, sql_task
from outboard.testing.virtual_time import virtually

LONG = [function_task("long"), sql_task("SELECT forever")]
M2M = {"auth": "oauth_m2m", "client_id": "sp-1"}
kinds = pytest.mark.parametrize("task", LONG, ids=["run", "statement"])


async def polled(at: Site, handles: list[bytes], times: int = 12, every_s: float = 10.0) -> list[Phase]:
    """Poll for a while and return the last phases; none of them may end a job on the way."""
    for _ in range(times):
        await asyncio.sleep(every_s)
        statuses = [await at.host.get_task(handle) for handle in handles]
        assert not any(status.phase.is_terminal for status in statuses), statuses
    return [status.phase for status in statuses]


@kinds
def test_a_token_that_was_replaced_is_read_anew_while_jobs_run(task: Task[Any]) -> None:
    @virtually
    async def check() -> None:
        async with site(secrets={TOKEN: "dapi-old"}) as at:
            at.server.access.tokens = {"dapi-old"}
            handles = [await at.start(task) for _ in range(3)]
            at.server.access.tokens = {"dapi-new"}
            at.replace_secret(TOKEN, "dapi-new")
            assert await polled(at, handles) == [Phase.RUNNING] * 3
            assert at.server.access.seen[-1] == "Bearer dapi-new"
            for handle in handles:
                await at.host.delete_task(handle)
            assert not at.server.ledger.live()

    check()


@kinds
def test_an_expired_token_is_told_and_a_new_one_goes_on(task: Task[Any]) -> None:
    @virtually
    async def check() -> None:
        async with site(secrets={TOKEN: "dapi-old"}) as at:
            at.server.access.tokens = {"dapi-old"}
            handle = await at.start(task)
            await polled(at, [handle], times=2)
            at.server.access.tokens = {"dapi-new"}
            assert await polled(at, [handle], times=60) == [Phase.WAITING_FOR_RESOURCES]
            assert TOKEN in (await at.host.get_task(handle)).message
            at.replace_secret(TOKEN, "dapi-new")
            assert await polled(at, [handle]) == [Phase.RUNNING]
            assert len(at.server.ledger.jobs) == 1

    check()


@virtually
async def test_a_service_principals_rotated_secret_is_used_when_its_token_ends() -> None:
    async with site(settings=M2M, secrets={"databricks_client_secret": "first"}) as at:
        access = at.server.access
        access.tokens.clear()
        access.principals["sp-1"] = "first"
        handles = [await at.start(task) for task in LONG]
        await polled(at, handles, times=2)
        access.principals["sp-1"] = "second"  # the tokens that the old one bought last on
        at.replace_secret("databricks_client_secret", "second")
        assert await polled(at, handles, times=20, every_s=600) == [Phase.RUNNING] * 2
        assert access.exchanged >= 4
        assert not any("first" in header or "second" in header for header in access.seen)


@virtually
async def test_a_service_principals_token_that_ends_before_its_time_is_exchanged_again() -> None:
    async with site(settings=M2M, secrets={"databricks_client_secret": "first"}) as at:
        access = at.server.access
        access.tokens.clear()
        access.principals["sp-1"] = "first"
        handles = [await at.start(task) for task in LONG]
        await polled(at, handles, times=2)
        bought = access.exchanged
        access._until.clear()  # as when an administrator revokes them, or clocks differ
        assert await polled(at, handles) == [Phase.RUNNING] * 2
        assert access.exchanged > bought


@virtually
async def test_each_projects_token_is_rotated_by_itself() -> None:
    names = {project: f"{project}-development/{TOKEN}" for project in ("a", "b")}
    async with site(secrets={name: f"dapi-{project}" for project, name in names.items()}) as at:
        at.server.access.tokens = {"dapi-a", "dapi-b"}
        handles = [await at.start(LONG[0], project=project) for project in names]
        await polled(at, handles, times=2)
        at.server.access.tokens = {"dapi-a", "dapi-b2"}
        at.replace_secret(names["b"], "dapi-b2")
        assert await polled(at, handles) == [Phase.RUNNING] * 2
        at.server.access.seen.clear()
        await polled(at, handles, times=2)
        assert set(at.server.access.seen) == {"Bearer dapi-a", "Bearer dapi-b2"}


@virtually
async def test_a_token_that_flyte_2_provides_is_the_one_of_the_latest_request() -> None:
    async with site() as at:
        at.server.access.tokens = {"dapi-1"}
        task = replace(LONG[0], config={**LONG[0].config, "secrets": {"databricks_token": "team"}})
        first, second = (Provided(secrets={"databricks_token": f"dapi-{n}"}) for n in (1, 2))
        handle = await at.host.create_task(replace(at.sent(task), provided=first))
        await at.host.get_task(handle, provided=first)
        at.server.access.tokens = {"dapi-2"}
        for _ in range(12):
            await asyncio.sleep(10)
            status = await at.host.get_task(handle, provided=second)
        assert status.phase is Phase.RUNNING
        await at.host.delete_task(handle, provided=second)
        assert not at.server.ledger.live()
        assert at.server.access.seen[-1] == "Bearer dapi-2"
