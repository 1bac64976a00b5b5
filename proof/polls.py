"""Polls: hundreds of thousands of GetTasks in virtual time, one in a hundred of them unlucky, and an outage of six hours.

Tasks of every course run over two replicas behind round robin: long and short queues, jobs that end before, during and
after the outage, successes and failures. The engine is a `Propeller`, which counts failed polls over a handle's whole life.
Asked of each task, apart from its right result:

* the result comes with the first poll after the job has ended and its platform answers again;
* no GetTask fails, and no task hangs;
* WAITING_FOR_RESOURCES is shown, at most once per replica, and taken back.

Told, and not asked, since replicas share no memory of what they answered: `flickers`, tasks to which both showed the outage one
after the other with the last phase in between, and `backwards`, steps from RUNNING to QUEUED where one replica guessed (its
first question about a job failed, and RUNNING is what is answered then) and the other knew.

The outage is a platform that refuses connections; between times calls meet every fault of the kit by chance.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.testing.faults import FAULTS, FaultPlan
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import NodeOutcome, Propeller, PropellerSettings, Reason
from outboard.testing.replicas import Fleet
from outboard.testing.stores import MemoryStores
from proof.scenarios import KINDS, Result, Scenario, System, World, count

OUTAGE_S: Final = 6 * 3_600.0
CALM_S: Final = 300.0
"""After the outage: no faults at all, so that "the first poll" is one and not a matter of luck."""
_OUTAGE_AT_S: Final = 3_600.0
_UNLUCKY: Final = 0.01
_POLLS_PER_TASK: Final = 785
_POLL_S: Final = 30.0
_REPLICAS: Final = 2
_GRACE_S: Final = 2.5
"""Of an answer: a poll worker's turn, and latencies; the rest of the round is the engine's own affair."""
_RANKS: Final = {Phase.QUEUED: 0, Phase.INITIALIZING: 1, Phase.RUNNING: 2}
_OUTCOMES: Final = {
    "SUCCEEDED": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED,
    "LOST": Phase.FAILED,  # worth another attempt, and the engine has none left
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How a task's job really goes, in seconds from its start."""

    task: RawTask
    outcome: str
    ends_s: float


def courses(size: int, seed: int) -> list[Expected]:
    """Return `size` tasks of all kinds and courses; the last ones end an hour after the outage."""
    chance = random.Random(seed)  # noqa: S311 - choices that can be repeated
    found = []
    for number in range(size):
        queued_s = chance.choice((0.0, 45.0, 900.0, 5_400.0, 18_000.0))
        ends_s = max(queued_s + 60, chance.uniform(60.0, _OUTAGE_AT_S + OUTAGE_S + 3_600))
        outcome = chance.choice(("SUCCEEDED", "SUCCEEDED", "FAILED", "LOST"))
        kind = list(KINDS.values())[number % len(KINDS)]
        task = sample_task(kind, node=f"n{number}", queued_s=queued_s, running_s=ends_s - queued_s, outcome=outcome)
        found.append(Expected(task=task, outcome=outcome, ends_s=ends_s))
    return found


async def outage(system: System, size: int, seed: int) -> Iterable[Result]:
    """Send about `size` polls for tasks that live through an outage of six hours."""
    random.seed(seed)
    tasks = courses(max(8, size // _POLLS_PER_TASK), seed)
    world = World(
        ledger=Ledger(), faults=FaultPlan(seed=seed), stores=MemoryStores(), latency=timedelta(milliseconds=20)
    )
    async with Fleet(_REPLICAS, lambda: system.make_host(world)) as fleet:
        propeller = Propeller(fleet, PropellerSettings(poll_interval_s=_POLL_S))
        chance = random.Random(seed + 1)  # noqa: S311 - choices that can be repeated
        began = time.monotonic()
        running = [asyncio.ensure_future(_later(chance.uniform(0, _POLL_S), propeller, each.task)) for each in tasks]
        await asyncio.sleep(_POLL_S + 1)  # the creates are over: here polls are put to the proof
        down, up = time.time() + _OUTAGE_AT_S, time.time() + _OUTAGE_AT_S + OUTAGE_S
        _plan(world, down, up)
        outcomes = await asyncio.gather(*running)
        shift_s = time.time() - time.monotonic()
        figures = _judge(tasks, outcomes, up - shift_s)
    figures["polls"] = sum(outcome.polls for outcome in outcomes)
    figures["faults_met"] = len(world.faults.struck)
    figures["virtual_hours"] = round((time.monotonic() - began) / 3_600, 1)
    broken = ("wrong", "stuck", "failed_polls", "late", "shown_too_often", "not_shown")
    is_kept = not any(figures[name] for name in broken)
    return [
        count(
            world,
            "polls",
            "2 replicas, 1 % errors, 6 h outage",
            tasks=len(tasks),
            handles=sum(bool(outcome.handles) for outcome in outcomes),
            seed=seed,
            is_kept=is_kept and not world.ledger.second_jobs() and not world.ledger.live(),
            notes=figures,
        )
    ]


async def _later(pause_s: float, propeller: Propeller, task: RawTask) -> NodeOutcome:
    await asyncio.sleep(pause_s)
    return await propeller.run(task)


def _plan(world: World, down: float, up: float) -> None:
    """Let one call in a hundred meet one of the kit's faults, except in the outage and for a while after it."""
    world.faults.cut_off(down, up)
    share = _UNLUCKY / len(FAULTS)
    for fault in FAULTS.values():
        for operation in ("get", "fetch"):
            world.faults.add(fault, operation, chance=share, within=(0.0, down))
            world.faults.add(fault, operation, chance=share, within=(up + CALM_S, float("inf")))


def _judge(tasks: Sequence[Expected], outcomes: Sequence[NodeOutcome], up: float) -> dict[str, Any]:
    figures: Counter[str] = Counter()
    slowest_s = 0.0
    for expected, outcome in zip(tasks, outcomes, strict=True):
        figures["wrong"] += outcome.phase is not _OUTCOMES[expected.outcome]
        figures["stuck"] += outcome.reason is not Reason.ANSWERED
        figures["failed_polls"] += outcome.errors.get("get_task", 0)
        figures["backwards"] += _backward_steps(outcome.phases)
        shown = outcome.phases.count(Phase.WAITING_FOR_RESOURCES)
        saw_it_all = expected.ends_s > _OUTAGE_AT_S + OUTAGE_S + 2 * _POLL_S
        figures["flickers"] += shown > 1
        figures["shown_too_often"] += shown > _REPLICAS
        figures["not_shown"] += saw_it_all and shown == 0
        ended = outcome.began_at + expected.ends_s
        due = max(ended, up) if ended > up - OUTAGE_S - _POLL_S else ended
        if outcome.answered_at is not None and up <= due <= up + CALM_S - 2 * _POLL_S:
            waited_s = outcome.answered_at - due
            slowest_s = max(slowest_s, waited_s)
            figures["recovered"] += 1
            figures["late"] += waited_s > _POLL_S + _GRACE_S
    return {**figures, "slowest_after_recovery_s": round(slowest_s, 1)}


def _backward_steps(phases: Sequence[Phase]) -> int:
    ranks = [_RANKS[phase] for phase in phases if phase in _RANKS]
    return sum(after < before for before, after in pairwise(ranks))


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="polls/outage",
        promise="A platform that errs or is away for hours fails no task; the result comes with the first poll after it.",
        run=outage,
        short=50_000,
        full=1_000_000,
    ),
)
