"""What the promise costs on the way of a GetTask: CPU per call and memory per live job, measured in this process.

It informs and judges nothing: times of a shared machine decide no promise. `bench/run.py --only calls` measures the same path
through sockets, beside flytekit's and the bare echo's; its figures are the ones to compare between releases.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from outboard.domain.tasks import RawTask, TaskType
from outboard.testing.ledger_agents import sample_task
from outboard.testing.replicas import Served
from proof.scenarios import KINDS, OURS_ONLY, Result, Scenario, System, World, count

_POLLS_PER_JOB: Final = 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

_AT_ONCE: Final = 200


def measure_polls(system: System, size: int, seed: int) -> Iterable[Result]:
    """Start jobs and poll them all in turn, each poll answered by the platform."""
    return asyncio.run(_measure_polls(system, size, seed))


async def _measure_polls(system: System, size: int, seed: int) -> Iterable[Result]:
    world = World.new(seed)
    host = system.make_host(world)
    task_type = TaskType(KINDS["named"])
    try:
        first = await host.create_task(_task(size))  # opens the client, and imports what is imported late
        await host.delete_task(first, task_type=task_type)
        before = _resident_bytes()
        handles = [await host.create_task(_task(n)) for n in range(size)]
        cpu_us = await _poll_all(host, handles, task_type)
        grown = _resident_bytes() - before
        for first_of in range(0, size, _AT_ONCE):  # how ten thousand cancels at once fare is not what is measured here
            some = handles[first_of : first_of + _AT_ONCE]
            await asyncio.gather(*(host.delete_task(handle, task_type=task_type) for handle in some))
    finally:
        await host.close()
    notes = {"CPU per GetTask": f"{cpu_us:.0f} us", "memory per live job": f"{grown / size / 1024:.1f} KiB"}
    return [count(world, "cost", "GetTask", tasks=size + 1, handles=size + 1, seed=seed, is_kept=None, notes=notes)]


def _task(n: int) -> RawTask:
    return sample_task(KINDS["named"], node=f"n{n}", running_s=None)


async def _poll_all(host: Served, handles: list[bytes], task_type: TaskType) -> float:
    """Return the microseconds of CPU that one GetTask took."""
    begun = time.process_time()
    for _ in range(_POLLS_PER_JOB):
        for handle in handles:
            await host.get_task(handle, task_type=task_type, timeout_s=10.0)
    return (time.process_time() - begun) / (len(handles) * _POLLS_PER_JOB) * 1e6


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


SCENARIOS = (
    Scenario(
        name="cost/get",
        promise="Informs: CPU and memory of the GetTask path, the platform's client included.",
        run=measure_polls,
        short=1_000,
        full=10_000,
        systems=OURS_ONLY,
    ),
)
