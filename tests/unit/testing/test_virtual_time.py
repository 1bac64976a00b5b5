"""Virtual time leaps, agrees with itself, waits for real work, and says who waits when nothing can happen."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

import pytest

from outboard.host.pools import WorkerPool
from outboard.host.stores import Stores
from outboard.testing import virtual_time
from outboard.testing.processes import Process
from outboard.testing.virtual_time import (
    HANGING_S,
    Deadlock,
    OutOfTime,
    VirtualLoop,
    real_work,
    run_virtually,
    virtually,
)


def test_a_year_of_timers_passes_at_once_and_in_order() -> None:
    began = time.perf_counter()
    order = []

    async def wait(days: float) -> None:
        await asyncio.sleep(days * 86_400)
        order.append(days)

    async def scenario() -> float:
        at = time.monotonic()
        await asyncio.gather(wait(60), wait(1), wait(0.5))
        return time.monotonic() - at

    assert run_virtually(scenario) == 60 * 86_400
    assert order == [0.5, 1, 60]
    assert time.perf_counter() - began < 60


def test_all_clocks_agree_and_are_given_back() -> None:
    real = (time.monotonic, time.time, time.sleep, time.monotonic_ns, time.time_ns)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert datetime.fromtimestamp(time.time(), timezone.utc) == datetime(2031, 5, 5, tzinfo=timezone.utc)
        await asyncio.sleep(90.5)
        assert loop.time() == time.monotonic()
        assert time.monotonic_ns() == round(time.monotonic() * 1e9)
        assert abs(time.time_ns() / 1e9 - time.time()) < 1e-6
        assert datetime.fromtimestamp(time.time(), timezone.utc).second == 30

    run_virtually(scenario, start=datetime(2031, 5, 5, tzinfo=timezone.utc))
    assert real == (time.monotonic, time.time, time.sleep, time.monotonic_ns, time.time_ns)


def test_the_clocks_are_given_back_after_an_error() -> None:
    real = time.monotonic

    async def scenario() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_virtually(scenario)
    assert time.monotonic is real


@virtually
async def test_deadlines_pass_in_virtual_time() -> None:
    began = time.monotonic()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 3600)
    assert time.monotonic() - began == 3600


def test_waiting_for_what_can_never_happen_says_who_waits_where() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"Event\.wait"):
        run_virtually(wait_for_nothing)


def test_a_deadlock_ends_although_a_task_refuses_to_be_cancelled() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                continue

    with pytest.raises(Deadlock):
        run_virtually(stubborn)


def test_timers_that_go_on_for_ever_run_out_of_time() -> None:
    async def tick() -> None:
        while True:  # noqa: ASYNC110 - a timer, not a wait
            await asyncio.sleep(60)

    with pytest.raises(OutOfTime):
        run_virtually(tick, limit_s=7 * 86_400)


def test_time_stands_still_while_a_thread_works() -> None:
    async def scenario() -> float:
        released = threading.Event()
        timer = asyncio.get_running_loop().call_later(0.001, released.set)
        began = time.monotonic()
        assert await asyncio.get_running_loop().run_in_executor(None, released.wait, 0.05) is False
        timer.cancel()
        return time.monotonic() - began

    assert run_virtually(scenario) == 0


def test_a_blocking_agents_pool_is_waited_for_and_its_sleep_is_virtual() -> None:
    async def scenario() -> tuple[float, float]:
        pool = WorkerPool("sleeper", 2)
        began = time.monotonic()
        real = time.perf_counter()
        await asyncio.gather(pool.run(partial(time.sleep, 600)), pool.run(lambda: time.sleep(600)))
        pool.close()
        return time.monotonic() - began, time.perf_counter() - real

    virtual_s, real_s = run_virtually(scenario)
    assert virtual_s == 600
    assert real_s < 30


def test_a_deadline_passes_for_a_thread_that_hangs() -> None:
    async def scenario() -> float:
        released = threading.Event()
        pool = WorkerPool("hanging", 1)
        began = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.run(released.wait), 300)
        released.set()
        pool.close()
        return time.monotonic() - began

    assert run_virtually(scenario) == 300


def test_time_stands_still_for_a_thread_that_computes_for_longer_than_one_may_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(virtual_time, "HANGING_S", 0.25)

    def compute() -> str:
        ends_at = time.process_time() + 0.75
        while time.process_time() < ends_at:
            pass
        return "done"

    async def scenario() -> tuple[str, float]:
        began = time.monotonic()
        return await asyncio.wait_for(asyncio.to_thread(compute), 300), time.monotonic() - began

    assert run_virtually(scenario) == ("done", 0)


def test_blocking_the_loop_moves_the_clock_while_nobody_else_runs() -> None:
    async def scenario() -> list[float]:
        began = time.monotonic()
        seen: list[float] = []

        async def tick() -> None:
            await asyncio.sleep(1)
            seen.append(time.monotonic() - began)

        ticking = asyncio.ensure_future(tick())
        await asyncio.sleep(0)
        time.sleep(30)  # noqa: ASYNC251 - the fault itself
        await ticking
        return seen

    assert run_virtually(scenario) == [30]


def test_real_work_holds_time_for_what_nobody_counts() -> None:
    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[None] = loop.create_future()
        began = time.monotonic()
        real_thread = threading.Timer(0.05, lambda: loop.call_soon_threadsafe(heard.set_result, None))
        real_thread.start()
        with real_work():
            await asyncio.wait_for(heard, 1000)
        return time.monotonic() - began

    assert run_virtually(scenario, patience_s=0) == 0


def test_an_extension_with_threads_of_its_own_is_waited_for() -> None:
    async def scenario() -> tuple[int, float]:
        stores = Stores()
        began = time.monotonic()
        written = [stores.write(f"memory://b/{n}", b"x" * 2_000_000) for n in range(20)]
        await asyncio.wait_for(asyncio.gather(*written), 5)
        found = await asyncio.gather(*(stores.read(f"memory://b/{n}") for n in range(20)))
        return sum(len(each or b"") for each in found), time.monotonic() - began

    assert run_virtually(scenario, patience_s=0) == (40_000_000, 0)


def test_sockets_of_this_process_answer_before_time_leaps() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await asyncio.sleep(7)
        writer.close()

    async def scenario() -> tuple[bytes, float]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        began = time.monotonic()
        writer.write(b"hello\n")
        line = await asyncio.wait_for(reader.readline(), 5)
        assert await reader.read() == b""
        writer.close()
        server.close()
        return line, time.monotonic() - began

    assert run_virtually(scenario) == (b"hello\n", 7)


def test_replicas_disagree_about_the_date_and_never_about_durations() -> None:
    async def look() -> tuple[float, float]:
        return time.time(), time.monotonic()

    async def scenario() -> None:
        fast, slow = Process("fast", wall_skew_s=3600), Process("slow", wall_skew_s=-60)
        (ahead, one), (behind, two) = await asyncio.gather(fast.start(look()), slow.start(look()))
        assert round(ahead - behind) == 3660
        assert one == two
        before = time.monotonic()
        slow.wall_skew_s = 60
        assert round((await slow.start(look()))[0] - time.time()) == 60
        assert time.monotonic() == before

    run_virtually(scenario)


def test_a_killed_process_runs_no_line_of_code_any_more() -> None:
    trail: list[str] = []

    async def live(name: str) -> None:
        asyncio.get_running_loop().call_later(5, trail.append, f"{name}: timer")
        try:
            await asyncio.sleep(3)
            trail.append(f"{name}: went on")
        except BaseException:
            trail.append(f"{name}: except")
            raise
        finally:
            trail.append(f"{name}: finally")

    async def scenario() -> None:
        doomed, spared = Process("doomed"), Process("spared")
        doomed.start(live("doomed"))
        spared.start(live("spared"))
        await asyncio.sleep(1)
        doomed.kill()
        await asyncio.sleep(100)

    run_virtually(scenario)
    assert trail == ["spared: went on", "spared: finally", "spared: timer"]


def test_the_kernel_closes_the_sockets_of_a_killed_process() -> None:
    async def serve(heard: list[bytes]) -> int:
        async def answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            heard.append(await reader.read(100))

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def scenario() -> tuple[list[bytes], bytes]:
        heard: list[bytes] = []
        process = Process()
        port = await process.start(serve(heard))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(1)
        process.kill()
        left = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        with pytest.raises(OSError, match="refused"), socket.create_connection(("127.0.0.1", port)):
            pass
        return heard, left

    assert run_virtually(scenario) == ([], b"")


def test_what_a_process_leaves_behind_at_the_end_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    async def wait_stubbornly() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(10)

    async def scenario() -> None:
        for _ in range(3):
            process = Process()
            process.start(wait_stubbornly())
            await asyncio.sleep(1)
            process.kill()

    run_virtually(scenario)
    run_virtually(scenario)
    assert caplog.records == []


async def test_a_process_refuses_a_loop_that_would_run_it_after_its_death() -> None:
    with pytest.raises(RuntimeError, match="run_virtually"):
        Process().start(asyncio.sleep(1))


def test_a_hundred_thousand_timers_cost_seconds_of_real_time() -> None:
    async def poll() -> None:
        for _ in range(100):
            await asyncio.sleep(30)

    async def scenario() -> None:
        await asyncio.gather(*(poll() for _ in range(1000)))

    began = time.perf_counter()
    run_virtually(scenario)
    assert time.perf_counter() - began < 60


def test_hanging_work_is_waited_for_once() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.begin_work()
        for _ in range(50):
            await asyncio.sleep(10)

    began = time.perf_counter()
    run_virtually(scenario)
    assert time.perf_counter() - began < 10 * HANGING_S


def test_fixtures_and_parameters_reach_a_virtual_test(request: pytest.FixtureRequest) -> None:
    @virtually
    async def scenario(value: Any, *, call: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(10)
        return call(value)

    assert scenario(request.node.name, call=len) == len(request.node.name)


def test_threads_that_were_there_before_are_not_waited_for() -> None:
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait) for _ in range(2)]
    threads[0].start()
    loop = VirtualLoop()
    try:
        assert not loop._has_threads
        threads[1].start()
        assert loop._has_threads
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        loop.finish()
