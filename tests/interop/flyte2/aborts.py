"""Scenarios of work that is given up, and of garbage collection, which Flyte 2 does with the same call."""

from __future__ import annotations

from interop.flyte2.rows import Promise, Row, take
from interop.flyte2.world import World, job_task
from outboard.testing.faults import Refuse, Stall, When
from outboard.testing.ledger_jobs import SUCCEEDED
from outboard.testing.platform_clock import platform_time

_ABORTED = Promise(end="ABORTED")
_SLOW_CREATE_S = 2.0
_REFUSALS = 3
REFUSAL = "the platform is being repaired"


async def aborts_queued(world: World) -> Row:
    """Aborted while the job waits in the platform's queue."""
    await world.start("abort-q", job_task("abort-q", queued_s=600.0))
    await world.job("abort-q")
    await world.executor.wait("abort-q", "polls", count=1)
    return await _abort(world, "abort while queued", "abort-q")


async def aborts_running(world: World) -> Row:
    """Aborted while the job runs, by a platform that takes its time."""
    await world.start("abort-r", job_task("abort-r", running_s=None, cancelling_s=1.0))
    await world.executor.wait("abort-r", "PhaseRunning")
    return await _abort(world, "abort while running", "abort-r")


async def aborts_creating(world: World) -> Row:
    """Aborted while CreateTask is under way and its job is not there yet."""
    world.first.faults.add(Stall(when=When.BEFORE, seconds=_SLOW_CREATE_S), "create", about="/abort-c/")
    await world.start("abort-c", job_task("abort-c", running_s=None))
    await world.first.hears("create", "/abort-c/")
    return await _abort(world, "abort while being created", "abort-c")


async def aborts_ended(world: World) -> Row:
    """Aborted when the job has just succeeded and the executor has not seen it."""
    await world.start("abort-e", job_task("abort-e", running_s=None))
    await world.executor.wait("abort-e", "PhaseRunning")
    job = await world.job("abort-e")
    world.first.ledger.settle(job.id, SUCCEEDED)
    await world.executor.abort("abort-e")
    await world.executor.wait("abort-e", "gone")
    broken = [] if not job.late_cancels or not world.is_ours else ["a job that was over was cancelled"]
    return await take(world, "abort of a job that has just ended", ["abort-e"], _ABORTED, broken=broken)


async def insists_on_an_abort(world: World) -> Row:
    """The platform refuses to cancel: the executor asks again until it does, and we tell it so."""
    await world.start("abort-x", job_task("abort-x", running_s=None))
    await world.executor.wait("abort-x", "PhaseRunning")
    job = await world.job("abort-x")
    refusal = Refuse(status=503, code="UNAVAILABLE", words=REFUSAL)
    world.first.faults.add(refusal, "cancel", about=f"/jobs/{job.id}/")
    await world.executor.abort("abort-x")
    refused = await world.executor.wait("abort-x", "refused_aborts", count=_REFUSALS)
    broken = [] if refused.exists else ["the executor was told that the job is given up while the platform refused"]
    world.first.faults.clear()
    await world.executor.wait("abort-x", "gone")
    return await take(world, f"abort refused {_REFUSALS} times and more", ["abort-x"], _ABORTED, broken=broken)


async def collects_garbage(world: World) -> Row:
    """The garbage collector deletes actions that succeeded: their jobs and results are none of its business."""
    names = ["gc-inline", "gc-files"]
    await world.start(names[0], job_task(names[0], running_s=0.5))
    await world.start(names[1], job_task(names[1], "rest_files", running_s=0.5))
    for name in names:
        await world.executor.wait(name, "over")
    before = {name: await world.executor.outputs(name) for name in names}
    await world.executor.collect_garbage()
    stands = {name: await world.executor.wait(name, "gone") for name in names}
    broken = [f"{name} had no outputs" for name, content in before.items() if not content]
    for name in names:
        job = await world.job(name)
        state = job.state(platform_time())
        broken += [] if state == SUCCEEDED else [f"the job of {name} is {state}"]
        # A cancel that comes too late does nothing here; on a platform where the job is the product it destroys it.
        broken += [f"{job.late_cancels} cancels reached the job of {name}"] if job.late_cancels else []
        broken += [] if stands[name].counts.get("refused_aborts", 0) == 0 else [f"deleting {name} was refused"]
    return await take(world, "garbage collection of success", names, _ABORTED, broken=broken)


async def _abort(world: World, scenario: str, name: str) -> Row:
    await world.executor.abort(name)
    await world.executor.wait(name, "gone")
    return await take(world, scenario, [name], _ABORTED)
