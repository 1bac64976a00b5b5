"""Shares: replicas and processes divide every quota, as configured or as counted by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from structlog.testing import capture_logs

from outboard.domain.quotas import Quotas, Rate
from outboard.host import HostSettings
from outboard.host.budgets.budgets import Budgets
from outboard.host.budgets.shares import Shares, resolve_addresses
from outboard.testing.virtual_time import virtually

V4, V6 = 2, 10


class Names:
    """A resolver whose answers a test plans."""

    def __init__(self, *answers: Iterable[tuple[int, str]] | OSError) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, name: str) -> Iterable[tuple[int, str]]:
        assert name == "outboard.flyte.svc"
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


def pods(count: int, family: int = V4) -> set[tuple[int, str]]:
    return {(family, f"address {number}") for number in range(count)}


DNS = HostSettings(replicas_dns="outboard.flyte.svc")


def test_replicas_and_processes_that_are_configured_divide_at_once() -> None:
    told: list[float] = []
    Shares(HostSettings(replicas=3, processes=2), told.append)
    assert told == [1 / 6]


@virtually
async def test_replicas_are_counted_by_name_every_15_seconds_and_each_change_is_told_once() -> None:
    told: list[float] = []
    names = Names(pods(2), pods(2), pods(4), pods(1))
    shares = Shares(DNS, told.append, names)
    with capture_logs() as lines:
        shares.watch()
        shares.watch()
        await asyncio.sleep(50)
    assert names.asked == 4
    assert told == [1, 1 / 2, 1 / 4, 1]
    assert [(line["before"], line["replicas"]) for line in lines] == [(1, 2), (2, 4), (4, 1)]
    await shares.close()


@virtually
async def test_what_was_known_last_holds_while_the_name_cannot_be_resolved() -> None:
    told: list[float] = []
    names = Names(pods(3), OSError("no name server"), OSError("no name server"), pods(3))
    shares = Shares(DNS, told.append, names)
    with capture_logs() as lines:
        shares.watch()
        await asyncio.sleep(50)
    assert told == [1, 1 / 3]
    assert [line["log_level"] for line in lines] == ["info", "warning"]
    await shares.close()


@virtually
async def test_a_pod_with_an_address_of_each_family_is_one_replica_and_nobody_is_one_too() -> None:
    told: list[float] = []
    shares = Shares(DNS, told.append, Names(pods(3) | pods(3, V6), set()))
    await shares.look()
    await shares.look()
    assert told == [1, 1 / 3, 1]


async def test_the_resolver_answers_distinct_addresses_with_their_families() -> None:
    found = set(await resolve_addresses("127.0.0.1"))
    assert found == {(V4, "127.0.0.1")}


@virtually
async def test_each_of_n_replicas_takes_an_nth_and_at_least_a_burst_of_one() -> None:
    budgets = Budgets()
    budget = budgets.of("p", "a", Quotas({"get": Rate(per_second=6, burst=5)}))
    Shares(HostSettings(replicas=2), budgets.rescale)
    assert [rate for _, _, rate in budget.figures()] == []
    assert [budget.ask("get") is None for _ in range(3)] == [True, True, False]
    assert [rate for _, _, rate in budget.figures()] == [3]
    late = budgets.of("p", "b", Quotas({"get": Rate(per_second=6)}))
    assert [late.ask("get") is None for _ in range(2)] == [True, False]
