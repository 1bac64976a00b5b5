"""Budgets: who waits, who goes first, who gives up, and what "slow down" does to an account's calls."""

from __future__ import annotations

import asyncio
import gc
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from outboard.agent import ErrorMap
from outboard.agent.spending import CURRENT_CALL, AgentCall, Spending
from outboard.domain.quotas import Quotas, QuotaScope, Rate
from outboard.errors import AgentError, BudgetSpent, Throttled, Unavailable
from outboard.host.budgets.budgets import AccountBudget, Budgets, guard
from outboard.testing.virtual_time import virtually

RATE = Rate(per_second=1, source="https://example.com/limits")
ONCE = Quotas({"get": RATE})


@contextmanager
def agent_call(method: str, timeout_s: float = 1_000.0, agent: str = "agent") -> Iterator[AgentCall]:
    call = AgentCall(agent, method, time.monotonic() + timeout_s)
    token = CURRENT_CALL.set(call)
    yield call
    call.is_over = True
    CURRENT_CALL.reset(token)


async def spend(
    budget: AccountBudget, method: str = "get", *, within_s: float = 1_000.0, as_part_of: str = "get"
) -> float:
    """Make a call; return when it was made, counted from now."""
    asked_at = time.monotonic()
    with agent_call(as_part_of):
        async with Spending(budget, method, within_s):
            return time.monotonic() - asked_at


@virtually
async def test_calls_go_at_once_as_far_as_the_burst_reaches_and_then_at_the_rate() -> None:
    budget = AccountBudget(Quotas({"get": Rate(per_second=2, burst=3)}))
    made = await asyncio.gather(*(spend(budget) for _ in range(6)))
    assert made == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5], abs=0.01)


@virtually
async def test_what_starts_and_stops_jobs_goes_before_what_asks_about_them_and_that_before_logs() -> None:
    budget = AccountBudget(ONCE)
    await spend(budget)
    order: list[str] = []

    async def ask(method: str) -> None:
        await spend(budget, as_part_of=method)
        order.append(method)

    asked = ("logs", "metrics", "get", "get_many", "poke", "fetch_outputs", "find", "do", "create", "cancel")
    await asyncio.gather(*(ask(method) for method in asked))
    assert order == ["find", "do", "create", "cancel", "get", "get_many", "poke", "fetch_outputs", "logs", "metrics"]


@virtually
async def test_a_caller_that_cannot_wait_long_enough_is_told_at_once_when_to_come_and_takes_nothing() -> None:
    budget = AccountBudget(ONCE)
    await spend(budget)
    for _ in range(50):
        began = time.monotonic()
        with pytest.raises(BudgetSpent) as caught:
            await spend(budget, within_s=0.5)
        assert time.monotonic() == began
        assert caught.value.retry_after == timedelta(seconds=1)
        assert caught.value.sent.value == "no"
    assert await spend(budget) == pytest.approx(1.0, abs=0.01)


@virtually
async def test_whoever_gives_up_or_is_cancelled_frees_the_place_for_the_next() -> None:
    budget = AccountBudget(ONCE)
    await spend(budget)
    leaving = [asyncio.ensure_future(spend(budget)) for _ in range(3)]
    impatient = [asyncio.ensure_future(spend(budget, within_s=1.5)) for _ in range(3)]
    patient = asyncio.ensure_future(spend(budget))
    await asyncio.sleep(0.5)
    for task in leaving:
        task.cancel()
    told = await asyncio.gather(*impatient, return_exceptions=True)
    assert [type(each) for each in told] == [float, BudgetSpent, BudgetSpent]
    assert await patient == pytest.approx(2.0, abs=0.01)


@virtually
async def test_a_turn_that_comes_in_the_moment_of_the_cancel_is_given_back() -> None:
    budget = AccountBudget(ONCE)
    await spend(budget)
    first, second = asyncio.ensure_future(spend(budget)), asyncio.ensure_future(spend(budget))
    await asyncio.sleep(0.9)
    turn = next(iter(budget._lines["get"].waiting[1].values()))
    time.sleep(0.2)  # noqa: ASYNC251 - virtual: the clock moves, and nobody else does
    budget._queue.review()
    assert turn.has_come
    first.cancel()  # it has not heard of it yet
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    assert await second == pytest.approx(1.1, abs=0.01)


