"""Storms: many tasks of one agent while everything goes wrong that may, and what the platform had in the end.

The promise as `make proof` counts it, for a platform's own protocol: over its conformance case, with two replicas in virtual
time, faults on the wire between agent and platform, and on the network between engine and replicas. A job too many, a job
lost, a task that a passing fault failed, or a job that outlives its cancelled task is a failure.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError
from outboard.testing.conformance.cases import Case
from outboard.testing.conformance.evidence import Evidence
from outboard.testing.conformance.stages import Stage
from outboard.testing.conformance.watching import Watch
from outboard.testing.faults import EFFECT_LOST, OPERATIONS, REPLY_LOST, Garble, Refuse, Stall, When, throttled
from outboard.testing.replicas import Call, Fleet, Passage
from outboard.testing.virtual_time import run_virtually
from tables.sections import Section

TASKS: Final = 20
_ENOUGH: Final = 40
"""Attempts of an engine that never gives up."""
_ALL_OVER_S: Final = 3600.0
_LIMIT_S: Final = 10 * 86_400.0
_COLUMNS: Final = (
    "storm",
    "agent",
    "tasks",
    "jobs",
    "succeeded",
    "cancelled",
    "live after",
    "platform calls",
    "faults met",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """One way in which everything goes wrong.

    Attributes:
        name: For the table.
        brew: Prepares the stage.
        is_cancelled: The tasks are long, and cancelled once they run.
        rages: Goes on beside the tasks.
    """

    name: str
    brew: Callable[[Stage], None] = lambda _: None
    is_cancelled: bool = False
    rages: Callable[[Stage], Awaitable[None]] | None = None


def storms(title: str, cases: Mapping[str, Case]) -> Section:
    """Run every storm over every case that starts jobs in virtual time."""
    rows, failures = [], []
    for storm in STORMS:
        for name, case in cases.items():
            row = run_virtually(partial(_run, case, storm), limit_s=_LIMIT_S)
            row = {"storm": storm.name, "agent": name, **row}
            rows.append(row)
            if not _is_kept(storm, row):
                failures.append(f"{name}: {storm.name}: {row}")
    return Section(title=title, columns=_COLUMNS, rows=rows, failures=failures)


def _is_kept(storm: Storm, row: Mapping[str, Any]) -> bool:
    ended = row["cancelled"] if storm.is_cancelled else row["succeeded"]
    return bool(row["jobs"] == ended == TASKS and row["live after"] == 0)


async def _run(case: Case, storm: Storm) -> dict[str, Any]:
    async with Stage.open(case, Evidence(), Watch()) as stage:
        kind = stage.stand_in.long if storm.is_cancelled else stage.stand_in.quick
        assert kind is not None, "the case needs a long task"
        storm.brew(stage)
        raging = asyncio.ensure_future(storm.rages(stage)) if storm.rages is not None else None
        tasks = [stage.task(kind, node=f"n{number}") for number in range(TASKS)]
        ended = await asyncio.gather(*(_follow(stage, task, storm) for task in tasks))
        if raging is not None:
            raging.cancel()
        living = await stage.all_ended(_ALL_OVER_S)
        calls = {stage.planned(operation) for operation in OPERATIONS}
        return {
            "tasks": TASKS,
            "jobs": len(await stage.all_jobs()),
            "succeeded": Counter(ended)[Phase.SUCCEEDED.value],
            "cancelled": Counter(ended)["cancelled"],
            "live after": len(living),
            "platform calls": sum(stage.faults.calls[operation] for operation in calls),
            "faults met": len(stage.faults.struck),
        }


async def _follow(stage: Stage, task: RawTask, storm: Storm) -> str:
    handle = await _insist(lambda: stage.fleet.create_task(task, timeout_s=10), stage)
    while True:
        status = await _insist(
            lambda: stage.fleet.get_task(
                handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=10
            ),
            stage,
        )
        if status.phase.is_terminal:
            return str(status.phase.value)
        if storm.is_cancelled and status.phase is Phase.RUNNING:
            await _insist(lambda: stage.fleet.delete_task(handle, task_type=task.task_type, timeout_s=10), stage)
            return "cancelled"
        await asyncio.sleep(5)


async def _insist(call: Callable[[], Awaitable[Any]], stage: Stage) -> Any:
    """Call until it is answered, as an engine does whose system retries have no end."""
    for _ in range(_ENOUGH):
        try:
            return await call()
        except OutboardError as error:
            last = error
            await asyncio.sleep(stage.pace.poll_s)
    raise last


def _first_create(fault: Any) -> Callable[[Stage], None]:
    return lambda stage: stage.break_next("create", fault, times=TASKS)


def _half_of(*operations: str, fault: Any) -> Callable[[Stage], None]:
    def brew(stage: Stage) -> None:
        for operation in operations:
            stage.faults.add(fault, stage.planned(operation), chance=0.5, times=5 * TASKS)

    return brew


def _everything(stage: Stage) -> None:
    for operation in ("create", "find", "get", stage.status_operation, "cancel"):
        for fault in (REPLY_LOST, EFFECT_LOST, Refuse(), throttled(timedelta(seconds=2)), Garble()):
            stage.faults.add(fault, stage.planned(operation), chance=0.06, times=2 * TASKS)


def _lossy_network(stage: Stage) -> None:
    dice = random.Random(stage.case.agent.name)  # noqa: S311 - no secret

    def passage(call: Call) -> Passage:
        lost = dice.random()
        return Passage(request_lost=lost < 0.15, reply_lost=0.15 <= lost < 0.4)

    assert isinstance(stage.fleet, Fleet)
    stage.fleet.network = passage


async def _killing(stage: Stage) -> None:
    """Kill one replica after the other, whatever it is doing, and start it again."""
    assert isinstance(stage.fleet, Fleet)
    dice = random.Random(stage.case.agent.name)  # noqa: S311 - no secret
    for turn in range(12):
        await asyncio.sleep(dice.uniform(0.05, 4.0))
        replica = stage.fleet.replicas[turn % 2]
        replica.kill()
        await asyncio.sleep(dice.uniform(0.0, 1.0))
        replica.restart()


STORMS: Final = (
    Storm(name="calm"),
    Storm(name="reply of each create lost", brew=_first_create(REPLY_LOST)),
    Storm(name="each create answered 500 after its effect", brew=_first_create(Refuse(when=When.AFTER))),
    Storm(name="each create's reply never comes", brew=_first_create(Stall(when=When.AFTER))),
    Storm(name="each create answered 429", brew=_first_create(throttled(timedelta(seconds=2)))),
    Storm(name="half of the polls answered 500, garbage", brew=_half_of("get", "get_many", fault=Garble())),
    Storm(name="half of the polls unanswered", brew=_half_of("get", "get_many", fault=REPLY_LOST)),
    Storm(name="a bit of everything", brew=_everything),
    Storm(name="a lossy network before the service", brew=_lossy_network),
    Storm(name="replicas killed in turn", rages=_killing),
    Storm(name="cancelled, in calm", is_cancelled=True),
    Storm(name="cancelled; replies of cancels lost", brew=_half_of("cancel", fault=REPLY_LOST), is_cancelled=True),
    Storm(name="cancelled; cancels answered 500", brew=_half_of("cancel", fault=Refuse()), is_cancelled=True),
    Storm(name="cancelled; a bit of everything", brew=_everything, is_cancelled=True),
    Storm(name="cancelled; replicas killed in turn", rages=_killing, is_cancelled=True),
)
"""Every storm, in the order of the table."""
