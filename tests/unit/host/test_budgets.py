"""Budgets: calls that were given up are not taken from others."""

import gc
from datetime import timedelta

import pytest

from outboard.agent.context import Spending
from outboard.domain.quotas import Quotas, Rate
from outboard.errors import Throttled
from outboard.host.budgets import Budgets, TokenBucket

RATE = Rate(per_second=1, source="https://example.com/limits")


def test_callers_that_cannot_wait_long_enough_take_nothing() -> None:
    now = [0.0]
    bucket = TokenBucket(RATE, clock=lambda: now[0])
    assert bucket.reserve(0.5) == 0.0
    assert [bucket.reserve(0.5) for _ in range(100)] == [1.0] * 100
    now[0] = 1.0
    assert bucket.reserve(0.5) == 0.0


async def test_a_budget_under_siege_still_serves_at_its_rate() -> None:
    budget = Budgets().of("p", "a", Quotas({"get": RATE}))
    async with Spending(budget, "get", 0.0):
        pass
    for _ in range(50):
        with pytest.raises(Throttled) as caught:
            async with Spending(budget, "get", 0.01):
                pass
        assert caught.value.retry_after is not None
        assert caught.value.retry_after <= timedelta(seconds=1)


def test_budgets_that_nobody_holds_do_not_pile_up() -> None:
    budgets = Budgets()
    held = budgets.of("p", "mine", Quotas())
    for number in range(100):
        budgets.of("p", str(number), Quotas())
    gc.collect()
    assert len(budgets._accounts) == 1
    assert budgets.of("p", "mine", Quotas()) is held
