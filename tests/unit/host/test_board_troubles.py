"""The status board among agents that misbehave and clocks that leap: one job's trouble is no other's, and none is forgotten."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from ledgers import ledger_task
from outboard.agent import DEFERRED, AccountContext, Context, Phase, StateMap, Status, TaskType, failed, succeeded
from outboard.agent.spending import Spending
from outboard.errors import Unavailable
from outboard.host.jobs import LiveJob
from outboard.testing.virtual_time import VirtualLoop, virtually
from unit.host.test_board import Number, Paged, Scene, Single, World


def live_of(scene: Scene, handle: bytes) -> LiveJob:
    live = scene.host._live_jobs.recall(handle)
    assert live is not None
    return live


def id_of(scene: Scene, handle: bytes) -> str:
    return str(scene.host.codec.decode(handle).job["id"])


class Reticent(Paged):
    """Tells nothing of some jobs."""

    name = "reticent"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("reticent"),)
    untold: ClassVar[set[str]] = set()

    async def get_many(self, jobs: Sequence[Number], ctx: AccountContext[World]) -> Mapping[str, Status]:
        answers = await super().get_many(jobs, ctx)
        return {job: status for job, status in answers.items() if job not in self.untold}


@virtually
async def test_a_job_of_which_nothing_is_told_is_asked_about_no_more_often_than_others() -> None:
    async with Scene(World(latency_s=0.001), "reticent", agents=(Reticent,)) as scene:
        await scene.start(3)
        first, *others = scene.handles

        async def rounds(count: int) -> None:
            for _ in range(count):
                await scene.poll(first)
                await asyncio.sleep(0.4)
                await asyncio.gather(*map(scene.poll, others))
                await asyncio.sleep(2.6)

        await rounds(4)
        Reticent.untold = {id_of(scene, others[0])}
        before = len(scene.world.pages)
        await rounds(4)
        assert len(scene.world.pages) - before <= 12


@virtually
async def test_where_the_quota_is_half_of_what_is_needed_every_job_is_asked_about_half_as_often() -> None:
    async with Scene(World(), "metered") as scene:
        await scene.start(2_000)
        await scene.spread(4)
        since = len(scene.world.pages)
        await scene.spread(8)
        asked = Counter(i for _, ids in scene.world.pages[since:] for i in ids)
        assert len(asked) == 2_000
        assert min(asked.values()) >= 2


@virtually
async def test_a_job_that_is_called_about_while_its_answer_hangs_holds_up_no_other() -> None:
    hanging: set[str] = set()

    class Hanging(Single):
        name = "hanging"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("hanging"),)

        async def get(self, job: Number, ctx: Context[World]) -> Status:
            if job.id in hanging:
                await asyncio.sleep(9)
            return await super().get(job, ctx)

    async with Scene(World(latency_s=0.3), "hanging", agents=(Hanging,)) as scene:
        await scene.start(10)
        await scene.spread(3)
        first, *others = scene.handles
        hanging.add(id_of(scene, first))
        for _ in range(2):
            scene.host._statuses._board.hasten(live_of(scene, first))
            await asyncio.sleep(0.1)
        await asyncio.sleep(6)
        before = len(scene.world.pages)
        await asyncio.gather(*map(scene.poll, others))
        await asyncio.sleep(1)
        assert len(scene.world.pages) - before == len(others)


class Incomparable:
    """As arrays are, whose comparison is no truth value."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@virtually
async def test_values_that_cannot_be_compared_hide_no_news() -> None:
    class Vague(Single):
        name = "vague"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("vague"),)

        async def get(self, job: Number, ctx: Context[World]) -> Status:
            status = await super().get(job, ctx)
            return Status(state=status.state, custom_info={"shape": Incomparable()})

    async with Scene(World(), "vague", agents=(Vague,)) as scene:
        await scene.start(3)
        await scene.spread(3)
        assert all(live_of(scene, handle).silent_since is None for handle in scene.handles)
        scene.world.ended = set(scene.world.asked)
        await scene.spread(2)
        assert {await scene.poll(handle) for handle in scene.handles} == {Phase.SUCCEEDED}


