"""What becomes of calls over their caller's limits: statuses are told at once, others are refused and count no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from outboard.domain.handles import HandleCodec
from outboard.service.access import AccessSettings
from outboard.service.access.access import Access
from outboard.service.access.refusals import Refused
from outboard.service.edge import Call

NEVER = 0.001
"""Calls a second."""


class Context:
    """gRPC's, of a call by nobody in particular."""

    def __init__(self, timeout_s: float | None = 8.0) -> None:
        self._timeout_s = timeout_s

    def peer(self) -> str:
        return "ipv4:10.0.0.7:51234"

    def time_remaining(self) -> float | None:
        return self._timeout_s


def limited(**limits: Any) -> Access:
    return Access(AccessSettings.model_validate({"anonymous": limits}), HandleCodec())


async def call(access: Access, operation: str) -> Call:
    made = Call(operation, Context())
    made.admission = await access.admit(made.context, operation)
    return made


async def reason(access: Access, operation: str) -> str:
    with pytest.raises(Refused) as refused:
        await call(access, operation)
    return refused.value.reason


async def test_a_status_over_the_calls_at_once_has_no_time_and_takes_no_room() -> None:
    access = limited(concurrent_calls=2)
    first, second = await call(access, "create"), await call(access, "get")
    assert second.timeout_s == 8.0
    over = await call(access, "get")
    assert over.timeout_s == 0.0
    assert await reason(access, "create") == await reason(access, "delete") == "concurrency"
    for each in (second, second):  # ends are counted once
        each.release()
    third = await call(access, "create")  # beside a status that runs and takes no room
    over.release()
    assert await reason(access, "create") == "concurrency"
    for each in (first, third):
        each.release()


async def test_a_status_over_the_rate_has_no_time_and_each_counts() -> None:
    access = limited(calls_per_second=NEVER, burst=2)
    assert [(await call(access, "get")).timeout_s for _ in range(4)] == [8.0, 8.0, 0.0, 0.0]
    assert await reason(access, "create") == "rate"
    assert (await call(access, "delete")).timeout_s == 8.0


async def test_statuses_over_the_rate_do_not_put_off_what_waits_for_its_turn() -> None:
    access = limited(calls_per_second=20, burst=1)
    for _ in range(1000):
        await call(access, "get")
    await call(access, "create")


async def test_a_call_that_is_refused_or_given_up_while_it_waits_takes_no_room() -> None:
    access = limited(calls_per_second=NEVER, burst=1, concurrent_calls=1)
    (await call(access, "create")).release()
    assert [await reason(access, "create") for _ in range(3)] == ["rate"] * 3
    access = limited(calls_per_second=1, burst=1, concurrent_calls=1)
    (await call(access, "create")).release()
    waiting = asyncio.ensure_future(call(access, "create"))
    await asyncio.sleep(0)
    assert await reason(access, "create") == "concurrency"
    waiting.cancel()
    await asyncio.wait({waiting})
    (await call(access, "delete")).release()


async def test_calls_wait_for_their_turn_for_half_of_their_time_and_five_seconds_at_most() -> None:
    access = limited(calls_per_second=0.15, burst=1)  # the next turn is in less than seven seconds
    (await call(access, "create")).release()
    for timeout_s in (0.0, 12.0, 100.0, None):
        with pytest.raises(Refused, match=r"asks more often than 0\.15 times a second"):
            await access.admit(Context(timeout_s), "create")
    access = limited(calls_per_second=0.25, burst=1)  # in less than four
    (await call(access, "create")).release()
    with pytest.raises(Refused):
        await access.admit(Context(6.0), "create")
    for timeout_s in (9.0, None):  # a turn that was given up is the next one's
        waiting = asyncio.ensure_future(access.admit(Context(timeout_s), "create"))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})
