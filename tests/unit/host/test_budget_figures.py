"""The figures of budgets: they only grow, and whoever scrapes them may come at any moment."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from outboard.agent.spending import Spending
from outboard.domain.quotas import Quotas, Rate
from outboard.host.budgets.budgets import AccountBudget, Budgets
from outboard.testing.virtual_time import virtually

QUOTAS = Quotas({"get": Rate(per_second=1, source="https://example.com/limits")})


def spent(budgets: Budgets) -> int:
    return sum(sample.spent for sample in budgets.samples())


async def spend(budget: AccountBudget) -> None:
    async with Spending(budget, "get", 100):
        pass


@virtually
async def test_a_turn_that_is_given_back_takes_nothing_from_the_count_of_calls_and_the_next_adds_nothing() -> None:
    budgets = Budgets()
    budget = budgets.of("platform", "account", QUOTAS)
    await spend(budget)
    leaving = asyncio.ensure_future(spend(budget))
    await asyncio.sleep(0.9)
    time.sleep(0.2)  # noqa: ASYNC251 - virtual: the clock moves, and nobody else does
    budget._queue.review()
    assert spent(budgets) == 2
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert spent(budgets) == 2
    await spend(budget)
    assert spent(budgets) == 2
    await spend(budget)
    assert spent(budgets) == 3


@contextmanager
def scraped(budgets: Budgets) -> Iterator[list[Exception]]:
    """Read the samples in another thread all the time, with as many switches between the threads as there can be."""
    over, trouble = threading.Event(), list[Exception]()

    def scrape() -> None:
        try:
            while not over.is_set():
                budgets.samples()
        except RuntimeError as error:
            trouble.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    scraper = threading.Thread(target=scrape)
    scraper.start()
    try:
        yield trouble
    finally:
        sys.setswitchinterval(interval)
        over.set()
        scraper.join()


def test_accounts_that_come_and_go_do_not_break_a_scrape() -> None:
    budgets, held = Budgets(), list[AccountBudget]()
    with scraped(budgets) as trouble:
        for number in range(4_000):
            held.append(budgets.of("platform", f"account {number}", QUOTAS))
            if number % 500 == 0:
                held.clear()
    assert not trouble
