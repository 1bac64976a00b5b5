"""Crash points: all awaits are tried, the same every time, and what a crash leaves is seen."""

import asyncio
import contextlib
from collections import Counter

import pytest

from outboard.errors import OutboardError
from outboard.testing.crashes import CrashPoint, crash_points
from outboard.testing.replicas import Fleet
from unit.testing.small_service import SmallService, World, pausing, small_task


async def create_once(crash: CrashPoint) -> tuple[int, int, list[str]]:
    """One CreateTask with an await before and after the effect; what there was afterwards."""
    world = World(before={"create_task": pausing(1)}, after={"create_task": pausing(1)})
    async with Fleet(1, lambda: SmallService(world)) as fleet:
        crash.arm(fleet)
        handles = 0
        with contextlib.suppress(OutboardError):
            await fleet.create_task(small_task())
            handles = 1
        await asyncio.sleep(10)
    return len(world.jobs), handles, [*world.trail]


def test_every_await_of_a_replica_is_a_crash_point() -> None:
    whole, *crashed = crash_points(create_once)
    assert whole.result == (1, 1, ["tidied up"])
    found = Counter(run.result[:2] for run in crashed)
    assert found[(0, 0)] > 0, "killed before the effect"
    assert found[(1, 0)] > 0, "killed between effect and answer"
    assert found[(0, 1)] == 0
    assert all(run.victim == "replica-0" for run in crashed)
    assert all(not run.result[2] for run in crashed if run.result[1] == 0), "the dead tidied up"


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    def sampled(seed: int) -> list[tuple[int | None, object]]:
        return [(run.at, run.result) for run in crash_points(create_once, sample=2, seed=seed)]

    assert sampled(3) == sampled(3)
    assert len(sampled(3)) == 3


def test_randomness_is_the_same_in_every_run_of_a_scenario() -> None:
    draws = []

    async def scenario(crash: CrashPoint) -> None:
        draws.append(crash.random.random())
        await create_once(crash)

    list(crash_points(scenario, seed=11))
    assert len(draws) > 2
    assert len(set(draws)) == 1


def test_a_killed_replica_is_started_again_after_a_while() -> None:
    async def scenario(crash: CrashPoint) -> int:
        world = World(before={"create_task": pausing(1)})
        async with Fleet(1, lambda: SmallService(world)) as fleet:
            crash.arm(fleet, restart_after_s=5)
            while True:
                try:
                    await fleet.create_task(small_task())
                except OutboardError:
                    await asyncio.sleep(2)
                else:
                    return fleet.replicas[0].starts

    whole, *crashed = crash_points(scenario)
    assert whole.result == 1
    assert {run.result for run in crashed} == {2}


def test_a_replica_dies_at_the_step_it_was_told() -> None:
    async def scenario(crash: CrashPoint) -> int:
        world = World(before={"create_task": pausing(1)})
        async with Fleet(1, lambda: SmallService(world)) as fleet:
            crash.arm(fleet.replicas[0])
            crash.disarm(fleet)
            fleet.replicas[0].kill_at(2)
            with contextlib.suppress(OutboardError):
                await fleet.create_task(small_task())
            assert not fleet.replicas[0].is_alive
            assert fleet.replicas[0].process.steps == 2
            assert world.calls["create_task"] == 1, "the first step was taken"
            crash.steps = 1
            return len(world.jobs)

    assert {run.result for run in crash_points(scenario)} == {0}


def test_a_scenario_that_arms_nothing_is_refused() -> None:
    async def scenario(crash: CrashPoint) -> None:
        return

    with pytest.raises(ValueError, match="arm a replica"):
        list(crash_points(scenario))
