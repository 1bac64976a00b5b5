"""Every road of the engine to a task's end, at every moment of a job's life: what is left running, counted in the ledger.

A cell is a road (why the task ends) taken at a moment (where its job stands then), against a service that passes errors on and
against one that answers with intents. The engine is a `Process`, so that it can be killed at any step; time is virtual. When an
engine ends and says that something is left, the user does what it says, `resume`, once the platform is there again. What counts:

* `live`: jobs that run when all is done;
* `untold`: jobs that ran when an engine ended and that it did not name;
* `second`: jobs started while another one of the same task ran that nobody had cancelled, or twice under one key;
* `late`: jobs that were asked for, for the first time, after everything was cancelled;
* `undeleted`: tasks that were stopped while they had a job and for which no DeleteTask was sent.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final

from integration.engine.journal_in_memory import JournalFile
from integration.engine.ledger_service import LedgerService
from outboard.domain.tasks import RawTask, Task
from outboard.engine import Engine, EngineSettings, TaskOutcome
from outboard.engine.routing import Routes
from outboard.testing.processes import Process
from outboard.testing.virtual_time import run_virtually

OUTAGE_S: Final = 600.0
TIMEOUT_S: Final = 40.0
RUN: Final = "run"
SETTINGS: Final = EngineSettings(output_base="memory://roads")
MOMENTS: Final = ("before create", "create sent", "create in flight", "polling", "deleting", "delete in flight")
ROADS: Final = (
    "user abort",
    "user abort, twice",
    "task cancelled",
    "timeout",
    "sibling failed",
    "final failure",
    "engine killed, resumed",
    "engine killed, cancelled",
    "platform down, user abort",
    "platform down, timeout",
    "platform down, task cancelled",
    "journal full, user abort",
)
_DELETING: Final = MOMENTS[4:]
_CALLED_FAILED: Final = ("sibling failed", "final failure")


PROMISES: Final = ("live", "untold", "second", "late", "undeleted")
"""What must be 0 in every cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One case of the matrix."""

    road: str
    moment: str
    with_intents: bool = False
    retries: int = 0
    heeds_from: int = 1

    def __str__(self) -> str:
        kind = "intents" if self.with_intents else "answers"
        return f"{self.road} / {self.moment} / {kind}, {self.retries} retries, heeds cancel {self.heeds_from}"


@dataclass(slots=True, kw_only=True)
class Count:
    """What came of a cell."""

    cell: str
    seed: int
    jobs: int = 0
    deletes: int = 0
    live: int = 0
    untold: int = 0
    second: int = 0
    late: int = 0
    undeleted: int = 0
    resumes: int = 0
    steps: int = 0
    phases: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether the promise holds."""
        return not any(getattr(self, name) for name in PROMISES)


def cells() -> list[Cell]:
    """Return the whole matrix."""
    found = []
    for road, moment, with_intents in itertools.product(ROADS, MOMENTS, (False, True)):
        for retries, heeds_from in ((0, 1), (1, 1), (1, 2)):
            if heeds_from > 1 and with_intents:
                continue  # a host asks again by itself
            if heeds_from > 1 and road in _CALLED_FAILED:
                continue  # the service calls it failed and took the cancel: nobody could learn that it runs
            cell = Cell(road=road, moment=moment, with_intents=with_intents, retries=retries, heeds_from=heeds_from)
            found.append(cell)
    return found