@virtually
async def test_the_deadline_of_the_agents_call_ends_the_wait_too() -> None:
    budget = AccountBudget(ONCE)
    await spend(budget)
    with agent_call("get", timeout_s=0.25), pytest.raises(BudgetSpent):
        async with Spending(budget, "get", 1_000.0):
            pass
    with agent_call("get", timeout_s=0.25) as call:
        call.is_over = True  # a task that outlived its call has no deadline
        async with Spending(budget, "get", 1_000.0):
            pass


@virtually
async def test_threads_and_coroutines_share_one_budget() -> None:
    budget = AccountBudget(ONCE)
    began = time.monotonic()
    made: list[float] = []

    def in_thread() -> None:
        with Spending(budget, "get", 1_000.0):
            made.append(time.monotonic() - began)

    async def in_loop() -> None:
        async with Spending(budget, "get", 1_000.0):
            made.append(time.monotonic() - began)

    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(None, in_thread) for _ in range(2)), *(in_loop() for _ in range(2)))
    assert sorted(made) == pytest.approx([0, 1, 2, 3], abs=0.06)


def test_a_thread_gives_up_at_its_deadline_in_real_time_too() -> None:
    budget = AccountBudget(Quotas({"get": Rate(per_second=10)}))
    told: list[str] = []

    def spend_some() -> None:
        for _ in range(3):
            try:
                with Spending(budget, "get", 0.15):
                    told.append("made")
            except BudgetSpent:
                told.append("spent")

    threads = [threading.Thread(target=spend_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(told) == 12
    assert "spent" in told
    assert not any(budget._lines["get"].waiting)


@virtually
async def test_a_call_needs_room_in_every_rate_of_its_method_and_of_all_methods() -> None:
    rates = (Rate(per_second=10), Rate(per_second=0.25, burst=2))
    budget = AccountBudget(Quotas({"get": rates, "*": Rate(per_second=1)}))
    made = await asyncio.gather(
        spend(budget), spend(budget, "list"), spend(budget), spend(budget), spend(budget, "list")
    )
    assert made == pytest.approx([0, 1, 2, 4, 3], abs=0.02)


@virtually
async def test_a_method_whose_quota_is_spent_holds_up_no_other_and_does_not_starve() -> None:
    budget = AccountBudget(Quotas({"submit": Rate(per_second=0.1), "*": Rate(per_second=1)}))
    await spend(budget, "submit", as_part_of="create")
    submit = asyncio.ensure_future(spend(budget, "submit", as_part_of="create"))
    await asyncio.sleep(0)
    polls = [asyncio.ensure_future(spend(budget)) for _ in range(30)]
    assert await submit == pytest.approx(10, abs=0.02)
    assert sum(poll.done() for poll in polls) in (8, 9)
    await asyncio.gather(*polls)


@virtually
async def test_a_call_that_overtakes_another_does_not_delay_it() -> None:
    budget = AccountBudget(Quotas({"submit": Rate(per_second=0.1), "*": Rate(per_second=0.35)}))
    await spend(budget, "submit", as_part_of="create")
    submit = asyncio.ensure_future(spend(budget, "submit", as_part_of="create"))
    await asyncio.sleep(0)
    polls = [asyncio.ensure_future(spend(budget)) for _ in range(5)]
    assert await submit == pytest.approx(10, abs=0.02)
    made = await asyncio.gather(*polls)
    # The third would have had a turn at 8.6 s, and then there were none for the submission at 10 s.
    assert made == pytest.approx([2.86, 5.71, 12.86, 15.71, 18.57], abs=0.02)


@virtually
async def test_rank_counts_among_methods_that_share_a_rate() -> None:
    budget = AccountBudget(Quotas({"*": RATE}))
    await spend(budget)
    polls = [asyncio.ensure_future(spend(budget)) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert await spend(budget, "submit", as_part_of="create") == pytest.approx(0.5, abs=0.01)
    assert await asyncio.gather(*polls) == pytest.approx([2, 3, 4], abs=0.02)


@virtually
async def test_a_newcomer_does_not_take_the_turn_of_who_waits() -> None:
    budget = AccountBudget(ONCE)
    await spend(budget)
    waiting = asyncio.ensure_future(spend(budget))
    await asyncio.sleep(0.5)
    time.sleep(1.0)  # noqa: ASYNC251 - virtual: a turn came, and who waits for it has not looked yet
    newcomer = budget.ask("get")
    assert newcomer is not None
    assert not newcomer.has_come
    assert await waiting == pytest.approx(1.5, abs=0.01)


@virtually
async def test_rates_are_shared_by_what_the_platform_counts_by() -> None:
    quotas = Quotas(
        {
            "whole": Rate(per_second=1, scope=QuotaScope.PLATFORM),
            "account": Rate(per_second=1),
            "identity": Rate(per_second=1, scope=QuotaScope.CONNECTION),
        }
    )
    budgets = Budgets()
    first = budgets.of("p", "a", quotas, connection="1")
    same_account = budgets.of("p", "a", quotas, connection="2")
    other = budgets.of("p", "b", quotas, connection="3")
    for method, waits in (("whole", (0, 1, 2)), ("account", (0, 1, 0)), ("identity", (0, 0, 0))):
        made = await asyncio.gather(*(spend(budget, method) for budget in (first, same_account, other)))
        assert made == pytest.approx(waits, abs=0.02), method
        await asyncio.sleep(10)


async def refuse(budget: AccountBudget, error: Exception, method: str = "get") -> None:
    with pytest.raises(type(error)):
        async with Spending(budget, method, 1_000.0):
            raise error


async def refuse_in(_: AgentCall, budget: AccountBudget, error: Exception) -> None:
    await asyncio.sleep(0.1)
    with pytest.raises(type(error)):
        async with Spending(budget, "get", 1_000.0):
            raise error


@virtually
async def test_free_methods_get_half_of_their_rate_when_they_are_throttled_and_are_free_again_later() -> None:
    budget = AccountBudget(Quotas())
    for _ in range(20):
        await spend(budget)
    await refuse(budget, Throttled("slow down"))
    made = await asyncio.gather(*(spend(budget) for _ in range(4)))
    assert made[0] == pytest.approx(1 / 2.1, rel=0.1)  # 21 calls in 5 s, halved
    assert 1.2 < made[3] < 2.0
    await asyncio.sleep(300)
    assert await asyncio.gather(*(spend(budget) for _ in range(50))) == [0] * 50


@virtually
async def test_retry_after_is_kept_and_believed_for_five_minutes_at_most() -> None:
    budget = AccountBudget(Quotas())
    await refuse(budget, Throttled("slow down", retry_after=timedelta(seconds=42)))
    assert await spend(budget) == pytest.approx(42, abs=0.1)
    assert await spend(budget, "another") == 0
    await asyncio.sleep(600)
    await refuse(budget, Throttled("tomorrow", retry_after=timedelta(days=1)))
    assert await spend(budget) == pytest.approx(300, abs=0.1)


@virtually
async def test_a_storm_of_refusals_of_calls_that_were_under_way_counts_once() -> None:
    budget = AccountBudget(Quotas({"get": Rate(per_second=64, burst=64)}))
    calls = [Spending(budget, "get", 10.0) for _ in range(64)]
    for call in calls:
        await call.__aenter__()
    await asyncio.sleep(1)
    for call in calls:
        await call.__aexit__(Throttled, Throttled("slow down"), None)
    ((_, _, rate),) = budget.figures()
    assert rate == pytest.approx(64 / 5 / 2)


class SdkError(Exception):
    """As botocore's: the facts are in a mapping."""

    def __init__(self) -> None:
        super().__init__("Rate exceeded")
        self.response = {
            "Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"},
            "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {"Retry-After": "7"}},
        }


@virtually
async def test_an_sdks_exception_that_means_slow_down_slows_and_others_do_not() -> None:
    budget = AccountBudget(Quotas(), ErrorMap({"ThrottlingException": Throttled}))
    await refuse(budget, Unavailable("down"))
    await refuse(budget, ValueError("a slip"))
    assert await spend(budget) == 0
    await refuse(budget, SdkError())
    assert await spend(budget) == pytest.approx(7, abs=0.1)


@virtually
async def test_our_own_refusal_is_no_word_of_the_platform() -> None:
    budget = AccountBudget(Quotas())
    await refuse(budget, BudgetSpent("spent", retry_after=timedelta(seconds=60)))
    assert await spend(budget) == 0


@virtually
async def test_a_throttled_that_leaves_an_agent_which_never_spends_slows_that_agents_method() -> None:
    budget = AccountBudget(Quotas())
    with agent_call("get") as call:
        await asyncio.sleep(1)
        budget.call_failed(call, Throttled("slow down", retry_after=timedelta(seconds=20)))
    assert budget.guarded == {"get"}
    assert await spend(budget, guard("get")) == pytest.approx(20, abs=0.1)
    with agent_call("create") as call:
        async with Spending(budget, "submit", 1.0):
            pass
        budget.call_failed(call, Throttled("slow down"))
    assert budget.guarded == {"get"}
    assert {method: rate < math.inf for method, _, rate in budget.figures()} == {guard("get"): True, "submit": True}


@virtually
async def test_a_refusal_that_was_seen_and_then_leaves_the_agent_counts_once() -> None:
    budget = AccountBudget(Quotas({"get": Rate(per_second=8, burst=8)}))
    with agent_call("get") as call:
        await refuse_in(call, budget, Throttled("slow down"))
        ((_, _, rate),) = budget.figures()
        budget.call_failed(call, Throttled("slow down"))
    assert [each for _, _, each in budget.figures()] == [rate]


@virtually
async def test_one_line_says_that_an_account_is_throttled_and_one_that_it_is_no_more() -> None:
    budgets = Budgets()
    budget = budgets.of("p", "a", Quotas())
    with capture_logs() as lines:
        await refuse(budget, Throttled("slow down"))
        await spend(budget)
        await refuse(budget, Throttled("slow down"), "list")
        await asyncio.sleep(600)
        await spend(budget)
        await spend(budget, "list")
    assert [(line["event"], line["account"]) for line in lines] == [
        ("account is throttled; calls go slower", "a"),
        ("account is throttled no more", "a"),
    ]


@virtually
async def test_a_status_call_knows_how_long_it_would_wait_from_what_status_calls_spent() -> None:
    budget = AccountBudget(Quotas({"get": RATE, "submit": Rate(per_second=0.01)}))
    await spend(budget, "submit", as_part_of="create")
    assert budget.status_wait_s("agent") == 0
    await spend(budget)
    assert budget.status_wait_s("agent") == pytest.approx(1)
    assert budget.status_wait_s("another") == 0
    assert budget.status_wait_s() == pytest.approx(1)
    waiting = [asyncio.ensure_future(spend(budget)) for _ in range(3)]
    await asyncio.sleep(0)
    assert budget.status_wait_s("agent") == pytest.approx(4, abs=0.01)
    await asyncio.gather(*waiting)
    await asyncio.sleep(1)
    assert budget.status_wait_s("agent") == 0


@virtually
async def test_another_share_changes_what_waits_already() -> None:
    budgets = Budgets()
    budget = budgets.of("p", "a", Quotas({"get": Rate(per_second=0.1, burst=4)}))
    budgets.rescale(0.5)
    assert await asyncio.gather(*(spend(budget) for _ in range(2))) == [0, 0]
    waiting = asyncio.ensure_future(spend(budget))
    await asyncio.sleep(2)
    budgets.rescale(1.0)  # a tenth of the call came in two seconds, the rest comes at 0.1/s
    assert await waiting == pytest.approx(2 + 9, abs=0.01)


def test_budgets_that_nobody_holds_do_not_pile_up() -> None:
    budgets = Budgets()
    held = budgets.of("p", "mine", Quotas())
    for number in range(100):
        budgets.of("p", str(number), Quotas())
    gc.collect()
    assert len(budgets._accounts) == 1
    assert budgets.of("p", "mine", Quotas()) is held


def test_methods_named_by_ids_do_not_fill_the_memory() -> None:
    budget = AccountBudget(Quotas())
    for number in range(1_000):
        assert budget.ask(f"jobs/{number}") is None
    assert len(budget._lines) <= 201
    assert issubclass(BudgetSpent, AgentError)
