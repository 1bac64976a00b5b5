"""However often a platform calls about a job, it is asked about once a second, and after the last call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from outboard.host.callbacks.hastening import Hastening
from outboard.testing.virtual_time import virtually


class Asked:
    """Counts questions; jobs whose name begins with `live` are alive."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.asked: list[tuple[float, str]] = []

    def __call__(self, agent: str, job_ids: Sequence[str]) -> int:
        assert agent == "a"
        self.asked += [(round(time.monotonic() - self.began_at, 3), job_id) for job_id in job_ids]
        return sum(job_id.startswith("live") for job_id in job_ids)


@virtually
async def test_a_storm_about_one_job_is_one_question_a_second_and_the_last_is_heard() -> None:
    asked = Asked()
    hastening = Hastening(asked)
    counted = 0
    for _ in range(250):  # for 2.5 s
        counted += hastening.hasten("a", ["live-1"])
        await asyncio.sleep(0.01)
    assert counted == 1
    await asyncio.sleep(10)
    assert asked.asked == [(0.0, "live-1"), (1.0, "live-1"), (2.0, "live-1"), (3.0, "live-1")]


@virtually
async def test_one_job_waits_for_no_other_and_a_pause_is_over_when_nobody_called_in_it() -> None:
    asked = Asked()
    hastening = Hastening(asked)
    assert hastening.hasten("a", ["live-1", "live-2"]) == 2
    await asyncio.sleep(1.5)
    assert hastening.hasten("a", ["live-1"]) == 1
    assert asked.asked == [(0.0, "live-1"), (0.0, "live-2"), (1.5, "live-1")]


@virtually
async def test_ids_that_nobody_follows_are_not_remembered() -> None:
    asked = Asked()
    hastening = Hastening(asked)
    assert hastening.hasten("a", [f"dead-{number}" for number in range(1000)]) == 0
    assert not hastening._pauses


@virtually
async def test_nothing_is_asked_after_the_end() -> None:
    asked = Asked()
    troubles: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, trouble: troubles.append(trouble))
    hastening = Hastening(asked)
    hastening.hasten("a", ["live-1"])
    hastening.hasten("a", ["live-1"])
    hastening.close()
    await asyncio.sleep(10)
    assert len(asked.asked) == 1
    assert not troubles
