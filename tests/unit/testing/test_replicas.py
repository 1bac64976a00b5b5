"""Replicas die, come back and are reached over a network that loses what it is told to lose."""

import asyncio
import time

import pytest

from ledgers import Ledger, LedgerAgent, LedgerPlatform, ledger_task
from outboard.agent import Registry, TaskType
from outboard.domain.phases import Phase
from outboard.errors import EndpointUnreachable, Unavailable
from outboard.host import Host, HostSettings
from outboard.testing.processes import die, outside
from outboard.testing.replicas import CLEAR, Call, Fleet, Passage, Replica
from outboard.testing.virtual_time import run_virtually, virtually
from unit.testing.small_service import SmallService, World, failing, pausing, small_task

SMALL = TaskType("small")


@virtually
async def test_a_caller_whose_replica_dies_sees_a_broken_connection() -> None:
    world = World(before={"create_task": pausing(10)})
    async with Fleet(1, lambda: SmallService(world)) as fleet:
        call = asyncio.ensure_future(fleet.create_task(small_task()))
        await asyncio.sleep(1)
        fleet.replicas[0].kill()
        with pytest.raises(Unavailable, match="broke the connection"):
            await call
        await asyncio.sleep(100)
        assert (world.jobs, world.trail) == ({}, [])
        with pytest.raises(EndpointUnreachable, match="no replica is ready"):
            await fleet.list_agents()


@virtually
async def test_a_replica_that_is_started_again_has_forgotten_everything_but_the_world() -> None:
    world = World()
    async with Fleet(1, lambda: SmallService(world)) as fleet:
        (replica,) = fleet.replicas
        await fleet.create_task(small_task())
        first = replica.host
        replica.restart()
        assert replica.host is not first
        assert (replica.starts, replica.host.seen, first.seen) == (2, set(), {"memory://out/n0"})
        status = await fleet.get_task(b"", task_type=SMALL, output_prefix="memory://out/n0")
        assert status.phase is Phase.RUNNING


@virtually
async def test_calls_go_round_robin_over_the_replicas_that_live() -> None:
    world = World()
    seen: list[str] = []

    def note(call: Call) -> Passage:
        seen.append(f"{call.operation} {call.number} {call.replica}")
        return CLEAR

    async with Fleet(3, lambda: SmallService(world), network=note) as fleet:
        await fleet.create_task(small_task())
        await fleet.list_agents()
        fleet.replicas[2].kill()
        await fleet.create_task(small_task("n1"))
        await fleet.create_task(small_task("n2"))
    assert seen == [
        "create_task 0 replica-0",
        "list_agents 0 replica-1",
        "create_task 1 replica-0",
        "create_task 2 replica-1",
    ]


@pytest.mark.parametrize("passage", [Passage(request_lost=True), Passage(reply_lost=True), Passage(delay_after_s=60)])
def test_a_caller_with_a_deadline_waits_for_it_and_the_effect_depends_on_what_was_lost(passage: Passage) -> None:
    async def scenario() -> tuple[float, int]:
        world = World()
        async with Fleet(1, lambda: SmallService(world), network=lambda _: passage) as fleet:
            began = time.monotonic()
            with pytest.raises(Unavailable, match="did not answer create_task within 10 s"):
                await fleet.create_task(small_task(), timeout_s=10)
            waited = time.monotonic() - began
            await asyncio.sleep(100)
            return waited, len(world.jobs)

    assert run_virtually(scenario) == (10, 0 if passage.request_lost else 1)


def test_without_a_deadline_a_lost_reply_breaks_the_connection() -> None:
    async def scenario() -> int:
        world = World()
        async with Fleet(1, lambda: SmallService(world), network=lambda _: Passage(reply_lost=True)) as fleet:
            with pytest.raises(Unavailable, match="broke"):
                await fleet.create_task(small_task())
            return len(world.jobs)

    assert run_virtually(scenario) == 1


def test_a_late_request_arrives_after_its_caller_gave_up() -> None:
    async def scenario() -> tuple[int, int]:
        world = World()
        async with Fleet(1, lambda: SmallService(world), network=lambda _: Passage(delay_before_s=30)) as fleet:
            with pytest.raises(Unavailable, match="within 10 s"):
                await fleet.create_task(small_task(), timeout_s=10)
            before = len(world.jobs)
            await asyncio.sleep(21)
            return before, len(world.jobs)

    assert run_virtually(scenario) == (0, 1)


