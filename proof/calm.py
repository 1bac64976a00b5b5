"""Nothing goes wrong: the control. A system that does not pass here was not put under proof at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from outboard.domain.phases import Phase
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import NodeOutcome, Propeller
from outboard.testing.replicas import Fleet
from proof.scenarios import KINDS, Result, Scenario, System, World, count

_ANSWER: Final = 42


async def run_calmly(system: System, size: int, seed: int) -> Iterable[Result]:
    """Run tasks of every kind over two replicas, and look at every phase and output."""
    return [await _run_kind(system, kind, size, seed) for kind in KINDS]


async def _run_kind(system: System, kind: str, size: int, seed: int) -> Result:
    world = World.new(seed)
    async with Fleet(2, lambda: system.make_host(world)) as fleet:
        propeller = Propeller(fleet)
        tasks = [sample_task(KINDS[kind], node=f"n{n}", outputs={"answer": _ANSWER}) for n in range(size)]
        outcomes = await asyncio.gather(*(propeller.run(task) for task in tasks))
    right = sum(map(_is_right, outcomes))
    return count(
        world,
        "calm",
        kind,
        tasks=size,
        handles=sum(bool(each.handles) for each in outcomes),
        seed=seed,
        is_kept=right == size == len(world.ledger.jobs) and not world.ledger.live(),
        notes={"succeeded": right},
    )


def _is_right(outcome: NodeOutcome) -> bool:
    outputs = outcome.status.outputs if outcome.status is not None else None
    return outcome.phase is Phase.SUCCEEDED and dict(outputs or {}) == {"answer": _ANSWER}


SCENARIOS = (
    Scenario(
        name="calm/all",
        promise="Where nothing goes wrong, every task has one job and succeeds with its outputs.",
        run=run_calmly,
        short=20,
        full=200,
    ),
)
