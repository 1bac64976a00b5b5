"""Cancels: every road to a task's end, at every moment of its job's life, and what is left running afterwards.

A cell is a road (why the engine wants the end), a moment (where the job stands when it does), a submission kind, a number
of replicas behind round robin, and a record store that is up, slow, down or flaky. The engine is a `Propeller`. After its
last word the platform comes back if it was away, the background has its time, and then every replica is asked once more
for everything: a GetTask of each handle, and the same CreateTask again. What counts, from the ledger:

* live jobs: none, whoever was told what;
* second jobs: none, and none that was started for the first time after a DeleteTask was answered with success;
* errors per DeleteTask handle, over all replicas: at most three, since FlytePropeller counts them against the workflow;
* cancels that reached jobs which were over: none.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.errors import EndpointUnreachable
from outboard.testing.faults import INVALID, Fault, FaultPlan, Stall, Unreachable, When
from outboard.testing.ledger import Ledger, LedgerJob
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import Propeller, PropellerSettings
from outboard.testing.replicas import Fleet
from outboard.testing.stores import MemoryStores, random_faults
from outboard.testing.virtual_time import run_virtually
from proof.scenarios import KINDS, Result, Scenario, System, World

ROADS: Final = ("user abort", "timeout", "sibling failed", "final failure", "engine killed", "platform down 10 min")
MOMENTS: Final = ("before create", "during create", "after create")
STORES: Final = ("up", "slow", "down", "flaky")
REPLICAS: Final = (1, 2, 3)
MOST_ERRORS: Final = 3
OUTAGE_S: Final = 600.0
_ABORT_S: Final = {"before create": 5.0, "during create": 5.0, "after create": 25.0}
_BACKGROUND_S: Final = 2_400.0
"""After the platform is back: the half hour for which a cancel is repeated, and some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way for a task to end."""

    road: str
    moment: str
    kind: str
    replicas: int
    store: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.replicas} replicas, store {self.store}, seed {self.seed}"


@dataclass(slots=True)
class Counts:
    """What is left of a cell, or of many.

    Attributes:
        after_cancel: Jobs of requests first sent after a DeleteTask was answered with success.
        unmarked: The same, and second jobs, where the record store failed: whoever submits elsewhere cannot know of the
            cancel. They end too.
        worst: The most errors that one DeleteTask handle was answered.
        late: Cancels that reached jobs which were over by themselves.
        resurrected: Late CreateTasks and GetTasks whose answer promises a job that goes on.
        broken: The cells in which the promise was not kept, in words.
    """

    tasks: int = 0
    jobs: int = 0
    second: int = 0
    live: int = 0
    handles: int = 0
    after_cancel: int = 0
    unmarked: int = 0
    worst: int = 0
    late: int = 0
    resurrected: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        faults = (self.second, self.live, self.after_cancel, self.late, self.resurrected)
        return not any(faults) and self.worst <= MOST_ERRORS

    def add(self, other: Counts, cell: str) -> None:
        """Count another cell in."""
        for name in ("tasks", "jobs", "second", "live", "handles", "after_cancel", "unmarked", "late", "resurrected"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.worst = max(self.worst, other.worst)
        if not other.is_kept:
            parts = ("second", "live", "after_cancel", "late", "resurrected", "worst")
            self.broken.append(f"{cell}: " + ", ".join(f"{name} {getattr(other, name)}" for name in parts))

    def row(self, scenario: str, variant: str, seed: int, **notes: Any) -> Result:
        """Return the row of the table."""
        figures = {
            "after_cancel": self.after_cancel,
            "after_unmarked_cancel": self.unmarked,
            "errors_per_delete": self.worst,
            "late_cancels": self.late,
            "resurrected": self.resurrected,
            **notes,
        }
        if self.broken:
            figures |= {"broken": len(self.broken), "first_broken": self.broken[0]}
        return Result(
            scenario=scenario,
            variant=variant,
            tasks=self.tasks,
            jobs=self.jobs,
            second_jobs=self.second,
            live_left=self.live,
            handles=self.handles,
            seed=seed,
            is_kept=self.is_kept,
            notes=figures,
        )


class Watch:
    """An endpoint that notes what every DeleteTask was answered, and the handles of every CreateTask."""

    def __init__(self, fleet: Fleet[Any]) -> None:
        self.fleet = fleet
        self.handles: dict[bytes, RawTask] = {}
        self.errors: Counter[bytes] = Counter()
        self.cancelled_at: dict[str, float] = {}
        """When a DeleteTask was first answered with success, by the task's output prefix."""

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        """Pass it on."""
        handle = await self.fleet.create_task(task, timeout_s=timeout_s)
        self.handles.setdefault(handle, task)
        return handle

    async def get_task(
        self, handle: bytes, *, task_type: TaskType, output_prefix: str = "", timeout_s: float | None = None
    ) -> TaskStatus:
        """Pass it on."""
        return await self.fleet.get_task(handle, task_type=task_type, output_prefix=output_prefix, timeout_s=timeout_s)

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        """Pass it on."""
        try:
            await self.fleet.delete_task(handle, task_type=task_type, timeout_s=timeout_s)
        except Exception as error:
            self.errors[handle] += not _is_broken_off(error)
            raise
        self.cancelled_at.setdefault(self.handles[handle].output_prefix, time.time())

    async def list_agents(self) -> Any:
        """Pass it on."""
        return await self.fleet.list_agents()

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        """Pass it on."""
        return await self.fleet.execute_task(task, timeout_s=timeout_s)

    def task_logs(self, handle: bytes, **options: Any) -> AsyncIterator[Any]:
        """Pass it on."""
        return self.fleet.task_logs(handle, **options)

    async def task_metrics(self, handle: bytes, **options: Any) -> Any:
        """Pass it on."""
        return await self.fleet.task_metrics(handle, **options)

    def after_cancel(self, jobs: Iterable[LedgerJob], sent: Sequence[tuple[float, str]]) -> int:
        """Return how many jobs came of a request that was first sent after their cancel was accepted."""
        late = 0
        for job in jobs:
            cancelled_at = self.cancelled_at.get(job.output_prefix)
            if cancelled_at is not None and job.started_at > cancelled_at:
                late += all(at > cancelled_at for at, about in sent if job.output_prefix in about)
        return late


