"""Stubborn platforms and dying replicas: a cancel that was accepted is not yet an end.

* `cancels/stubborn`: platforms that ignore cancels, take twenty minutes, refuse them, hang, or answer nonsense;
* `cancels/adopted`: the engine lost the handle of attempt 0, attempt 1 is to take its job over, and is cancelled before it
  can: the job has to end too, although no DeleteTask ever named it;
* `cancels/drained`: a rolling upgrade while cancels wait for their platform;
* `cancels/killed`: a replica is killed at every step of a DeleteTask, with and without an answer on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from outboard.domain.tasks import RawTask
from outboard.testing.crashes import CrashPoint, crash_points
from outboard.testing.faults import (
    FORBIDDEN,
    Fault,
    FaultPlan,
    Form,
    Garble,
    Refuse,
    Stall,
    Unreachable,
    When,
    throttled,
)
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import Propeller, PropellerSettings
from outboard.testing.replicas import CLEAR, Call, Fleet, Passage
from outboard.testing.stores import MemoryStores
from outboard.testing.virtual_time import run_virtually
from proof.cancel_counts import Counts, Watch
from proof.scenarios import KINDS, Result, Scenario, System, World

_BACKGROUND_S: Final = 2_400.0
_NOT_FOUND: Final = Refuse(status=404, code="NOT_FOUND", words="there is no such job")
_REFUSALS: Final[dict[str, tuple[Fault, int]]] = {
    "404 to the first three": (_NOT_FOUND, 3),
    "403 to the first five": (FORBIDDEN, 5),
    "500 to the first five": (Refuse(), 5),
    "429 to the first five": (throttled(timedelta(seconds=2)), 5),
    "hangs three times": (Stall(when=When.BEFORE), 3),
    "answers nonsense three times": (Garble(form=Form.OTHER_SHAPE, when=When.BEFORE), 3),
}
_COURSES: Final[dict[str, dict[str, Any]]] = {
    "obeys at once": {},
    "takes 20 min to stop": {"cancelling_s": 1_200.0},
    "ignores the first cancel": {"deaf_to": 1},
    "ignores the first four": {"deaf_to": 4},
}


def _world(latency_ms: int = 20) -> World:
    return World(ledger=Ledger(), faults=FaultPlan(), stores=MemoryStores(), latency=timedelta(milliseconds=latency_ms))


def _count(world: World, watch: Watch, tasks: int = 1) -> Counts:
    ledger = world.ledger
    return Counts(
        tasks=tasks,
        jobs=len(ledger.jobs),
        second=len(ledger.second_jobs()),
        live=len(ledger.live()),
        handles=len({task.output_prefix for task in watch.handles.values()}),
        worst=max(watch.errors.values(), default=0),
        late=sum(job.late_cancels for job in ledger.jobs.values() if not job.cancels),
    )


async def _stubborn(system: System, kind: str, replicas: int, how: str) -> Counts:
    world = _world()
    if how in _REFUSALS:
        fault, times = _REFUSALS[how]
        world.faults.add(fault, "cancel", times=times)
    task = sample_task(KINDS[kind], running_s=None, **_COURSES.get(how, {}))
    async with Fleet(replicas, lambda: system.make_host(world)) as fleet:
        watch = Watch(fleet)
        await Propeller(watch).run(task, abort_at_s=40)
        await asyncio.sleep(_BACKGROUND_S)
        return _count(world, watch)


def platform(system: System, size: int, seed: int) -> Iterator[Result]:
    """Cancel a job on platforms of every temper; `size` is the most replicas."""
    for how in (*_COURSES, *_REFUSALS):
        counts = Counts()
        for kind in KINDS:
            for replicas in range(1, size + 1):
                random.seed(seed)
                played = run_virtually(partial(_stubborn, system, kind, replicas, how), patience_s=0)
                counts.add(played, f"{kind}, {replicas} replicas")
        yield counts.row("cancels", f"platform {how}", seed)


async def _adopted(system: System, kind: str, *, outage_s: float, abort_s: float) -> Counts:
    world = _world()

    def lose_the_first(call: Call) -> Passage:
        return Passage(reply_lost=True) if call.operation == "create_task" and call.number == 0 else CLEAR

    task = sample_task(KINDS[kind], running_s=None)
    async with Fleet(2, lambda: system.make_host(world), network=lose_the_first) as fleet:
        watch = Watch(fleet)
        began = time.time() + 5  # attempt 0 has its job by then, and its answer is lost for good at 10 s
        world.faults.cut_off(began, began + outage_s)
        await Propeller(watch, PropellerSettings(retries=1)).run(task, abort_at_s=abort_s)
        await asyncio.sleep(outage_s + _BACKGROUND_S)
        return _count(world, watch)


def adopted(system: System, size: int, seed: int) -> Iterator[Result]:
    """Abort attempt 1 while it waits for a platform that has attempt 0's job; `size` moments of the abort."""
    for kind in KINDS:
        counts = Counts()
        chance = random.Random(seed)  # noqa: S311 - choices that can be repeated
        for _ in range(size):
            abort_s = chance.uniform(10.1, 60.0)
            random.seed(seed)
            played = run_virtually(partial(_adopted, system, kind, outage_s=300.0, abort_s=abort_s), patience_s=0)
            counts.add(played, f"abort at {abort_s:.1f} s")
        yield counts.row("cancels", f"adopted, {kind}", seed)


