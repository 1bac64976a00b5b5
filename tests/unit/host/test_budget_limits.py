"""Whatever callers do, no window of time sees more calls than were allowed; and a throttle always lets go."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from outboard.agent.spending import CURRENT_CALL, AgentCall, Rank, Spending
from outboard.domain.quotas import Quotas, Rate
from outboard.errors import BudgetSpent
from outboard.host.budgets.buckets import Bucket, Meter
from outboard.host.budgets.budgets import AccountBudget
from outboard.host.budgets.queues import _GOOD_FOR_S, Line, Queue, Tally
from outboard.host.budgets.throttles import FLOOR_PER_SECOND, Throttle
from outboard.testing.virtual_time import run_virtually, virtually

RATES = st.builds(Rate, per_second=st.sampled_from([0.05, 0.3, 1.0, 7.0, 35.0]), burst=st.sampled_from([1, 2, 5, 20]))
CALLERS = st.tuples(
    st.floats(0, 20),  # when it comes
    st.sampled_from(["create", "get", "logs"]),  # as part of which call
    st.sampled_from(["get", "submit"]),  # for which method
    st.sampled_from([0.0, 0.5, 5.0, 200.0]),  # how long it can wait
    st.none() | st.floats(0, 10),  # when it is cancelled
)
LEAPS = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 100)), max_size=3)


def assert_within(made: list[float], rate: Rate) -> None:
    """No window sees more than `per_second * t + burst` calls; it is enough to look at windows between two calls.

    A call may leave up to `_GOOD_FOR_S` after its turn came.
    """
    for first in range(len(made)):
        for last in range(first, len(made)):
            allowed = rate.per_second * (made[last] - made[first] + _GOOD_FOR_S) + rate.burst
            assert last - first + 1 <= allowed + 1e-3, (first, last)


SLOW = Rate(per_second=0.05, burst=1)


@settings(max_examples=60)
@example(SLOW, SLOW, SLOW, [(at, "create", "get", 200.0, None) for at in (0.0, 0.0, 20.0)], [(20.0, 1.0)])
@given(RATES, RATES, RATES, st.lists(CALLERS, max_size=40), LEAPS)
def test_no_window_sees_more_calls_than_the_rate_and_a_burst_whoever_comes_leaves_or_is_suspended(
    submit: Rate,
    get: Rate,
    every: Rate,
    callers: list[tuple[float, str, str, float, float | None]],
    leaps: list[tuple[float, float]],
) -> None:
    budget = AccountBudget(Quotas({"get": get, "submit": submit, "*": every}))
    made: list[tuple[float, str]] = []

    async def call(at: float, agent_method: str, method: str, patience_s: float) -> None:
        await asyncio.sleep(at)
        CURRENT_CALL.set(AgentCall("agent", agent_method, time.monotonic() + 10_000))
        with suppress(BudgetSpent):
            async with Spending(budget, method, patience_s):
                made.append((time.monotonic(), method))

    async def leap(at: float, seconds: float) -> None:
        await asyncio.sleep(at)
        time.sleep(seconds)  # noqa: ASYNC251 - virtual: the whole process stands still while the clock goes on

    async def run() -> None:
        tasks = [asyncio.ensure_future(call(*caller[:4])) for caller in callers]
        for task, caller in zip(tasks, callers, strict=True):
            if caller[4] is not None:
                asyncio.get_running_loop().call_later(caller[0] + caller[4], task.cancel)
        await asyncio.gather(*(leap(*each) for each in leaps), *tasks, return_exceptions=True)

    run_virtually(run)
    assert_within([at for at, _ in made], every)
    assert_within([at for at, method in made if method == "get"], get)
    assert_within([at for at, method in made if method == "submit"], submit)
    assert not any(tickets for line in budget._lines.values() for tickets in line.waiting)


@virtually
async def test_a_turn_that_is_given_up_long_after_it_came_is_nobody_elses() -> None:
    queue, line = Queue(), Line("get", [Bucket([Rate(per_second=1, burst=1)], 1.0, time.monotonic())], Tally())
    assert queue.ask(line, Rank.SUBMISSION) is None
    waiting = queue.ask(line, Rank.SUBMISSION)
    assert waiting is not None
    await asyncio.sleep(1)
    queue.review()
    assert waiting.has_come
    await asyncio.sleep(5)
    assert queue.ask(line, Rank.SUBMISSION) is None
    queue.leave(waiting)
    assert queue.ask(line, Rank.SUBMISSION) is not None


@settings(max_examples=40)
@given(RATES, st.integers(1, 25), st.integers(0, 5), st.floats(0, 3))
def test_nobody_waits_while_a_turn_is_free(rate: Rate, callers: int, leaving: int, leave_after_s: float) -> None:
    budget = AccountBudget(Quotas({"get": rate}))
    made: list[float] = []

    async def call() -> None:
        async with Spending(budget, "get", math.inf):
            made.append(time.monotonic())

    async def run() -> float:
        began = time.monotonic()
        gone = [asyncio.ensure_future(call()) for _ in range(leaving)]
        tasks = [asyncio.ensure_future(call()) for _ in range(callers)]
        await asyncio.sleep(leave_after_s)
        for task in gone:
            task.cancel()
        await asyncio.gather(*tasks)
        return began

    began = run_virtually(run)
    waits = max(0, len(made) - rate.burst) / rate.per_second
    assert made[-1] - began <= waits + 0.002 * len(made) + leave_after_s * (leaving > 0)


@given(RATES, st.lists(st.floats(0, 1_000), max_size=50))
def test_a_clock_that_leaps_gains_no_more_than_a_burst(rate: Rate, gaps: list[float]) -> None:
    meter, now = Meter(rate.per_second, rate.burst, 0.0), 0.0
    for gap in gaps:
        now += gap
        at_once = 0
        while meter.free_at(now) <= now:
            meter.take(now)
            at_once += 1
        assert at_once <= rate.burst


@given(
    st.floats(0.01, 1_000),
    st.floats(0.01, 1_000) | st.just(math.inf),
    st.lists(st.floats(0.001, 120), max_size=30),
)
def test_a_throttle_halves_never_stops_and_always_ends(seen: float, declared: float, cuts: list[float]) -> None:
    now = 0.0
    throttle = Throttle(now, seen_per_second=seen, declared_per_second=declared)
    for gap in cuts:
        now += gap
        before = throttle.per_second(now)
        assert throttle.cut(now, sent_at=now)
        assert throttle.per_second(now) == max(before / 2, min(FLOOR_PER_SECOND, declared / 2))
        assert not throttle.cut(now + 0.001, sent_at=now - 0.001)
    grown = [throttle.per_second(now + second) for second in range(0, 2_000, 10)]
    assert all(earlier <= later for earlier, later in pairwise(grown))
    assert throttle.is_over(now + 2 * 3_600)


@given(RATES, st.lists(st.tuples(st.floats(0, 30), st.booleans(), st.floats(0, 900)), max_size=30))
def test_a_bucket_never_exceeds_what_was_declared_however_it_is_throttled(
    rate: Rate, story: list[tuple[float, bool, float]]
) -> None:
    bucket, now, made = Bucket([rate], 1.0, 0.0), 0.0, []
    for gap, is_refused, wait_s in story:
        now = max(now + gap, bucket.free_at(now))
        bucket.take(now)
        made.append(now)
        if is_refused:
            bucket.slow_down(now, now, wait_s)
            assert bucket.free_at(now) >= now + min(wait_s, 300)
            assert bucket.per_second(now) <= rate.per_second / 2
    assert_within(made, rate)
    bucket.settle(now + 2 * 3_600)
    assert not bucket.is_throttled
