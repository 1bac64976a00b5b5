"""Flights: one at a time per key, shielded from callers, remembered within bounds."""

import asyncio
import gc
from typing import Any

import pytest

from outboard.errors import Unavailable
from outboard.host.flights import Flights


def _held(value: Any) -> tuple[asyncio.Event, Any]:
    proceed = asyncio.Event()

    async def work() -> Any:
        await proceed.wait()
        if isinstance(value, Exception):
            raise value
        return value

    return proceed, work


async def test_two_who_join_a_flight_that_fails_both_hear_it_and_the_next_one_starts_anew() -> None:
    flights: Flights[int] = Flights(60, 10)
    proceed, work = _held(Unavailable("down"))
    both = [asyncio.ensure_future(flights.join("k", b"", work)) for _ in range(2)]
    await asyncio.sleep(0)
    assert flights.running == 1
    proceed.set()
    assert [type(each) for each in await asyncio.gather(*both, return_exceptions=True)] == [Unavailable] * 2
    proceed, work = _held(1)
    proceed.set()
    assert await flights.join("k", b"", work) == 1


async def test_a_failure_that_nobody_waits_for_any_more_prints_no_traceback() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    flights: Flights[int] = Flights(60, 10)
    proceed, work = _held(ValueError("password=hunter2"))
    caller = asyncio.ensure_future(flights.join("k", b"", work))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    proceed.set()
    await flights.drain()
    gc.collect()
    await asyncio.sleep(0)
    assert told == []


async def test_a_flight_that_is_cancelled_before_it_began_is_not_waited_for() -> None:
    flights: Flights[int] = Flights(60, 10)
    _, work = _held(1)
    caller = asyncio.ensure_future(flights.join("k", b"", work))
    await asyncio.sleep(0)
    await flights.close()
    assert await flights.drain() == 0
    await asyncio.gather(caller, return_exceptions=True)


async def test_a_drain_ends_with_its_patience() -> None:
    flights: Flights[int] = Flights(60, 10)
    _, work = _held(1)
    caller = asyncio.ensure_future(flights.join("k", b"", work))
    await asyncio.sleep(0)
    assert await flights.drain(0.01) == 1
    await flights.close()
    await asyncio.gather(caller, return_exceptions=True)


@pytest.mark.parametrize(
    ("weights", "kept"), [([40, 40, 40], ["1", "2"]), ([200], []), ([1, 1, 1, 1], ["1", "2", "3"])]
)
async def test_results_are_kept_within_a_number_and_a_weight(weights: list[int], kept: list[str]) -> None:
    flights: Flights[int] = Flights(60, 3, heaviest=100, weigh=lambda weight: weight)
    for name, weight in enumerate(weights):
        proceed, work = _held(weight)
        proceed.set()
        await flights.join(str(name), b"", work)
    _, never = _held(0)
    for each in kept:
        assert await flights.join(each, b"", never) == weights[int(each)]
    assert set(flights._kept) == set(kept)


async def test_results_whose_time_is_over_do_not_stay_until_somebody_asks() -> None:
    flights: Flights[int] = Flights(-1, 100)
    for name in range(10):
        proceed, work = _held(name)
        proceed.set()
        await flights.join(str(name), b"", work)
    assert len(flights._kept) <= 1
