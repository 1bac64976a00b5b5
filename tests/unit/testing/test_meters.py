"""How often platforms let themselves be called."""

from __future__ import annotations

import asyncio

from outboard.testing.meters import Bucket, Window
from outboard.testing.virtual_time import virtually


@virtually
async def test_a_window_serves_so_many_calls_in_any_second() -> None:
    window = Window({"get": 2})
    served = []
    for _ in range(8):
        served.append(window.takes("get"))
        await asyncio.sleep(0.25)
    assert served == [True, True, False, False, True, True, False, False]
    assert all(window.takes("cancel") for _ in range(9)), "no limit was said"


@virtually
async def test_a_bucket_serves_a_burst_and_then_what_has_come_in() -> None:
    bucket = Bucket({"get": (2.0, 3)})
    assert [bucket.takes("get") for _ in range(5)] == [True, True, True, False, False]
    await asyncio.sleep(1)
    assert [bucket.takes("get") for _ in range(3)] == [True, True, False]
    await asyncio.sleep(60)
    assert [bucket.takes("get") for _ in range(4)] == [True, True, True, False], "it holds no more than a burst"
    assert all(bucket.takes("cancel") for _ in range(9)), "no limit was said"