async def _drained(system: System, tasks: Sequence[RawTask], outage_s: float) -> Counts:
    world = _world()
    async with Fleet(2, lambda: system.make_host(world)) as fleet:
        watch = Watch(fleet)
        began = time.time() + 30
        world.faults.cut_off(began, began + outage_s)
        driving = [asyncio.ensure_future(Propeller(watch).run(task, abort_at_s=40)) for task in tasks]
        # A neighbour that nobody cancels: its polls tell the new replicas which bucket their engine uses.
        neighbour = sample_task(KINDS["named"], node="neighbour", running_s=outage_s + 600)
        driving.append(asyncio.ensure_future(Propeller(watch).run(neighbour)))
        await asyncio.sleep(60)
        for replica in fleet.replicas:  # one after the other, as a deployment does it
            with contextlib.suppress(Exception):
                await replica.terminate()
            replica.restart()
        await asyncio.gather(*driving)
        await asyncio.sleep(outage_s + _BACKGROUND_S)
        return _count(world, watch, len(driving))


def drained(system: System, size: int, seed: int) -> Iterator[Result]:
    """Upgrade both replicas while the cancels of `size` tasks of each kind wait for their platform, and one goes on."""
    for outage_s in (60.0, 600.0):
        tasks = [
            sample_task(kind, node=f"n{n}-{name}", running_s=None) for n in range(size) for name, kind in KINDS.items()
        ]
        random.seed(seed)
        counts = run_virtually(partial(_drained, system, tasks, outage_s), patience_s=0)
        yield counts.row("cancels", f"drained, platform down {outage_s:.0f} s", seed)


def _killing(system: System, kind: str, *, is_down: bool, deaf_to: int) -> Any:
    async def scenario(point: CrashPoint) -> Counts:
        random.seed(0)
        world = _world()
        task = sample_task(KINDS[kind], running_s=None, deaf_to=deaf_to)
        async with Fleet(2, lambda: system.make_host(world)) as fleet:
            watch = Watch(fleet)
            driving = asyncio.ensure_future(Propeller(watch).run(task, abort_at_s=40))
            await asyncio.sleep(39)
            if is_down:
                world.faults.add(Unreachable(), within=(time.time(), time.time() + 120))
            point.arm(fleet, restart_after_s=5.0)
            await asyncio.sleep(30)
            point.disarm(fleet)
            await driving
            await asyncio.sleep(_BACKGROUND_S)
            return _count(world, watch)

    return scenario


def killed(system: System, size: int, seed: int) -> Iterator[Result]:
    """Kill the replica that has the DeleteTask before each of its steps, `size` of them; see what its death leaves."""
    forms = {"platform obeys": (False, 0), "platform ignores the first": (False, 1), "platform down 2 min": (True, 0)}
    for words, (is_down, deaf_to) in forms.items():
        counts = Counts()
        for kind in KINDS:
            for run in crash_points(
                _killing(system, kind, is_down=is_down, deaf_to=deaf_to), sample=size, seed=seed, patience_s=0
            ):
                counts.add(run.result, f"{kind}, killed at step {run.at}")
        yield counts.row("cancels", f"killed, {words}", seed)


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="cancels/stubborn",
        promise="A job is cancelled until it has ended, however its platform takes it.",
        run=platform,
        short=2,
        full=3,
    ),
    Scenario(
        name="cancels/adopted",
        promise="A job whose handle was lost ends with the attempt that was to take it over.",
        run=adopted,
        short=3,
        full=50,
    ),
    Scenario(
        name="cancels/drained",
        promise="An upgrade forgets no cancel.",
        run=drained,
        short=5,
        full=50,
    ),
    Scenario(
        name="cancels/killed",
        promise="A replica that dies at any step of a DeleteTask leaves nothing that lives on.",
        run=killed,
        short=10,
        full=1_000,
    ),
)
