"""Names: every node of an execution has its own jobs, however Flyte names it, and one job however often it is asked for.

The nodes are those of `testing.flyte_names`: identities repeat over sub-workflows, dynamic nodes and arrays, and only the
output prefix tells them apart. All of them run the same task at once, over two or three replicas, with lost replies, lost
rounds and retries. Counted from the ledger: one job per node, none shared, and every node gets its own outputs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Final

from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.testing.flyte_names import NodeName, flyte_names
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import NodeOutcome, Propeller, PropellerSettings
from outboard.testing.replicas import CLEAR, Call, Fleet, Passage
from outboard.testing.virtual_time import run_virtually
from proof.scenarios import KINDS, Result, Scenario, System, World

ACCIDENTS: Final = ("none", "every third reply lost", "rounds lost")
_LIMIT_S: Final = 43_200.0
_FAN_OUT: Final = 5


async def play(system: System, kind: str, accident: str, seed: int) -> Result:
    """Run all nodes of an execution, its recovered and its relaunched twin at once, and count."""
    random.seed(seed)  # the spread of pauses in the systems themselves
    chance = random.Random(f"{kind} {accident} {seed}")  # noqa: S311 - accidents that can be repeated
    world = World.new(seed, latency=timedelta(milliseconds=20))
    names = flyte_names(f"f{seed:019x}", fan_out=_FAN_OUT)
    settings = PropellerSettings(retries=9, lost_rounds=1 if accident == "rounds lost" else 0, poll_workers=len(names))

    def fare(call: Call) -> Passage:
        is_lost = call.operation == "create_task" and chance.random() < 1 / 3
        return Passage(reply_lost=True) if accident == "every third reply lost" and is_lost else CLEAR

    async with Fleet(chance.choice((2, 3)), lambda: system.make_host(world), network=fare) as fleet:
        propeller = Propeller(fleet, settings)
        tasks = [_task(kind, name, number) for number, name in enumerate(names)]
        outcomes = await asyncio.gather(
            *(propeller.run(task, node_prefix=name.node_prefix) for task, name in zip(tasks, names, strict=True))
        )
        await asyncio.sleep(600)
    return _count(world, names, outcomes, variant=f"{kind}, {accident}", seed=seed)


def _task(kind: str, name: NodeName, number: int) -> RawTask:
    """Return a node's task; its output says whose it is."""
    task = sample_task(KINDS[kind], output_prefix=name.output_prefix, running_s=60, outputs={"answer": number})
    return replace(task, identity=name.identity)


def _count(world: World, names: Sequence[NodeName], outcomes: Sequence[NodeOutcome], variant: str, seed: int) -> Result:
    jobs = [len(world.ledger.jobs_of(name.node_prefix)) for name in names]
    own = sum(
        outcome.phase is Phase.SUCCEEDED
        and outcome.status is not None
        and dict(outcome.status.outputs or {}) == {"answer": number}
        for number, outcome in enumerate(outcomes)
    )
    second = sum(max(0, each - 1) for each in jobs)
    live, handles = len(world.ledger.live()), sum(bool(each.followed) for each in outcomes)
    return Result(
        scenario="names",
        variant=variant,
        tasks=len(names),
        jobs=len(world.ledger.jobs),
        second_jobs=second,
        live_left=live,
        handles=handles,
        seed=seed,
        is_kept=jobs == [1] * len(names) and own == handles == len(names) and not live,
        notes={"own_outputs": own, "without_job": jobs.count(0), "identities": len({name.identity for name in names})},
    )


def run_names(system: System, size: int, seed: int) -> Iterator[Result]:
    """Play `size` executions per kind and accident; a row for each kind and accident."""
    for kind in KINDS:
        for accident in ACCIDENTS:
            yield _sum(
                [
                    run_virtually(partial(play, system, kind, accident, seed + number), patience_s=0, limit_s=_LIMIT_S)
                    for number in range(size)
                ],
                seed,
            )


def _sum(rows: Sequence[Result], seed: int) -> Result:
    first = rows[0]
    return replace(
        first,
        tasks=sum(row.tasks for row in rows),
        jobs=sum(row.jobs for row in rows),
        second_jobs=sum(row.second_jobs for row in rows),
        live_left=sum(row.live_left for row in rows),
        handles=sum(row.handles for row in rows),
        seed=seed,
        is_kept=all(row.is_kept for row in rows),
        notes={name: sum(row.notes[name] for row in rows) for name in first.notes},
    )


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        name="names/flyte",
        promise="Nodes with equal identities have a job each; every node, recovered or relaunched too, has one.",
        run=run_names,
        short=2,
        full=20,
    ),
)
