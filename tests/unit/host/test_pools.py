"""Worker pools: hanging calls take no seats, and hold up neither their callers nor the exit of the process."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from outboard.errors import AgentFault, Overloaded
from outboard.host.pools import WorkerPool


async def test_threads_that_hang_are_replaced_and_come_back_to_a_seat_or_end() -> None:
    pool = WorkerPool("hanging", 2)
    proceed = threading.Event()
    hanging = [asyncio.ensure_future(pool.run(proceed.wait)) for _ in range(2)]
    await _until(lambda: pool._busy == 2)
    for call in hanging:
        call.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert pool.hanging == 2
    assert await asyncio.gather(*(pool.run(partial(int, n)) for n in range(8))) == list(range(8))
    proceed.set()
    await _until(lambda: pool.hanging == 0)
    assert await pool.run(partial(int, 7)) == 7
    pool.close()


def _begin(began: threading.Event, proceed: threading.Event) -> None:
    began.set()
    proceed.wait()


async def test_a_pool_whose_calls_all_hang_stops_replacing_threads() -> None:
    pool = WorkerPool("stuck", 1)
    proceed = threading.Event()
    for _ in range(10):
        began = threading.Event()
        call = asyncio.ensure_future(pool.run(partial(_begin, began, proceed)))
        await asyncio.to_thread(began.wait, 0.05)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert len([t for t in threading.enumerate() if t.name.startswith("outboard-stuck")]) == 4
    proceed.set()
    pool.close()


async def test_a_call_that_was_given_up_before_it_began_is_never_made() -> None:
    pool = WorkerPool("queued", 1)
    proceed, calls = threading.Event(), list[int]()
    first = asyncio.ensure_future(pool.run(proceed.wait))
    await _until(lambda: pool._busy == 1)
    second = asyncio.ensure_future(pool.run(partial(calls.append, 2)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    proceed.set()
    await first
    assert await pool.run(partial(int, 3)) == 3
    assert calls == []
    pool.close()


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (StopIteration, RuntimeError),
        (SystemExit, AgentFault),
        (GeneratorExit, AgentFault),
        (asyncio.CancelledError, AgentFault),
    ],
)
async def test_whatever_is_raised_reaches_the_caller(raised: type[BaseException], seen: type[Exception]) -> None:
    def fail() -> None:
        raise raised

    pool = WorkerPool("raising", 1)
    with pytest.raises(seen):
        await asyncio.wait_for(pool.run(fail), 30)
    pool.close()


async def test_a_full_or_closed_pool_says_so() -> None:
    pool = WorkerPool("full", 1)
    proceed = threading.Event()
    calls: list[Any] = [asyncio.ensure_future(pool.run(proceed.wait)) for _ in range(80)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refused = [call for call in calls if call.done()]
    assert refused
    assert all(isinstance(call.exception(), Overloaded) for call in refused)
    proceed.set()
    await asyncio.gather(*calls, return_exceptions=True)
    pool.close()
    with pytest.raises(Overloaded, match="shut down"):
        await pool.run(int)


def test_a_thread_that_hangs_does_not_keep_the_process_from_exiting() -> None:
    program = """
import asyncio, threading
from outboard.host.pools import WorkerPool
async def main():
    call = asyncio.ensure_future(WorkerPool("hung", 1).run(threading.Event().wait))
    await asyncio.sleep(0.05)
    call.cancel()
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=20, check=False).returncode == 0


async def _until(is_so: Callable[[], bool]) -> None:
    """Threads cannot be awaited from here: look often, and give up in the end."""
    for _ in range(5_000):
        if is_so():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it never came to that")
