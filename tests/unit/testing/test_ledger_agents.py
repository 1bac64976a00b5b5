"""The ledger in process: every fault as a client meets it, and every kind of agent in the real host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import Self

from outboard.agent import Context, Labels, Lookup, Named, Nothing, Quotas, Registry, Token
from outboard.domain.keys import submission_key
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.errors import AgentError, OutboardError, Rejected, Sent, Throttled, Unauthorized, Unavailable, Unsupported
from outboard.host import Host
from outboard.host.budgets.budgets import AccountBudget
from outboard.host.logs import TaskLog
from outboard.testing.faults import (
    FAULTS,
    REPLY_LOST,
    FaultPlan,
    Refuse,
    Stall,
    When,
    keeps_effect,
    throttled,
)
from outboard.testing.job_agents import JobConfig, KitAgent
from outboard.testing.ledger import Course, Ledger, LedgerRules
from outboard.testing.ledger_agents import LEDGER_AGENTS, LedgerPlatform, sample_task
from outboard.testing.ledger_client import ERRORS, LedgerClient, NameIsTaken
from outboard.testing.processes import Process
from outboard.testing.virtual_time import run_virtually, virtually

COURSE = Course(running_s=None)
SECOND = timedelta(seconds=1)
PATIENCE_S = 30.0

NOT_SENT = {"connection refused", "429", "429 with Retry-After", "429 as 200", "400", "401", "403"}
"""Faults after which a client may be sure that nothing happened."""


class World:
    """A ledger with a plan and a client of a second's latency each way."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.faults = FaultPlan()
        self.client = LedgerClient(self.ledger, self.faults, SECOND)

    async def create(self, name: str = "") -> Any:
        return await self.client.create(name=name, labels={}, course=COURSE)


async def classified(call: Callable[[], Awaitable[object]]) -> OutboardError:
    """What the host would make of what a call raises, as `host.invocation` does."""
    try:
        await asyncio.wait_for(call(), PATIENCE_S)
    except (asyncio.TimeoutError, TimeoutError) as error:
        return ERRORS.classify(error)
    except Exception as error:  # noqa: BLE001 - the host catches everything too
        return ERRORS.classify(error)
    pytest.fail("the fault did not show")


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "mislabelled"])
@virtually
async def test_each_fault_has_the_effect_it_says_and_shows_as_no_more_than_a_client_can_know(name: str) -> None:
    world = World()
    world.faults.add(FAULTS[name], "create")
    error = await classified(world.create)
    assert isinstance(error, AgentError)
    assert len(world.ledger.jobs) == int(keeps_effect(FAULTS[name]))
    assert error.sent is (Sent.NO if name in NOT_SENT else Sent.MAYBE)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("429", Throttled),
        ("429 as 200", Throttled),
        ("400", Rejected),
        ("401", Unauthorized),
        ("500", Unavailable),
        ("reply lost", Unavailable),
        ("reply reset", Unavailable),
        ("garbage", Unavailable),
    ],
)
@virtually
async def test_a_fault_is_the_error_that_it_stands_for(name: str, kind: type[AgentError]) -> None:
    world = World()
    world.faults.add(FAULTS[name])
    assert isinstance(await classified(world.create), kind)


@virtually
async def test_a_429_says_when_to_come_back_or_does_not() -> None:
    world = World()
    world.faults.add(throttled(timedelta(seconds=7)), times=1)
    world.faults.add(throttled())
    assert (await classified(world.create)).retry_after == timedelta(seconds=7)
    assert (await classified(world.create)).retry_after is None


@virtually
async def test_a_mislabelled_answer_of_the_ledger_is_read_all_the_same() -> None:
    world = World()
    world.faults.add(FAULTS["mislabelled"])
    assert (await world.create()).state == "RUNNING"


@virtually
async def test_a_call_takes_its_latency_before_and_after_the_effect() -> None:
    world = World()
    began = time.time()
    await world.create()
    assert (world.ledger.events[0].at - began, time.time() - began) == (1.0, 2.0)


@pytest.mark.parametrize(("killed_after_s", "jobs"), [(0.5, 0), (1.5, 1)])
@virtually
async def test_who_dies_before_the_effect_leaves_no_job_and_who_dies_after_it_leaves_one(
    killed_after_s: float, jobs: int
) -> None:
    world = World()
    replica = Process()
    replica.start(world.create())
    await asyncio.sleep(killed_after_s)
    replica.kill()
    await asyncio.sleep(60)
    assert len(world.ledger.jobs) == jobs