class World:
    """A service, a journal's file, and the lives of an engine."""

    def __init__(self, cell: Cell, seed: int) -> None:
        self.cell = cell
        self.service = LedgerService(with_intents=cell.with_intents, heeds_from=cell.heeds_from)
        self.file = JournalFile(random.Random(seed))  # noqa: S311 - a scenario's dice
        self.count = Count(cell=str(cell), seed=seed)
        self.engine: Engine | None = None
        self.process = Process("engine")
        self.gone = asyncio.Event()
        self.outcomes: Sequence[TaskOutcome] = ()
        self.is_open = False

    def live_once(self, *, cancel: bool | None = None, dies_at: int | None = None) -> asyncio.Task[None]:
        """Begin a life of the engine that runs the cell's tasks, or, where `cancel` is given, resumes them.

        With `dies_at` it is killed before that step.
        """

        def strike(process: Process) -> None:
            if process.steps == dies_at:
                process.kill()

        self.process = Process("engine", on_step=strike)
        self.process.on_death(self, self.gone.set)
        journal, self.commits = self.file.open()
        engine = self.engine = Engine(
            {"svc": self.service}, routes=Routes(order=("svc",)), journal=journal, settings=SETTINGS
        )

        async def life() -> None:
            async with engine:
                if cancel is not None and RUN not in [run.run_id for run in await journal.runs()]:
                    self.outcomes = ()  # killed before anything was recorded, hence sent
                elif cancel is not None:
                    self.outcomes = await engine.resume(RUN, cancel=cancel)
                else:
                    tasks, options = tasks_of(self.cell)
                    self.outcomes = await engine.run_many(tasks, run_id=RUN, **options)
            self._audit(engine)

        return self.process.start(life())

    def _audit(self, engine: Engine) -> None:
        told = {left.handle for left in engine.left_running}
        is_handle_unknown = None in told
        named = {handle.decode() for handle in told if handle is not None}
        untold = self.service.alive - named
        self.count.untold += 0 if is_handle_unknown else len(untold)
        self.is_open = bool(told) or any(not outcome.is_final for outcome in self.outcomes)

    async def finish(self) -> Count:
        """Resume as the engine said, when the platform is there again, and count."""
        service, count = self.service, self.count
        while self.is_open and count.resumes < 3:
            await asyncio.sleep(max(0.0, service.down_until - time.monotonic()) + 60)
            count.resumes += 1
            self.is_open = False
            await self.live_once(cancel=False)
        await asyncio.sleep(OUTAGE_S + 120)  # a host goes on confirming
        count.jobs, count.deletes = len(service.jobs), service.deletes
        count.live = len(service.alive)
        count.second = service.second_jobs + sum(starts - 1 for starts in service.starts.values())
        count.late = len(service.late)
        stopped = [job for job in service.jobs.values() if job.end.value == "ABORTED" or job.is_alive]
        count.undeleted = sum(not job.deletes for job in stopped)
        count.phases = [outcome.phase.value for outcome in self.outcomes]
        self.file.close()
        return count


def tasks_of(cell: Cell) -> tuple[list[RawTask], dict[str, Any]]:
    """Return the tasks of a cell and how they are run."""
    timeout = timedelta(seconds=TIMEOUT_S) if "timeout" in cell.road else None
    task: RawTask = Task(type="ledger", config={}, retries=cell.retries, timeout=timeout)
    if cell.road == "sibling failed":
        sibling: RawTask = Task(type="ledger", config={})
        if cell.moment == "before create":
            return [sibling, task], {"task_ids": ["sibling", "n0"], "fail_fast": True, "max_live": 1}
        return [task, sibling], {"task_ids": ["n0", "sibling"], "fail_fast": True}
    return [task], {"task_ids": ["n0"]}


async def play(cell: Cell, seed: int = 0, *, dies_at: int | None = None, then_cancel: bool = False) -> Count:
    """Play one cell; needs a virtual loop.

    Args:
        cell: The road and the moment.
        seed: Of the dice that decide which queued writes of a killed engine reach the disk.
        dies_at: Kill the engine before this step of its first life, wherever the road has come by then.
        then_cancel: Cancel in its second life, where it would only resume.
    """
    world = World(cell, seed)
    service, road = world.service, cell.road
    if road == "final failure":
        service.failing.add("n0")  # its record is gone, and it runs on
    if road == "sibling failed" and cell.moment == "before create":
        service.rejected.add("sibling")
    if "timeout" in road:
        service.stalls[cell.moment] = 60.0
    life = world.live_once(dies_at=dies_at)
    if cell.moment in _DELETING and road not in _CALLED_FAILED and "timeout" not in road:
        await _reach(world, "polling", life)
        _interrupt(world)
    if road == "sibling failed" and cell.moment in _DELETING:
        await _reach(world, "polling", life)
        service.failing.add("sibling")
    await _reach(world, cell.moment, life)
    if not world.gone.is_set():
        _take_road(world)
    await _first_of(life, world.gone)
    if world.gone.is_set():
        life = _revive(world, cancel=then_cancel or road == "engine killed, cancelled")
    await life
    world.count.steps = world.process.steps
    return await world.finish()


