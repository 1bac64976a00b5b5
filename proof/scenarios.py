"""What a scenario is: a promise, a way to put a system under it, and the rows it counts.

A scenario module has `SCENARIOS`, a sequence of `Scenario`. The function of a scenario gets the system under proof, a size
and a seed, and gives its rows::

    async def drop_replies(system: System, size: int, seed: int) -> Iterable[Result]:      # in virtual time
        world = World.new(seed)
        async with Fleet(2, lambda: system.make_host(world)) as fleet:
            outcomes = await asyncio.gather(*(Propeller(fleet).run(task) for task in tasks))
        return [count(world, "lost_replies", "lookup, dropped", tasks=size, handles=..., seed=seed, is_kept=...)]

    SCENARIOS = (Scenario(name="lost_replies/lookup", promise="...", run=drop_replies, short=50, full=1_000),)

An async function is run in virtual time by the runner, without patience for sockets and threads. A plain function (or
generator) sees to its own time: `run_virtually`, once or often (`crash_points`), or real time.

All randomness comes from the seed. The same function runs for every system, so it says what must hold in terms of the
ledger and of what the engine was answered, never in terms of Outboard's own parts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Ledger, LedgerRules
from outboard.testing.replicas import Served
from outboard.testing.stores import MemoryStores

OUTBOARD: Final = "outboard"
FLYTEKIT: Final = "flytekit"
DILIGENT: Final = "flytekit-diligent"
EVERYBODY: Final = (OUTBOARD, FLYTEKIT, DILIGENT)
OURS_ONLY: Final = (OUTBOARD,)

KINDS: Final[Mapping[str, str]] = {
    "token": "ledger_token",
    "named": "ledger_named",
    "lookup": "ledger_lookup",
    "nothing": "ledger_nothing",
}
"""The four submission kinds, and the task type by which `sample_task` makes a task of each; every system serves all four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What replicas share and do not run themselves: the platform, its faults, the object store, the network.

    Attributes:
        latency: Of the network to the platform, one way.
    """

    ledger: Ledger
    faults: FaultPlan
    stores: MemoryStores
    latency: timedelta = timedelta(0)

    @classmethod
    def new(cls, seed: int, *, rules: LedgerRules | None = None, latency: timedelta = timedelta(0)) -> World:
        """Return a world where nothing has happened yet and nothing goes wrong yet."""
        return cls(ledger=Ledger(rules), faults=FaultPlan(seed=seed), stores=MemoryStores(), latency=latency)


class System(Protocol):
    """A system under proof."""

    @property
    def name(self) -> str:
        """One of `EVERYBODY`."""
        ...

    def make_host(self, world: World) -> Served:
        """Return one replica of it over a world; call it inside the event loop, or hand it to a `Fleet`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row of the proof, counted from the ledger.

    Attributes:
        scenario: What was done to the system; the part of the scenario's name before the slash.
        variant: Which form of it, in words; the same words for every system, so that their rows meet in the table.
        tasks: How many tasks the engine asked for.
        jobs: How many jobs the platform really started.
        second_jobs: How many of these should not be (see `Ledger.second_jobs`).
        live_left: How many jobs live although nobody follows them any more.
        handles: How many tasks got a handle.
        seed: Repeats the row.
        is_kept: Whether the promise was kept; None where a row only informs.
        notes: Further figures by name, numbers or short words.
    """

    scenario: str
    variant: str
    tasks: int
    jobs: int
    second_jobs: int
    live_left: int
    handles: int
    seed: int
    is_kept: bool | None
    notes: Mapping[str, Any] = field(default_factory=dict)


Run = Callable[[System, int, int], Iterable[Result] | Coroutine[Any, Any, Iterable[Result]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A promise and how it is put to the proof.

    Attributes:
        name: `<module>/<form>`; what `--only` takes.
        promise: What must hold, in one sentence.
        run: Gets the system, the size and the seed; see the module.
        short: The size of the short form; all short forms together take less than 5 minutes on two cores.
        full: The size of `FULL=1`.
        systems: Who can be put to it.
        is_waiting: Whether it runs in real time and mostly waits; it is run beside the others then, not among them.
    """

    name: str
    promise: str
    run: Run
    short: int
    full: int
    systems: Sequence[str] = EVERYBODY
    is_waiting: bool = False


def count(
    world: World,
    scenario: str,
    variant: str,
    *,
    tasks: int,
    handles: int,
    seed: int,
    is_kept: bool | None,
    notes: Mapping[str, Any] | None = None,
) -> Result:
    """Return a row with what the world's ledger has at this moment; live jobs are those that live now."""
    return Result(
        scenario=scenario,
        variant=variant,
        tasks=tasks,
        jobs=len(world.ledger.jobs),
        second_jobs=len(world.ledger.second_jobs()),
        live_left=len(world.ledger.live()),
        handles=handles,
        seed=seed,
        is_kept=is_kept,
        notes=dict(notes or {}),
    )
