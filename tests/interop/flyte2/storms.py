"""Scenarios of what goes wrong between the executor and the service, and of many tasks at once."""

from __future__ import annotations

import asyncio
import signal

from interop.flyte2.rows import Promise, Row, take
from interop.flyte2.world import CREATE_DEADLINE_S, World, job_task
from outboard.testing.faults import Stall, When

_LOST_ROUNDS = 2
_MANY = 300
_DOWNTIME_ERRORS = 5
"""As many failed polls as the plugin forgives; one sweep falls into the downtime, or two."""


async def loses_rounds(world: World) -> Row:
    """The executor loses the rounds that created the job, and sends the same CreateTask again."""
    await world.executor.lose_rounds("rounds", _LOST_ROUNDS)
    await world.start("rounds", job_task("rounds", running_s=1.0))
    await world.executor.wait("rounds", "over")
    row = await take(world, f"{_LOST_ROUNDS} rounds dropped, CreateTask re-sent", ["rounds"], Promise())
    sent = row.creates
    return row if sent == _LOST_ROUNDS + 1 else await _without_storm(world, row, f"CreateTask was sent {sent} times")


async def creates_slowly(world: World) -> Row:
    """The platform starts the job but answers long after CreateTask's deadline."""
    world.first.faults.add(Stall(when=When.AFTER, seconds=CREATE_DEADLINE_S + 3), "create", about="/slow/", times=1)
    await world.start("slow", job_task("slow", retries=1, running_s=8.0))
    await world.executor.wait("slow", "over")
    return await take(world, "create beyond the deadline", ["slow"], Promise())


async def restarts(world: World) -> Row:
    """The service is ended and started again while jobs are at every point of their course."""
    names = [f"restart-{number}" for number in range(8)]
    for number, name in enumerate(names):
        await world.start(name, job_task(name, queued_s=float(number), running_s=4.0))
    for name in names:
        await world.executor.wait(name, "creates", count=1)
    await asyncio.to_thread(world.first.service.end, signal.SIGTERM)
    await asyncio.to_thread(world.first.service.start)
    for name in names:
        await world.executor.wait(name, "over")
    return await take(world, "service restarted while jobs run", names, Promise(errors=_DOWNTIME_ERRORS))


async def is_killed(world: World) -> Row:
    """The service is killed while jobs run."""
    names = [f"killed-{number}" for number in range(8)]
    for name in names:
        await world.start(name, job_task(name, running_s=6.0))
    for name in names:
        await world.executor.wait(name, "creates", count=1)
    await asyncio.to_thread(world.first.service.end, signal.SIGKILL)
    await asyncio.to_thread(world.first.service.start)
    for name in names:
        await world.executor.wait(name, "over")
    return await take(world, "service killed while jobs run", names, Promise(errors=_DOWNTIME_ERRORS))


async def takes_many(world: World) -> Row:
    """Three hundred tasks at once."""
    names = [f"many-{number}" for number in range(_MANY)]
    await asyncio.gather(*(world.start(name, job_task(name, running_s=3.0)) for name in names))
    for name in names:
        await world.executor.wait(name, "over")
    return await take(world, f"{_MANY} tasks at once", names, Promise())


async def _without_storm(world: World, row: Row, words: str) -> Row:
    """Return a row as broken: what was to go wrong did not, so it shows nothing."""
    return await take(world, row.scenario, ["rounds"], Promise(), broken=[words])