def _revive(world: World, *, cancel: bool) -> asyncio.Task[None]:
    """Begin the next life of a killed engine; jobs end by themselves from now on."""
    service = world.service
    service.ends_after_s = 30.0
    for key in service.alive:
        asyncio.get_running_loop().call_later(30.0, service.finish, key)
    service.unwanted_since = time.monotonic() if cancel else None  # an earlier wish may have died with the engine
    # What the journal cannot prove to be unsent is sent again for its handle, and deleted.
    service.asked |= {
        f"{SETTINGS.output_base}/{RUN}/{task_id}/{attempt}" for task_id, attempt in world.file.may_be_sent()
    }
    return world.live_once(cancel=cancel)


async def _reach(world: World, moment: str, life: asyncio.Task[None]) -> None:
    """Wait for a moment, or for the engine's end or death if that comes first."""
    await _first_of(life, world.gone, world.service.event(moment))


async def _first_of(life: asyncio.Task[None], *events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait({life, *waits}, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _engine(world: World) -> Engine:
    assert world.engine is not None
    return world.engine


def _interrupt(world: World) -> None:
    """Press Ctrl-C, unless it was."""
    if world.service.unwanted_since is None and not world.gone.is_set():
        world.service.unwanted_since = time.monotonic()
        world.process.run(_engine(world).interrupt)


def _take_road(world: World) -> None:
    road, service, engine = world.cell.road, world.service, _engine(world)
    if road.startswith("platform down"):
        service.down_until = time.monotonic() + OUTAGE_S
    if road.startswith("journal full"):
        world.commits.is_broken = True
    if road.startswith("engine killed"):
        world.process.kill()
    elif road.endswith("user abort"):
        _interrupt(world)
    elif road == "user abort, twice":
        _interrupt(world)
        world.process.run(engine.interrupt)
    elif road.endswith("task cancelled"):
        service.unwanted_since = time.monotonic()
        world.process.start(_cancel(engine))
    elif road == "sibling failed":
        service.failing.add("sibling")


async def _cancel(engine: Engine) -> None:
    await engine.cancel("n0", run_id=RUN)


CRASHED: Final = tuple(
    Cell(road=road, moment=moment, with_intents=with_intents, retries=retries)
    for road, moment, retries in (
        ("user abort", "polling", 0),
        ("user abort", "create in flight", 0),
        ("timeout", "polling", 1),
        ("timeout", "create in flight", 1),
        ("final failure", "polling", 1),
        ("sibling failed", "polling", 0),
        ("platform down, task cancelled", "polling", 0),
    )
    for with_intents in (False, True)
)
"""Cells whose engine is killed before each of its steps."""


def crash(cell: Cell, *, then_cancel: bool, seed: int = 0, stride: int = 1) -> list[Count]:
    """Kill the engine of a cell before each of its steps, resume (or resume to cancel), and return what each left.

    With a stride only every so many steps are played, which ones the seed decides.
    """

    def played(dies_at: int | None) -> Count:
        return run_virtually(lambda: play(cell, seed, dies_at=dies_at, then_cancel=then_cancel), patience_s=0)

    whole = played(None)
    return [whole, *(played(step) for step in range(1 + seed % stride, whole.steps + 1, stride))]


def run(seed: int = 0, chosen: Sequence[Cell] | None = None) -> list[dict[str, Any]]:
    """Play the matrix in virtual time and return what each cell left, as JSON values."""

    def played(cell: Cell) -> Count:
        return run_virtually(lambda: play(cell, seed), patience_s=0)

    return [asdict(played(cell)) for cell in chosen or cells()]


if __name__ == "__main__":
    counted = run()
    print(f"{len(counted)} cells")  # noqa: T201 - the answer
    for name in (*PROMISES, "resumes", "jobs", "deletes"):
        print(f"{name}: {sum(each[name] for each in counted)}")  # noqa: T201 - same