def test_a_handler_is_cancelled_when_its_callers_deadline_passes() -> None:
    async def scenario() -> tuple[list[str], int]:
        world = World(before={"create_task": pausing(60)})
        async with Fleet(1, lambda: SmallService(world)) as fleet:
            with pytest.raises(Unavailable):
                await fleet.create_task(small_task(), timeout_s=1)
            await asyncio.sleep(100)
            return world.trail, len(world.jobs)

    assert run_virtually(scenario) == (["cancelled", "tidied up"], 0)


def test_errors_of_the_service_reach_the_caller_as_they_are() -> None:
    async def scenario() -> None:
        world = World(before={"get_task": failing(Unavailable("the platform is down"))})
        async with Fleet(1, lambda: SmallService(world)) as fleet:
            with pytest.raises(Unavailable, match="the platform is down"):
                await fleet.get_task(b"", task_type=SMALL)

    run_virtually(scenario)


@pytest.mark.parametrize(("drains_in_s", "in_time"), [(20, True), (200, False)])
def test_a_terminated_replica_drains_within_its_grace_or_is_killed(drains_in_s: float, in_time: bool) -> None:
    async def scenario() -> tuple[bool, list[str], bool, float]:
        world = World(before={"drain": pausing(drains_in_s)})
        replica = Replica("r", lambda: SmallService(world))
        began = time.monotonic()
        done = await replica.terminate(grace_s=90)
        took = time.monotonic() - began
        await asyncio.sleep(1000)
        return done, world.trail, replica.is_alive, took

    trail = ["drained", "closed"] if in_time else []
    assert run_virtually(scenario) == (in_time, trail, False, min(drains_in_s, 90))


@virtually
async def test_a_draining_replica_gets_no_new_calls() -> None:
    world = World(before={"drain": pausing(20)})
    async with Fleet(2, lambda: SmallService(world)) as fleet:
        ending = asyncio.ensure_future(fleet.replicas[0].terminate())
        await asyncio.sleep(1)
        for n in range(4):
            await fleet.create_task(small_task(f"n{n}"))
        assert (len(fleet.replicas[0].host.seen), len(fleet.replicas[1].host.seen)) == (0, 4)
        assert await ending


@virtually
async def test_code_that_dies_at_a_given_place_goes_no_further() -> None:
    world = World(after={"create_task": die})
    async with Fleet(1, lambda: SmallService(world)) as fleet:
        with pytest.raises(Unavailable):
            await fleet.create_task(small_task())
        assert (len(world.jobs), world.trail) == (1, [])


@virtually
async def test_what_was_sent_to_the_world_outside_takes_effect_after_the_senders_death() -> None:
    world = World()

    async def start_elsewhere() -> None:
        await asyncio.sleep(5)
        world.jobs["elsewhere"] = Phase.RUNNING

    async def send() -> None:
        await outside(start_elsewhere())

    world.before["create_task"] = send
    async with Fleet(1, lambda: SmallService(world)) as fleet:
        call = asyncio.ensure_future(fleet.create_task(small_task()))
        await asyncio.sleep(1)
        fleet.replicas[0].kill()
        with pytest.raises(Unavailable):
            await call
        await asyncio.sleep(10)
        assert list(world.jobs) == ["elsewhere"]


@virtually
async def test_a_skewed_replica_lives_by_its_own_wall_clock_also_after_a_restart() -> None:
    dates: list[float] = []

    class Dated(SmallService):
        async def drain(self) -> None:
            dates.append(time.time())

    replica = Replica("r", lambda: Dated(World()), wall_skew_s=600)
    await replica.ask(replica.host.drain)
    replica.wall_skew_s = -600
    await replica.ask(replica.host.drain)
    replica.restart()
    await replica.ask(replica.host.drain)
    assert [round(date - time.time()) for date in dates] == [600, -600, -600]
    replica.kill()


@virtually
async def test_a_real_host_runs_as_a_replica_and_dies_between_two_steps() -> None:
    ledger = Ledger()

    def make_host() -> Host:
        return Host(Registry([LedgerPlatform(ledger, LedgerAgent)]), HostSettings())

    async with Fleet(2, make_host) as fleet:
        handle = await fleet.create_task(ledger_task())
        for _ in range(2):
            status = await fleet.get_task(handle, task_type=TaskType("ledger"))
            assert status.phase is Phase.RUNNING
        ledger.faults["create"] = die
        with pytest.raises(Unavailable):
            await fleet.create_task(ledger_task(node="n1"))
        assert len(ledger.jobs) == 1
        assert sorted(replica.is_alive for replica in fleet.replicas) == [False, True]