@virtually
async def test_a_delayed_effect_comes_although_its_caller_gave_up_or_died() -> None:
    world = World()
    world.faults.add(Stall(when=When.BEFORE, seconds=10), "create")
    with pytest.raises((asyncio.TimeoutError, TimeoutError)):
        await asyncio.wait_for(world.create(), 5)
    replica = Process()
    replica.start(world.create())
    await asyncio.sleep(5)
    replica.kill()
    assert len(world.ledger.jobs) == 0
    await asyncio.sleep(20)
    assert len(world.ledger.jobs) == 2


@virtually
async def test_a_delayed_answer_comes_to_who_waits() -> None:
    world = World()
    world.faults.add(Stall(when=When.BEFORE, seconds=10), "create", times=1)
    world.faults.add(Stall(when=When.AFTER, seconds=10), "create", times=1)
    began = time.time()
    first, second = await asyncio.gather(world.create(), world.create())
    assert time.time() - began == 12.0
    assert [event.at - began for event in world.ledger.events] == [1.0, 11.0]
    assert first.id != second.id


@virtually
async def test_an_outage_lasts_from_its_beginning_to_its_end() -> None:
    world = World()
    world.faults.cut_off(time.time() + 10, time.time() + 20)
    await world.create()
    await asyncio.sleep(10)
    error = await classified(world.create)
    assert isinstance(error, AgentError)
    assert error.sent is Sent.NO
    await asyncio.sleep(10)
    await world.create()
    assert len(world.ledger.jobs) == 2


@virtually
async def test_a_taken_name_and_a_missing_job_are_refused_as_such() -> None:
    world = World()
    await world.create("n")
    assert isinstance(await classified(lambda: world.create("n")), NameIsTaken)
    assert await world.client.get("other") is None
    assert (await classified(lambda: world.client.cancel("other"))).code == "NOT_FOUND"


def test_each_kind_declares_itself() -> None:
    kinds = {name: type(agent.submission) for name, agent in LEDGER_AGENTS.items() if issubclass(agent, KitAgent)}
    assert kinds == {
        "ledger_token": Token,
        "ledger_token_find": Token,
        "ledger_named": Named,
        "ledger_lookup": Lookup,
        "ledger_nothing": Nothing,
        "ledger_nothing_retry": Nothing,
        "ledger_batch": Named,
        "ledger_files": Token,
    }


class Service:
    """A host over the ledger, in virtual time."""

    def __init__(self, ledger: Ledger | None = None, **options: Any) -> None:
        self.faults = FaultPlan()
        self.ledger = ledger or Ledger()
        platform = LedgerPlatform(self.ledger, self.faults, **options)
        self.host = Host(Registry([platform]))
        platform.stores = self.host.stores

    async def finish(self, handle: bytes) -> TaskStatus:
        for _ in range(1_000):
            status = await self.host.get_task(handle)
            if status.phase.is_terminal:
                return status
            await asyncio.sleep(1)
        pytest.fail("the task did not end")

    async def __aenter__(self) -> Self:
        await self.host.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.host.__aexit__(None, None, None)


@pytest.mark.parametrize("kind", LEDGER_AGENTS)
@virtually
async def test_a_task_of_each_kind_becomes_one_job_and_succeeds_with_its_outputs(kind: str, tmp_path: Path) -> None:
    task = sample_task(kind, output_prefix=f"{tmp_path}/n0/0", queued_s=3, running_s=20)
    async with Service(latency=timedelta(milliseconds=50)) as service:
        handle = await service.host.create_task(task)
        status = await service.finish(handle)
        assert (status.phase, status.error) == (Phase.SUCCEEDED, None)
        is_file = kind == "ledger_files"
        assert status.outputs == (None if is_file else {"answer": 42})
        assert (tmp_path / "n0/0/outputs.pb").exists() == is_file
        assert [job.key for job in service.ledger.jobs_of(task)] == [job.key for job in service.ledger.jobs.values()]
        assert len(service.ledger.jobs_of(task)) == 1
        assert service.ledger.jobs_of(task)[0].key.startswith("ob-exec-n0-0-")