def _is_broken_off(error: Exception) -> bool:
    """Tell whether a call failed because its replica was killed, rather than by its answer."""
    return isinstance(error, EndpointUnreachable) or "broke the connection" in str(error)


class Requests(FaultPlan):
    """A fault plan that also notes when which create was sent."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.sent: list[tuple[float, str]] = []

    def strike(self, operation: str, about: str | Callable[[], str] = "") -> Fault | None:
        """Note a create, and go on."""
        if operation == "create":
            self.sent.append((time.time(), about if isinstance(about, str) else about()))
        return super().strike(operation, about)


def cells(seed: int) -> list[Cell]:
    """Return the whole matrix, in the order of its rows."""
    axes = itertools.product(ROADS, MOMENTS, KINDS, REPLICAS, STORES)
    return [
        Cell(road=road, moment=moment, kind=kind, replicas=replicas, store=store, seed=seed)
        for road, moment, kind, replicas, store in axes
    ]


async def play(system: System, cell: Cell) -> Counts:
    """Play one cell and return what is left."""
    chance = random.Random(str(cell))  # noqa: S311 - choices that can be repeated
    random.seed(str(cell))  # what the system itself leaves to chance: pauses
    requests = Requests(seed=cell.seed)
    world = World(ledger=Ledger(), faults=requests, stores=MemoryStores(), latency=timedelta(milliseconds=20))
    abort_s = _ABORT_S[cell.moment] + chance.random() * 4
    _delay_create(world, cell, chance)
    task = sample_task(KINDS[cell.kind], running_s=_running_s(cell, abort_s), outcome=_outcome(cell))
    async with Fleet(cell.replicas, lambda: system.make_host(world)) as fleet:
        weather = asyncio.ensure_future(_weather(world, cell, abort_s))
        watch = Watch(fleet)
        await _take(cell, watch, task, abort_s)
        await asyncio.sleep(OUTAGE_S)
        await weather
        if cell.road == "final failure":
            await asyncio.sleep(3_600)  # Flyte 2 collects its garbage an hour later, and any replica may be asked
            for replica in fleet.replicas:
                replica.restart()
            await _delete_all(watch)
        await asyncio.sleep(_BACKGROUND_S)
        world.stores.schedule = None
        resurrected = await _ask_again(watch, cell)
        await asyncio.sleep(120)
        ledger = world.ledger
        after_cancel = watch.after_cancel(ledger.jobs.values(), requests.sent)
        has_store = cell.store in ("up", "slow")
        return Counts(
            tasks=1,
            jobs=len(ledger.jobs),
            second=len(ledger.second_jobs()) if has_store else 0,
            live=len(ledger.live()),
            handles=1 if watch.handles else 0,
            after_cancel=after_cancel if has_store else 0,
            unmarked=0 if has_store else after_cancel + len(ledger.second_jobs()),
            worst=max(watch.errors.values(), default=0),
            late=sum(job.late_cancels for job in ledger.jobs.values() if not job.cancels),
            resurrected=resurrected,
        )


def _delay_create(world: World, cell: Cell, chance: random.Random) -> None:
    if cell.moment == "before create":
        if cell.road == "final failure":
            world.faults.add(INVALID, "create")
        else:
            world.faults.add(Unreachable(), "create", within=(0.0, time.time() + 45))
    elif cell.moment == "during create":
        world.faults.add(Stall(when=chance.choice(tuple(When)), seconds=20.0), "create", times=1)


def _running_s(cell: Cell, abort_s: float) -> float | None:
    return abort_s if cell.road == "final failure" else None


def _outcome(cell: Cell) -> str:
    return "FAILED" if cell.road == "final failure" else "SUCCEEDED"


async def _weather(world: World, cell: Cell, abort_s: float) -> None:
    """Let the record store and the platform be as the cell has it."""
    if cell.store == "slow":
        world.stores.latency_s = 1.0
    if cell.store == "flaky":
        world.stores.schedule = random_faults(cell.seed, lost=0.05, reply_lost=0.05, repeated=0.02)
    if cell.road == "platform down 10 min":
        since = time.time() + max(0.0, abort_s - 1)
        world.faults.cut_off(since, since + OUTAGE_S)
    if cell.store == "down":
        await asyncio.sleep(max(0.0, abort_s - 0.5))
        world.stores.down = True
        await asyncio.sleep(OUTAGE_S)
        world.stores.down = False


async def _take(cell: Cell, watch: Watch, task: RawTask, abort_s: float) -> None:
    """Drive the task along its road, until the engine is done with it."""
    match cell.road:
        case "timeout":
            settings = PropellerSettings(retries=1, execution_timeout_s=abort_s)
            await Propeller(watch, settings).run(task)
        case "sibling failed":
            other = sample_task(KINDS[cell.kind], node="n1", running_s=abort_s / 2, outcome="FAILED")
            await asyncio.gather(Propeller(watch).run(other), Propeller(watch).run(task, abort_at_s=abort_s))
        case "final failure":
            await Propeller(watch).run(task)
        case "engine killed":
            engine = asyncio.ensure_future(Propeller(watch).run(task))
            await asyncio.sleep(abort_s)
            engine.cancel()
            await asyncio.wait([engine])
            await asyncio.sleep(10)  # nothing of its last round was recorded: the request is sent again
            await Propeller(watch).run(task, abort_at_s=5.0)
        case _:
            await Propeller(watch).run(task, abort_at_s=abort_s)


async def _delete_all(watch: Watch) -> None:
    for handle, task in list(watch.handles.items()):
        for _ in range(12):
            try:
                await watch.delete_task(handle, task_type=task.task_type, timeout_s=10)
            except Exception:  # noqa: BLE001 - counted by the watch
                await asyncio.sleep(10)
            else:
                break


async def _ask_again(watch: Watch, cell: Cell) -> int:
    """Send every replica what may still be under way, and return how many answers promise a job that goes on."""
    promises = 0
    for _ in range(cell.replicas):
        for handle, asked in list(watch.handles.items()):
            await _status(watch, handle, asked)
    await asyncio.sleep(200)
    for _ in range(cell.replicas):
        for handle, asked in list(watch.handles.items()):
            status = await _status(watch, handle, asked)
            promises += status is not None and not status.phase.is_terminal
        for asked in {known.output_prefix: known for known in watch.handles.values()}.values():
            if asked.output_prefix not in watch.cancelled_at:
                continue
            try:
                handle = await watch.create_task(asked, timeout_s=10)
            except Exception:  # noqa: BLE001, S112 - an error starts nothing
                continue
            await asyncio.sleep(2)
            status = await _status(watch, handle, asked)
            promises += status is None or not status.phase.is_terminal or status.phase is Phase.SUCCEEDED
    return promises


async def _status(watch: Watch, handle: bytes, task: RawTask) -> TaskStatus | None:
    try:
        return await watch.get_task(handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=10)
    except Exception:  # noqa: BLE001 - no answer is no promise
        return None


def matrix(system: System, size: int, seed: int) -> Iterator[Result]:
    """Play `size` cells of each road and moment (48 are all of them), and give one row for both."""
    everything = cells(seed)
    for road, moment in itertools.product(ROADS, MOMENTS):
        row = [cell for cell in everything if (cell.road, cell.moment) == (road, moment)]
        chance = random.Random(f"{seed} {road} {moment}")  # noqa: S311 - choices that can be repeated
        chosen = row if size >= len(row) else chance.sample(row, size)
        counts = Counts()
        for cell in chosen:
            counts.add(run_virtually(partial(play, system, cell), patience_s=0), str(cell))
        yield counts.row("cancels", f"{road}, {moment}", seed)


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="cancels/matrix",
        promise="Whatever ends a task and wherever its job stands then: no job is left, none is started twice or after it.",
        run=matrix,
        short=4,
        full=48,
    ),
)
