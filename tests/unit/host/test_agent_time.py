"""Time per agent: who kept the loop is known by name, and nobody else is blamed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY

from integration.service.probe import ProbePlatform
from outboard.agent.agents import Agent
from outboard.errors import AgentFault, Overloaded
from outboard.host import agent_time
from outboard.host.invocation import Invoker, blamed
from outboard.host.pools import WorkerPool
from outboard.host.secrets import Redactor
from outboard.host.words import Words
from outboard.service.watchdog import Watchdog


class Lines(list[MutableMapping[str, Any]]):
    """The log lines of a test, and an event per line."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()

    def record(self, _logger: object, level: str, fields: MutableMapping[str, Any]) -> str:
        self.append({**fields, "level": level})
        self.came.set()
        raise structlog.DropEvent


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    structlog.configure(processors=[lines.record])
    yield lines
    structlog.reset_defaults()


def agent_called(name: str) -> Agent:
    """An agent with a method to call."""

    class Called(type(ProbePlatform().probe)):  # type: ignore[misc]  # the probe under another name
        async def run(self, work: Callable[[], None], pauses: int = 0) -> str:
            for _ in range(pauses):
                await asyncio.sleep(0)
                work()
            work()
            return "done"

    Called.name = name
    agent: Agent = Called(ProbePlatform())
    return agent


def invoker() -> Invoker:
    return Invoker(Words(Redactor()))


def seconds_of(name: str) -> float:
    return REGISTRY.get_sample_value("outboard_agent_loop_seconds_total", {"agent": name}) or 0.0


def hold(seconds: float) -> Callable[[], None]:
    """Work that keeps the loop for some real time."""

    def work() -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    return work


@pytest.mark.parametrize("pauses", [0, 2])
async def test_every_step_between_awaits_is_counted_and_the_waiting_is_not(pauses: int) -> None:
    agent = agent_called(f"counted-{pauses}")

    async def other() -> None:
        hold(1.0)()

    beside = asyncio.ensure_future(other())  # takes the loop while the agent waits
    assert await invoker().invoke(agent, "run", hold(0.01), pauses, timeout_s=30) == "done"
    await beside
    taken = seconds_of(agent.name)
    longest = REGISTRY.get_sample_value("outboard_agent_longest_step_seconds", {"agent": agent.name})
    assert longest is not None
    assert 0.01 * (pauses + 1) <= taken
    assert taken < 1.0  # what the other one took is not the agent's
    assert longest <= taken


async def test_a_pure_method_is_counted_also_when_it_raises() -> None:
    agent = agent_called("pure")

    def links() -> None:
        with blamed(agent, "links"):
            hold(0.01)()
            raise ZeroDivisionError

    with pytest.raises(AgentFault, match="links of agent pure raised ZeroDivisionError"):
        links()
    assert seconds_of("pure") >= 0.01
    assert agent_time.running_in(threading.get_ident()) is None


async def test_a_slow_step_is_told_with_agent_method_and_seconds_once_a_minute(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_time, "SLOW_STEP_S", 0.005)
    agent = agent_called("slow-stepper")
    for _ in range(3):
        await invoker().invoke(agent, "run", hold(0.01), timeout_s=30)
    (line,) = lines
    assert line["event"] == "agent blocked the event loop"
    assert (line["agent"], line["method"]) == ("slow-stepper", "run")
    assert line["seconds"] >= 0.01
    assert REGISTRY.get_sample_value("outboard_agent_slow_steps_total", {"agent": "slow-stepper"}) == 3


async def test_an_agent_that_blocks_is_named_while_it_blocks(lines: Lines) -> None:
    watchdog = Watchdog(patience_s=0.05, beat_s=0.05)
    watchdog.start()
    try:
        await invoker().invoke(agent_called("blocker"), "run", lambda: lines.came.wait(20), timeout_s=30)
    finally:
        watchdog.stop()
    assert lines[0]["event"] == "event loop blocked"
    assert (lines[0]["agent"], lines[0]["method"]) == ("blocker", "run")
    assert "test_agent_time" in lines[0]["where"]


async def test_nobody_is_blamed_for_what_the_host_does(lines: Lines) -> None:
    await invoker().invoke(agent_called("innocent"), "run", hold(0.3), timeout_s=30)  # before the watch began
    watchdog = Watchdog(patience_s=0.05, beat_s=0.05)
    watchdog.start()
    try:
        await invoker().invoke(agent_called("innocent"), "run", hold(0.001), timeout_s=30)
        lines.came.wait(20)  # the host's own code blocks
    finally:
        watchdog.stop()
    assert lines[0]["event"] == "event loop blocked"
    assert "agent" not in lines[0]


async def test_an_agent_with_many_short_steps_in_one_turn_of_the_loop_is_named_too(lines: Lines) -> None:
    watchdog = Watchdog(patience_s=0.1, beat_s=0.1)
    watchdog.start()
    agent, runner = agent_called("crowd"), invoker()
    try:
        while not lines.came.is_set():
            await asyncio.gather(*(runner.invoke(agent, "run", hold(0.01), timeout_s=30) for _ in range(60)))
    finally:
        watchdog.stop()
    assert lines[0]["agent"] == "crowd"


async def test_a_hung_call_of_a_blocking_agent_is_named_and_counted(lines: Lines) -> None:
    pool, proceed, entered = WorkerPool("hung-pool", 1), threading.Event(), threading.Event()

    def fetch_forever() -> None:
        entered.set()
        proceed.wait()

    call = asyncio.ensure_future(pool.run(fetch_forever))
    await asyncio.to_thread(entered.wait)
    assert threads("hung-pool") == (1, 0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (lines[0]["agent"], lines[0]["method"]) == ("hung-pool", "fetch_forever")
    assert threads("hung-pool") == (0, 1)
    proceed.set()
    pool.close()


def _enter(entered: threading.Event, proceed: threading.Event) -> None:
    entered.set()
    proceed.wait()


async def test_a_pool_whose_threads_all_hang_refuses_at_once_and_recovers() -> None:
    pool, proceed = WorkerPool("all-hung", 1), threading.Event()
    for _ in range(4):
        entered = threading.Event()
        call = asyncio.ensure_future(pool.run(partial(_enter, entered, proceed)))
        await asyncio.to_thread(entered.wait)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    with pytest.raises(Overloaded, match="all 4 threads of agent all-hung hang"):
        await pool.run(int)
    proceed.set()
    while pool.hanging:  # noqa: ASYNC110 - threads cannot be awaited from here
        await asyncio.sleep(0.001)
    assert await pool.run(partial(int, 7)) == 7
    pool.close()


async def test_a_call_that_is_given_up_in_the_queue_makes_room() -> None:
    pool, proceed = WorkerPool("queue", 1), threading.Event()
    first = asyncio.ensure_future(pool.run(proceed.wait))
    rest = [asyncio.ensure_future(pool.run(int)) for _ in range(10)]
    while pool.busy == 0:  # noqa: ASYNC110 - threads cannot be awaited from here
        await asyncio.sleep(0.001)
    assert pool.waiting == 10
    for call in rest:
        call.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    assert pool.waiting == 0
    proceed.set()
    await first
    assert await pool.run(partial(int, 7)) == 7
    pool.close()


def threads(pool: str) -> tuple[float | None, float | None]:
    """Busy and hanging threads, as Prometheus sees them."""
    busy, hanging = (
        REGISTRY.get_sample_value("outboard_pool_threads", {"agent": pool, "state": state})
        for state in ("busy", "hanging")
    )
    return busy, hanging
