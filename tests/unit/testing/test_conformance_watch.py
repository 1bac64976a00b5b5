"""The watch times an agent's own doing, and not that of whoever shares the processor with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from outboard.host.agent_time import SLOW_STEP_S
from outboard.testing.conformance.watching import Watch

_RIVALS = 3


async def computes(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def sleeps(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - what is to be found


@contextmanager
def one_processor_shared_with(rivals: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(rivals)]
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        for each in spinning:
            each.kill()
            each.wait()


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the system tells no waiting times")
async def test_a_step_that_waited_for_a_processor_is_not_slow() -> None:
    watch = Watch()
    with one_processor_shared_with(_RIVALS):
        began = time.perf_counter()
        await watch.run("get", computes(SLOW_STEP_S * 0.5))
    assert time.perf_counter() - began > SLOW_STEP_S
    assert watch.slow == {}


@pytest.mark.parametrize("step", [computes, sleeps])
async def test_a_step_that_computes_or_waits_by_itself_is_slow(step: object) -> None:
    watch = Watch()
    await watch.run("get", step(SLOW_STEP_S * 1.2))  # type: ignore[operator]
    assert list(watch.slow) == ["get"]
