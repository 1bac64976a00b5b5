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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.testing.faults import INVALID, Stall, Unreachable, When
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import Propeller, PropellerSettings
from outboard.testing.replicas import Fleet
from outboard.testing.stores import MemoryStores, random_faults
from outboard.testing.virtual_time import run_virtually
from proof import stubborn
from proof.cancel_counts import Counts, Requests, Watch
from proof.scenarios import KINDS, Result, Scenario, System, World

ROADS: Final = ("user abort", "timeout", "sibling failed", "final failure", "engine killed", "platform down 10 min")
MOMENTS: Final = ("before create", "during create", "after create")
STORES: Final = ("up", "slow", "down", "flaky")
REPLICAS: Final = (1, 2, 3)
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
        short=16,
        full=48,
    ),
    *stubborn.SCENARIOS,
)
