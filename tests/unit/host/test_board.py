"""The status board: few questions, none for jobs that nobody polls, and polls that do not wait for slow platforms."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from prometheus_client import REGISTRY
from typing_extensions import Self

from ledgers import ledger_task
from outboard.agent import (
    AccountContext,
    AsyncAgent,
    BlockingAgent,
    Callback,
    Callbacks,
    Connection,
    Context,
    JobRef,
    Named,
    Phase,
    Platform,
    Quotas,
    Rate,
    Registry,
    SecretRef,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
    succeeded,
)
from outboard.errors import Unavailable
from outboard.host import Host, HostSettings
from outboard.testing.stores import MemoryStores
from outboard.testing.virtual_time import virtually


class Plain(TaskConfig):
    """Nothing to decide."""


class Number(JobRef):
    """A job."""


class World:
    """A platform: who has ended, who was asked about, in which calls, and how long it takes to say."""

    def __init__(self, latency_s: float = 0.05) -> None:
        self.latency_s = latency_s
        self.ended: set[str] = set()
        self.pages: list[tuple[float, Sequence[str]]] = []
        self.trouble: Exception | None = None
        self.hint: timedelta | None = None
        self.under_way = self.most_under_way = 0
        self.create_s = 0.0
        self.word = "RUNNING"

    async def ask(self, ids: Sequence[str]) -> Mapping[str, Status]:
        self.pages.append((time.monotonic(), ids))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.under_way -= 1
        if self.trouble is not None:
            raise self.trouble
        return {i: Status(state="DONE" if i in self.ended else self.word, poll_after=self.hint) for i in ids}

    @property
    def asked(self) -> Counter[str]:
        """How many times each job was asked about."""
        return Counter(i for _, ids in self.pages for i in ids)


class Single(AsyncAgent[Plain, Number, World]):
    """Answers about one job at a time."""

    name = "single"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("single"),)
    submission = Named()
    states = StateMap(
        {"QUEUED": Phase.QUEUED, "RUNNING": Phase.RUNNING, "DONE": succeeded()},
        documented=frozenset({"QUEUED", "RUNNING", "DONE"}),
        source="here",
    )
    status_calls = 4

    async def create(self, task: Task[Plain], ctx: Context[World]) -> Number:
        await asyncio.sleep(ctx.client.create_s)
        return Number(id=ctx.key.text)

    async def find(self, task: Task[Plain], key: Any, ctx: Context[World]) -> Sequence[Number]:
        return ()

    async def get(self, job: Number, ctx: Context[World]) -> Status:
        return (await ctx.client.ask([job.id]))[job.id]

    async def cancel(self, job: Number, ctx: Context[World]) -> None:
        ctx.client.ended.add(job.id)


class Paged(Single):
    """Answers about a hundred at once."""

    name = "paged"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("paged"),)
    batch_size = 100

    async def get_many(self, jobs: Sequence[Number], ctx: AccountContext[World]) -> Mapping[str, Status]:
        return await ctx.client.ask([job.id for job in jobs])


class Metered(Paged):
    """The same under a quota: one page per second."""

    name = "metered"
    task_types: ClassVar[Sequence[TaskType]] = (TaskType("metered"),)

    async def get_many(self, jobs: Sequence[Number], ctx: AccountContext[World]) -> Mapping[str, Status]:
        async with ctx.spend("list"):
            return await super().get_many(jobs, ctx)


class Worldly(Platform[Connection, World]):
    name = "world"
    quotas = Quotas({"list": Rate(per_second=1)})

    def __init__(self, world: World, kinds: Sequence[type[Single]] = (Single, Paged, Metered)) -> None:
        super().__init__()
        self._world = world
        self._kinds = kinds

    def agents(self) -> Sequence[Single]:
        return [kind(self) for kind in self._kinds]

    def open(self, connection: Connection, secrets: Any, http: Any) -> Any:
        from contextlib import nullcontext

        return nullcontext(self._world)


class Scene:
    """A host over a world, and the handles of its jobs."""

    def __init__(
        self,
        world: World,
        kind: str = "paged",
        agents: Sequence[type[Single]] = (Single, Paged, Metered),
        **settings: Any,
    ) -> None:
        self.world, self._kind = world, kind
        self.host = Host(
            Registry([Worldly(world, agents)]), HostSettings(installation="tests", **settings), stores=MemoryStores()
        )
        self.handles: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.host.close()

    async def start(self, count: int, **fields: Any) -> None:
        fields = {"output_prefix": "", **fields}
        for number in range(len(self.handles), len(self.handles) + count):
            task = ledger_task(self._kind, node=f"n{number}", **fields)
            self.handles.append(await self.host.create_task(task))

    async def poll(self, handle: bytes) -> Phase:
        """Poll as the service does."""
        status = self.host.recall_task(handle) or await self.host.get_task(handle, timeout_s=3)
        return status.phase

    async def timed(self, handle: bytes) -> float:
        """Poll, and return how long that took."""
        before = time.monotonic()
        await self.poll(handle)
        return time.monotonic() - before

    async def spread(self, rounds: int, period_s: float = 10.0) -> None:
        """Poll all jobs once per period, one after the other, whether the polls before were answered or not."""
        polls = []
        for _ in range(rounds):
            for handle in self.handles:
                polls.append(asyncio.ensure_future(self.poll(handle)))
                await asyncio.sleep(period_s / len(self.handles))
        await asyncio.gather(*polls)

    async def burst(self, rounds: int, period_s: float = 10.0, workers: int = 10) -> None:
        """Poll all jobs once per period, as quickly as some workers can."""
        for _ in range(rounds):
            left = iter(self.handles)

            async def work(left: Any = left) -> None:
                for handle in left:
                    await self.poll(handle)
                    await asyncio.sleep(0.002)

            began = time.monotonic()
            await asyncio.gather(*(work() for _ in range(workers)))
            await asyncio.sleep(max(0.0, began + period_s - time.monotonic()))


@pytest.mark.parametrize("way", ["spread", "burst"])
def test_a_round_of_a_thousand_polls_costs_a_call_per_page(way: str) -> None:
    @virtually
    async def play() -> None:
        async with Scene(World()) as scene:
            await scene.start(1_000)
            polls = scene.spread if way == "spread" else scene.burst
            await polls(3)
            before = len(scene.world.pages)
            await polls(10)
            assert len(scene.world.pages) - before <= 110

    play()


@pytest.mark.parametrize("kind", ["paged", "single"])
def test_a_job_is_not_asked_about_more_often_than_it_is_polled(kind: str) -> None:
    @virtually
    async def play() -> None:
        async with Scene(World(), kind) as scene:
            await scene.start(30)
            await scene.spread(20)
            assert max(scene.world.asked.values()) <= 22
            before = len(scene.world.pages)
            await asyncio.sleep(3_600)
            assert len(scene.world.pages) == before

    play()


@virtually
async def test_a_job_that_is_polled_without_a_pause_is_asked_about_once_per_poll() -> None:
    class Eager(Single):
        name = "eager"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("eager"),)
        poll_interval = max_staleness = timedelta(0)

    async with Scene(World(latency_s=0.001), "eager", agents=(Eager,)) as scene:
        await scene.start(2)
        for _ in range(50):
            await scene.poll(scene.handles[0])
        await asyncio.sleep(10)
        assert list(scene.world.asked.values()) == [50]


@virtually
async def test_answers_that_came_together_do_not_grow_old_together() -> None:
    async with Scene(World()) as scene:
        await scene.start(50)
        await scene.burst(2)
        assert len({live.rest_until for live in scene.host._live_jobs}) > 40


@virtually
async def test_a_job_that_was_called_about_is_asked_about_before_its_next_poll() -> None:
    class Ringing(Paged):
        name = "ringing"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("ringing"),)
        callbacks = Callbacks.bearer(SecretRef("bell"))

        def called_back(self, callback: Callback) -> Sequence[str]:
            return (callback.body.decode(),)

    async with Scene(World(), "ringing", agents=(Ringing,)) as scene:
        scene.world.hint = timedelta(minutes=4)
        await scene.start(3)
        await scene.spread(2)
        job = str(scene.host.codec.decode(scene.handles[0]).job["id"])
        scene.world.ended = {job}
        before = len(scene.world.pages)
        assert scene.host.hasten("ringing", [job, "nobody's"]) == 1
        await asyncio.sleep(1)
        assert [list(ids) for _, ids in scene.world.pages[before:]] == [[job]]
        ended = scene.host.recall_task(scene.handles[0])
        assert ended is not None
        assert ended.phase is Phase.SUCCEEDED
        assert scene.host.hasten("ringing", [job]) == 0


async def test_a_live_job_takes_little_memory() -> None:
    async with Scene(World(latency_s=0), "paged") as scene:
        await scene.start(3_000)
        await scene.burst(1, period_s=0, workers=100)
        gc.collect()
        other = Host(Registry([Worldly(scene.world)]), HostSettings(installation="tests"), stores=MemoryStores())
        handles, first = [bytes(bytearray(handle)) for handle in scene.handles], 1_000
        scene.host, own = other, scene.host
        await asyncio.gather(*(scene.poll(handle) for handle in handles[:first]))
        gc.collect()
        tracemalloc.start()
        try:
            await asyncio.gather(*(scene.poll(handle) for handle in handles[first:]))
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
            await own.close()
        assert taken / (len(handles) - first) <= 2_048


@virtually
async def test_the_metrics_tell_what_polls_were_told_and_what_it_cost() -> None:
    gc.collect()  # of hosts that died in other tests, and never closed
    elsewhere = REGISTRY.get_sample_value("outboard_live_jobs") or 0.0
    async with Scene(World(latency_s=0.05)) as scene:
        await scene.start(200)
        before = _told("paged")
        await scene.spread(5)
        scene.world.latency_s = 60
        await scene.spread(2)
        polls = {key: value - before[key] for key, value in _told("paged").items()}
        assert polls["memory"] + polls["news"] + polls["old"] == 7 * 200
        assert polls["memory"] > 600
        assert polls["news"] > 100
        assert polls["old"] > 100
        assert polls["questions"] == len(scene.world.pages)
        assert polls["jobs"] == sum(scene.world.asked.values())
        assert REGISTRY.get_sample_value("outboard_live_jobs") == elsewhere + 200


def _told(agent: str) -> dict[str, float]:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(f"outboard_{name}_total", {"agent": agent, **labels}) or 0.0

    told = {each: value("polls", told=each) for each in ("memory", "news", "old")}
    return {**told, "questions": value("status_questions"), "jobs": value("status_jobs")}


@virtually
async def test_every_poll_of_a_quick_platform_tells_what_is_true_now_or_was_a_moment_ago() -> None:
    async with Scene(World(latency_s=0.02)) as scene:
        await scene.start(50)
        await scene.spread(3)
        scene.world.ended = set(scene.world.asked)
        await scene.spread(1)
        await asyncio.sleep(5)
        await scene.spread(1)
        assert [await scene.poll(handle) for handle in scene.handles] == [Phase.SUCCEEDED] * 50


@virtually
async def test_a_quota_that_is_just_enough_is_kept_and_makes_no_answer_older_than_a_period() -> None:
    async with Scene(World(), "metered") as scene:
        await scene.start(1_000)
        await scene.spread(8)
        told: dict[bytes, float] = {}
        by_id = {str(scene.host.codec.decode(handle).job["id"]): handle for handle in scene.handles}
        since, ended_at = len(scene.world.pages), {}
        for job, handle in list(by_id.items())[::7]:
            scene.world.ended.add(job)
            ended_at[handle] = time.monotonic()
        while len(told) < len(ended_at):
            for handle in scene.handles:
                if await scene.poll(handle) is Phase.SUCCEEDED:
                    told.setdefault(handle, time.monotonic())
                await asyncio.sleep(10 / 1_000)
        lags = sorted(told[handle] - at for handle, at in ended_at.items())
        assert lags[int(len(lags) * 0.95)] <= 15
        times = [at for at, _ in scene.world.pages[since:]]
        assert all(later - earlier > 0.99 for earlier, later in itertools.pairwise(times))


@virtually
async def test_thousands_of_jobs_that_are_new_here_do_not_keep_all_workers_waiting() -> None:
    async with Scene(World(latency_s=0.15)) as scene:
        await scene.start(3_000)
        began = time.monotonic()
        await scene.burst(1, period_s=0)
        assert time.monotonic() - began <= 10
        await asyncio.sleep(5)
        scene.world.ended = set(scene.world.asked)
        assert len(scene.world.ended) == 3_000
        await scene.burst(2)
        assert {await scene.poll(handle) for handle in scene.handles} == {Phase.SUCCEEDED}


@virtually
async def test_only_a_first_poll_waits_for_a_slow_platform_and_its_answer_is_there_for_the_next() -> None:
    async with Scene(World(latency_s=4), "single") as scene:
        await scene.start(1)
        (handle,) = scene.handles
        assert await scene.timed(handle) == pytest.approx(1.0)
        await asyncio.sleep(5)
        scene.world.ended = set(scene.world.asked)
        await asyncio.sleep(5)
        assert await scene.timed(handle) <= 0.2
        for _ in range(5):
            assert await scene.timed(handle) == 0
        await asyncio.sleep(4.1)
        assert await scene.poll(handle) is Phase.SUCCEEDED


@virtually
async def test_what_was_told_before_the_platform_answered_is_not_taken_back() -> None:
    async with Scene(World(latency_s=5), "single") as scene:
        await scene.start(1)
        (handle,) = scene.handles
        scene.world.word = "QUEUED"
        first = await scene.host.get_task(handle, timeout_s=3)
        assert await scene.host.get_task(handle, timeout_s=3) is first
        await asyncio.sleep(5)
        assert [first.phase, await scene.poll(handle)] == [Phase.RUNNING, Phase.RUNNING]


@virtually
async def test_a_platform_that_hangs_costs_polls_no_time_and_is_waited_for_again_when_it_answers() -> None:
    async with Scene(World()) as scene:
        await scene.start(20)
        await scene.spread(2)
        scene.world.latency_s = 3_600
        spent = [await scene.timed(handle) for _ in range(10) for handle in scene.handles]
        assert sum(spent) <= 1.0
        await asyncio.sleep(30)
        scene.world.latency_s = 0.01
        await scene.spread(8)
        scene.world.ended = set(scene.world.asked)
        await asyncio.sleep(6)
        assert await scene.poll(scene.handles[0]) is Phase.SUCCEEDED


@virtually
async def test_agents_that_answer_one_by_one_are_asked_within_bounds() -> None:
    async with Scene(World(latency_s=0.5), "single") as scene:
        await scene.start(100)
        await scene.burst(4)
        assert scene.world.most_under_way == 4
        assert len(scene.world.asked) == 100


@virtually
async def test_a_submission_that_is_under_way_is_no_job_to_ask_about() -> None:
    asked: list[object] = []

    class Noting(Single):
        name = "noting"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("noting"),)

        async def get(self, job: Number, ctx: Context[World]) -> Status:
            asked.append(job)
            return await super().get(job, ctx)

    async with Scene(World(), "noting", agents=(Noting,)) as scene:
        await scene.start(20)
        await scene.spread(3)
        scene.world.create_s = 20
        await scene.start(1, output_prefix="memory://out/exec/n20/0")
        for _ in range(2):
            for handle in scene.handles:
                assert await scene.poll(scene.handles[-1]) is Phase.INITIALIZING
                await scene.poll(handle)
                await asyncio.sleep(0.25)
        await scene.spread(3)
        assert await scene.poll(scene.handles[-1]) is Phase.RUNNING
    assert all(isinstance(job, Number) for job in asked)


@virtually
async def test_two_handles_of_one_job_take_one_place_and_both_hear_of_it() -> None:
    async with Scene(World()) as scene:
        await scene.start(1)
        other = Host(Registry([Worldly(scene.world)]), HostSettings(installation="tests"))
        await asyncio.sleep(5)
        twin = await other.create_task(ledger_task("paged", node="n0", output_prefix=""))
        assert twin != scene.handles[0]
        scene.world.ended = {str(other.codec.decode(twin).job["id"])}
        phases = await asyncio.gather(scene.poll(scene.handles[0]), scene.poll(twin))
        assert set(phases) == {Phase.SUCCEEDED}
        assert all(len(ids) == 1 for _, ids in scene.world.pages)
        await other.close()


@virtually
async def test_a_hint_is_kept_until_its_platform_calls_back() -> None:
    async with Scene(World()) as scene:
        scene.world.hint = timedelta(minutes=4)
        await scene.start(3)
        await scene.spread(2)
        asked = scene.world.asked
        await scene.spread(6)
        assert scene.world.asked == asked
        await asyncio.sleep(240)
        await scene.spread(2)
        assert all(scene.world.asked[job] == times + 1 for job, times in asked.items())


@virtually
async def test_the_longer_a_job_runs_the_older_its_answers_may_be_up_to_a_bound() -> None:
    async with Scene(World(latency_s=0.01), "single") as scene:
        await scene.start(1)
        (handle,) = scene.handles
        times = []
        for minutes in (0, 60):
            for _ in range(minutes):
                await asyncio.sleep(60)
                await scene.poll(handle)
            before = len(scene.world.pages)
            for _ in range(200):
                await scene.poll(handle)
                await asyncio.sleep(0.1)
            times.append(20 / (len(scene.world.pages) - before))
        young, old = times
        assert young < 1.0
        assert 4.0 < old < 7.0


@virtually
async def test_an_error_about_a_page_is_every_jobs_silence_and_ends_none() -> None:
    async with Scene(World(), unreachable_after=timedelta(seconds=60)) as scene:
        await scene.start(150)
        await scene.spread(2)
        scene.world.trouble = Unavailable("down")
        await scene.spread(4)
        assert {await scene.poll(handle) for handle in scene.handles} == {Phase.RUNNING}
        await scene.spread(5)
        assert {await scene.poll(handle) for handle in scene.handles} == {Phase.WAITING_FOR_RESOURCES}
        scene.world.trouble = None
        await scene.spread(2)
        assert {await scene.poll(handle) for handle in scene.handles} == {Phase.RUNNING}


@virtually
async def test_a_job_that_its_platform_stumbles_over_does_not_silence_the_others_of_its_page() -> None:
    class Stumbling(Paged):
        name = "stumbling"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("stumbling"),)
        poison: ClassVar[set[str]] = set()

        async def get_many(self, jobs: Sequence[Number], ctx: AccountContext[World]) -> Mapping[str, Status]:
            answers = await super().get_many(jobs, ctx)
            if any(job.id in self.poison for job in jobs):
                raise KeyError("state")
            return answers

    async with Scene(World(), "stumbling", agents=(Stumbling,)) as scene:
        await scene.start(100)
        await scene.burst(3)
        ids = [str(scene.host.codec.decode(handle).job["id"]) for handle in scene.handles]
        Stumbling.poison.add(ids[42])
        scene.world.ended = set(ids)
        before = len(scene.world.pages)
        await scene.poll(scene.handles[0])
        await asyncio.sleep(2)
        told = [scene.host.recall_task(handle) for handle in scene.handles]
        ended = [status is not None and status.phase is Phase.SUCCEEDED for status in told]
        assert [place for place, has_ended in enumerate(ended) if not has_ended] == [42]
        assert len(scene.world.pages) - before <= 15
        Stumbling.poison.update(ids)  # now it is no single job's fault: nobody goes looking for one
        await scene.start(100)
        Stumbling.poison.update(str(scene.host.codec.decode(handle).job["id"]) for handle in scene.handles)
        before = len(scene.world.pages)
        await scene.burst(1)
        assert len(scene.world.pages) - before < 40


async def test_questions_leave_threads_of_a_blocking_agent_to_its_creates() -> None:
    class Stuck(BlockingAgent[Plain, Number, World]):
        name = "stuck"
        task_types: ClassVar[Sequence[TaskType]] = (TaskType("stuck"),)
        submission = Named()
        states = Single.states
        pool_size = 4
        asking = threading.Semaphore(0)
        proceed = threading.Event()

        def create(self, task: Task[Plain], ctx: Context[World]) -> Number:
            return Number(id=ctx.key.text)

        def find(self, task: Task[Plain], key: Any, ctx: Context[World]) -> Sequence[Number]:
            return ()

        def get(self, job: Number, ctx: Context[World]) -> Status:
            self.asking.release()
            self.proceed.wait(30)
            return Status(state="RUNNING")

        def cancel(self, job: Number, ctx: Context[World]) -> None:
            pass

    async with Scene(World(), "stuck", agents=(Stuck,)) as scene:  # type: ignore[arg-type]  # another base class
        try:
            await scene.start(10)
            polls = [asyncio.ensure_future(scene.poll(handle)) for handle in scene.handles]
            await asyncio.gather(*(asyncio.to_thread(Stuck.asking.acquire) for _ in range(2)))
            await scene.start(1)
            await asyncio.gather(*polls)
            assert not Stuck.asking.acquire(blocking=False)
        finally:
            Stuck.proceed.set()