def context_of(task: RawTask, client: Any) -> Context[Any]:
    key = submission_key("test", task.identity, task.output_prefix)
    return Context(
        client=client,
        connection=None,
        account="",
        log=TaskLog(),
        deadline=time.monotonic() + PATIENCE_S,
        budget=AccountBudget(Quotas()),
        key=key,
        scope=task.scope,
        output_prefix=task.output_prefix,
        secrets={},
        labels=Labels(provenance={"outboard-key": key.text}, user={}),
    )


@pytest.mark.parametrize(
    ("kind", "jobs", "found"),
    [
        ("ledger_token", 1, None),
        ("ledger_token_find", 1, 1),
        ("ledger_named", 1, 1),
        ("ledger_batch", 1, 1),
        ("ledger_lookup", 2, 2),
        ("ledger_nothing", 2, None),
    ],
)
@virtually
async def test_a_create_that_is_repeated_after_a_lost_reply_does_what_the_kind_promises(
    kind: str, jobs: int, found: int | None
) -> None:
    world = World()
    world.faults.add(REPLY_LOST, "create", times=1)
    raw = sample_task(kind)
    agent: Any = LEDGER_AGENTS[kind](LedgerPlatform(world.ledger))
    task = raw.with_config(JobConfig.model_validate(raw.config))
    ctx = context_of(raw, world.client)
    with pytest.raises(EOFError):
        await agent.create(task, ctx)
    second = await agent.create(task, ctx)
    assert len(world.ledger.jobs_of(raw)) == jobs
    assert len(world.ledger.second_jobs()) == jobs - 1
    assert second.id == list(world.ledger.jobs)[-1]
    if found is None:
        with pytest.raises(Unsupported):
            await agent.find(task, ctx.key, ctx)
    else:
        assert [job.id for job in await agent.find(task, ctx.key, ctx)] == list(world.ledger.jobs)


@virtually
async def test_a_job_that_fails_says_so_and_one_that_was_lost_is_worth_another_attempt() -> None:
    phases = []
    async with Service() as service:
        for node, outcome in enumerate(("FAILED", "LOST")):
            task = sample_task("ledger_token", node=f"n{node}", outcome=outcome, message="words")
            phases.append((await service.finish(await service.host.create_task(task))).phase)
    assert phases == [Phase.FAILED, Phase.RETRYABLE_FAILED]


@virtually
async def test_a_file_job_that_wrote_an_error_failed_although_its_state_is_good(tmp_path: Path) -> None:
    task = sample_task("ledger_files", output_prefix=f"{tmp_path}/n0/0", error="no such column")
    async with Service() as service:
        status = await service.finish(await service.host.create_task(task))
        assert status.phase is Phase.FAILED
        assert status.error is not None
        assert "no such column" in status.error.message


@virtually
async def test_a_cancel_reaches_the_job() -> None:
    task = sample_task("ledger_token", running_s=None, cancelling_s=120)
    async with Service() as service:
        handle = await service.host.create_task(task)
        await service.host.delete_task(handle)
        assert service.ledger.effects["cancelled"] >= 1
        await asyncio.sleep(130)
        assert service.ledger.live() == []


@virtually
async def test_regions_are_connections_of_their_own_and_logs_are_read() -> None:
    ledger = Ledger(LedgerRules(course=Course(running_s=5)))
    async with Service(ledger) as service:
        handle = await service.host.create_task(sample_task("ledger_named", region="there"))
        await service.finish(handle)
        pages = [page async for page in service.host.task_logs(handle)]
        assert [line.message for page in pages for line in page.lines][-1] == "ended as SUCCEEDED"
        assert service.host.codec.decode(handle).connection["region"] == "there"


def test_a_run_with_chances_is_the_same_every_time() -> None:
    async def run(seed: int) -> list[float]:
        plan = FaultPlan(seed=seed)
        plan.add(Refuse(), chance=0.2)
        client = LedgerClient(Ledger(), plan, SECOND)
        for _ in range(50):
            await asyncio.gather(client.get("x"), return_exceptions=True)
        return [each.at for each in plan.struck]

    first = run_virtually(lambda: run(3))
    assert first == run_virtually(lambda: run(3))
    assert first != run_virtually(lambda: run(4))
    assert len(first) > 1