@virtually
async def test_an_agent_that_refuses_to_be_cancelled_keeps_neither_its_jobs_nor_the_host_for_ever() -> None:
    stubborn: set[str] = set()

    class Stubborn(Single):
        name = "stubborn"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("stubborn"),)
        status_calls = 1

        async def get(self, job: Number, ctx: Context[World]) -> Status:
            while job.id in stubborn:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue
            return await super().get(job, ctx)

    async with Scene(World(), "stubborn", agents=(Stubborn,)) as scene:
        await scene.start(4)
        await scene.spread(2)
        stubborn.add(id_of(scene, scene.handles[0]))
        await scene.spread(8)
        scene.world.ended = set(scene.world.asked)
        await scene.spread(8)
        assert {await scene.poll(handle) for handle in scene.handles[1:]} == {Phase.SUCCEEDED}
        assert live_of(scene, scene.handles[0]).silent_since is not None
        closing = time.monotonic()
        await scene.host.close()
        assert time.monotonic() - closing < 10


@virtually
async def test_polls_wait_again_after_the_process_was_suspended() -> None:
    async with Scene(World(latency_s=0.1)) as scene:
        await scene.start(30)
        polls = [asyncio.ensure_future(scene.poll(handle)) for handle in scene.handles]
        await asyncio.sleep(0.07)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop._now += 7_200
        await asyncio.gather(*polls)
        await scene.spread(8)
        scene.world.ended = set(scene.world.asked)
        await asyncio.sleep(6)
        assert await scene.poll(scene.handles[0]) is Phase.SUCCEEDED


@virtually
async def test_a_submission_whose_record_is_slow_to_read_keeps_only_its_first_poll_for_a_second() -> None:
    async with Scene(World(), "single") as scene:
        scene.world.create_s = 50
        await scene.start(1, output_prefix="memory://out/exec/n0/0")
        follow = scene.host._submissions.follow

        async def slowly(live: LiveJob) -> Any:
            await asyncio.sleep(20)
            return await follow(live)

        scene.host._submissions.follow = slowly  # type: ignore[method-assign]
        assert [await scene.timed(scene.handles[0]) for _ in range(3)] == pytest.approx([1.0, 0.2, 0.2])


@virtually
async def test_who_polls_one_job_all_the_time_does_not_cost_the_others_their_pages() -> None:
    async with Scene(World(latency_s=0.3)) as scene:
        await scene.start(60)
        restless = await scene.host.create_task(ledger_task("paged", node="restless", output_prefix=""))

        async def poll_restlessly() -> None:
            while True:
                await scene.poll(restless)
                await asyncio.sleep(0.01)

        polling = asyncio.ensure_future(poll_restlessly())
        await scene.spread(15)
        before = len(scene.world.pages)
        await scene.spread(5)
        polling.cancel()
        others = {id_of(scene, handle) for handle in scene.handles}
        assert sum(not others.isdisjoint(ids) for _, ids in scene.world.pages[before:]) <= 60


@contextmanager
def crowd(scene: Scene, size: int) -> Iterator[None]:
    """Let many calls wait for the budget of the page's method, and then leave."""
    client = scene.host._exchange.clients.find(live_of(scene, scene.handles[0]).client_key)
    assert client is not None
    budget = client.budget

    async def wait() -> None:
        async with Spending(budget, "list", 10_000):
            pass

    waiting = [asyncio.ensure_future(wait()) for _ in range(size)]
    try:
        yield
    finally:
        for each in waiting:
            each.cancel()


@virtually
async def test_a_lane_looks_again_when_those_who_waited_for_its_budget_have_left() -> None:
    async with Scene(World(), "metered") as scene:
        await scene.start(3)
        await scene.spread(3)
        with crowd(scene, 900):
            await scene.spread(1)
        scene.world.ended = set(scene.world.asked)
        await scene.spread(3)
        assert {await scene.poll(handle) for handle in scene.handles} == {Phase.SUCCEEDED}


@virtually
async def test_a_success_is_not_taken_back_while_its_outputs_are_awaited() -> None:
    said, is_down = "DONE", True

    class Fickle(Single):
        name = "fickle"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("fickle"),)
        states = StateMap(
            {"DONE": succeeded(), "LOST": failed()}, documented=frozenset({"DONE", "LOST"}), source="here"
        )

        async def get(self, job: Number, ctx: Context[World]) -> Status:
            return Status(state=said, outputs=DEFERRED)

        async def fetch_outputs(self, job: Number, ctx: Context[World]) -> Mapping[str, Any]:
            if is_down:
                raise Unavailable("not yet")
            return {}

    async with Scene(World(), "fickle", agents=(Fickle,)) as scene:
        await scene.start(1)
        (handle,) = scene.handles
        assert await scene.poll(handle) is Phase.RUNNING
        said = "LOST"
        scene.host._statuses._board.hasten(live_of(scene, handle))
        await asyncio.sleep(5)
        is_down = False
        await scene.poll(handle)
        assert await scene.poll(handle) is Phase.SUCCEEDED
