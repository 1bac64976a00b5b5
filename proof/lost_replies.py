"""Lost replies: a task is asked for once, its CreateTask meets every accident, and the ledger says how many jobs there are.

Each task has a world of its own: a platform, a record store, one, two or three replicas behind round robin, and a
`Propeller` with retries, which re-sends the same request after a lost round and the next attempt after an error. The form
says what befalls the CreateTasks:

==========  ==========================================================================================
dropped     replies are lost on the network after the service did its work; rounds of the engine are lost
delayed     requests arrive after their caller gave up, or replies come after its deadline
killed      a replica dies at a random step, and is started again after a while; once or twice
platform    the platform answers 429 or 500, starts the job and loses the reply, hangs, is away for ten minutes
==========  ==========================================================================================

Beside that, in every form: the record store is up, slow, flaky (requests and replies lost, its client repeating by itself)
or down for a while, the wall clocks of the replicas disagree by up to an hour and jump, and listings show jobs as late as
the agent declares. What must hold, counted from the ledger when everything is over:

* one job per task, over all attempts; of a platform that offers nothing at most one, and a second one only where the author
  chose so and the engine was told before;
* a handle per task, and no live job left;
* the engine got the right end: SUCCEEDED where the job did, or the plain word that the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

from outboard.domain.phases import Phase
from outboard.testing.crashes import CrashPoint
from outboard.testing.faults import REPLY_LOST, Fault, Refuse, Stall, When, throttled
from outboard.testing.job_agents import VISIBLE_WITHIN
from outboard.testing.ledger import LedgerRules
from outboard.testing.ledger_agents import sample_task
from outboard.testing.propeller import NodeOutcome, Propeller, PropellerSettings
from outboard.testing.replicas import CLEAR, Call, Fleet, Passage
from outboard.testing.stores import random_faults
from outboard.testing.virtual_time import OutOfTime, run_virtually
from proof.scenarios import EVERYBODY, KINDS, OURS_ONLY, Result, Scenario, System, World

FORMS: Final = ("dropped", "delayed", "killed", "platform")
OUR_KINDS: Final = {
    "token, found": "ledger_token_find",
    "nothing, retried": "ledger_nothing_retry",
    "files": "ledger_files",
}
"""Kinds that only Outboard tells apart."""
_RETRIES: Final = 4
_HOUR_S: Final = 3_600.0
_STEPS: Final = 60
"""About how many steps the replicas take until a CreateTask is answered and was polled for the first time."""
_OUTAGE_S: Final = 600.0
_AFTERWARDS_S: Final = 1_800.0
"""What was under way has arrived by then, and a task's job would have ended long ago."""
_MOST_UNDER_WAY_S: Final = 25.0
"""A request of a dead process is at most 30 s under way: what the design relies on."""
_LIMIT_S: Final = 43_200.0
_UNKNOWN: Final = "OutcomeUnknown"
_RARELY: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One task and what befalls it."""

    kind: str
    form: str
    replicas: int
    store: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.form}, {self.replicas} replicas, store {self.store}, seed {self.seed}"

    @property
    def is_blind(self) -> bool:
        """Whether the platform offers no way to tell whether a create arrived."""
        return "nothing" in self.kind


@dataclass(slots=True)
class Counts:
    """What the ledger and the engine say of one trial, or of many.

    Attributes:
        second: Jobs beyond the first of a task, those apart that the author chose.
        chosen: Second jobs of `Nothing(on_unknown=RETRY)` that the engine was told of before.
        live: Jobs that nobody follows any more.
        stuck: Tasks that hang for ever.
        wrong: Tasks whose end is not what their job came to.
        unknown: Tasks that ended with the plain word that nobody can tell.
        broken: The trials in which the promise was not kept, in words.
    """

    tasks: int = 0
    jobs: int = 0
    second: int = 0
    chosen: int = 0
    live: int = 0
    handles: int = 0
    stuck: int = 0
    wrong: int = 0
    unknown: int = 0
    attempts: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        return self.handles == self.tasks and not (self.second or self.live or self.stuck or self.wrong)

    def is_plain(self, trial_kind: str) -> bool:
        """Whether "nobody can tell" stayed the exception, as it must where the platform offers a way to tell."""
        return "nothing" in trial_kind or self.unknown <= max(1, self.tasks // _RARELY)

    def add(self, other: Counts, trial: Trial) -> None:
        """Count another trial in."""
        names = ("tasks", "jobs", "second", "chosen", "live", "handles", "stuck", "wrong", "unknown", "attempts")
        for name in names:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if not other.is_kept:
            told = ", ".join(f"{name} {getattr(other, name)}" for name in names if getattr(other, name))
            self.broken.append(f"{trial}: {told}")

    def row(self, variant: str, seed: int) -> Result:
        """Return the row of the table."""
        notes: dict[str, Any] = {"stuck": self.stuck, "wrong_ends": self.wrong, "unknown": self.unknown}
        notes |= {"attempts": self.attempts, "chosen_seconds": self.chosen}
        if self.broken:
            notes |= {"broken": len(self.broken), "first_broken": self.broken[0]}
        return Result(
            scenario="lost_replies",
            variant=variant,
            tasks=self.tasks,
            jobs=self.jobs,
            second_jobs=self.second,
            live_left=self.live,
            handles=self.handles,
            seed=seed,
            is_kept=self.is_kept and self.is_plain(variant),
            notes=notes,
        )


def trials(kind: str, form: str, size: int, seed: int) -> Iterator[Trial]:
    """Return `size` trials of a kind and form, evenly over replicas and stores."""
    stores = ("up", "up", "slow", "flaky", "down")
    for number in range(size):
        yield Trial(
            kind=kind,
            form=form,
            replicas=1 + number % 3,
            store=stores[number // 3 % len(stores)],
            seed=seed * 1_000_000 + number,
        )


async def play(system: System, trial: Trial) -> Counts:
    """Drive one task through its accidents and count."""
    chance = random.Random(str(trial))  # noqa: S311 - accidents that can be repeated
    random.seed(str(trial))  # the spread of pauses in the systems themselves
    world = _world(trial, chance)
    skews = [chance.choice((0.0, 0.0, -_HOUR_S, _HOUR_S)) for _ in range(trial.replicas)]
    _plan_faults(world, trial, chance)
    fleet = Fleet(trial.replicas, lambda: system.make_host(world), wall_skews_s=skews, network=_network(trial, chance))
    settings = PropellerSettings(
        retries=_RETRIES,
        lost_rounds=chance.choice((0, 0, 1, 2)),
        create_timeout_s=chance.choice((10.0, 10.0, 2.0, None)) if trial.form != "delayed" else 10.0,
    )
    async with fleet:
        weather = asyncio.ensure_future(_weather(world, fleet, trial, chance))
        if trial.form == "killed":
            crash = CrashPoint(chance.randint(1, _STEPS * (1 + settings.lost_rounds)))
            # A service of one replica is back before the engine has burned its attempts: that is not what is proven here.
            crash.arm(fleet, restart_after_s=chance.choice((2.0, 5.0, 30.0)) if trial.replicas > 1 else 1.0)
        task = sample_task(KINDS.get(trial.kind) or OUR_KINDS[trial.kind], running_s=chance.choice((5.0, 60.0, 400.0)))
        prefix = f"s3://flyte/{trial.seed}/n0/data"
        outcome = await Propeller(fleet, settings).run(task, node_prefix=prefix)
        await weather
        await asyncio.sleep(_AFTERWARDS_S)
        return _count(world, trial, outcome)


def _world(trial: Trial, chance: random.Random) -> World:
    is_late = trial.kind == "lookup"
    visible = VISIBLE_WITHIN * chance.random() if is_late else timedelta(0)
    rules = LedgerRules(visible_after=visible)
    return World.new(trial.seed, rules=rules, latency=timedelta(milliseconds=chance.choice((5, 50, 800))))


def _network(trial: Trial, chance: random.Random) -> Callable[[Call], Passage]:
    """Return how CreateTasks fare: the first ones badly; later ones and other calls pass."""
    troubled = chance.randint(1, 3)

    def fare(call: Call) -> Passage:
        if call.operation != "create_task" or call.number >= troubled:
            return CLEAR
        if trial.form == "dropped":
            return Passage(reply_lost=True)
        if trial.form == "delayed":
            late_s, is_request = chance.uniform(10.0, 60.0), chance.random() < 0.5 and trial.store != "down"
            return Passage(delay_before_s=late_s) if is_request else Passage(delay_after_s=late_s)
        return CLEAR

    return fare


def _plan_faults(world: World, trial: Trial, chance: random.Random) -> None:
    """Let the platform misbehave: in one form always, in the others now and then."""
    if trial.form != "platform":
        if chance.random() < 0.3:
            late = Stall(when=chance.choice(tuple(When)), seconds=chance.uniform(1, _MOST_UNDER_WAY_S))
            world.faults.add(late, "create", times=1)
        return
    faults: tuple[Fault, ...] = (
        throttled(),
        throttled(timedelta(seconds=20)),
        Refuse(),
        Refuse(when=When.AFTER),
        REPLY_LOST,
        Stall(when=When.BEFORE),
        Stall(when=When.AFTER),
        Stall(when=When.BEFORE, seconds=chance.uniform(1, 80)),
        Stall(when=When.AFTER, seconds=chance.uniform(1, 80)),
    )
    for _ in range(chance.randint(1, 3)):
        world.faults.add(chance.choice(faults), "create", times=chance.randint(1, 2))
    world.faults.add(Refuse(), chance=0.1)
    if chance.random() < 0.3:
        since = time.time() + chance.uniform(0, 20)
        world.faults.cut_off(since, since + _OUTAGE_S)


async def _weather(world: World, fleet: Fleet[Any], trial: Trial, chance: random.Random) -> None:
    """Let the record store be as the trial has it, the clocks jump, and another replica die."""
    if trial.store == "slow":
        world.stores.latency_s = 1.5
    if trial.store == "flaky":
        world.stores.schedule = random_faults(trial.seed, lost=0.1, reply_lost=0.1, repeated=0.05)
    if trial.store == "down":
        await asyncio.sleep(chance.choice((0.0, 0.1, 1.0) if trial.kind != "token" else (1.0, 3.0)))
        world.stores.down = True
        await asyncio.sleep(chance.choice((3.0, 30.0, 200.0)))
        world.stores.down = False
    await asyncio.sleep(chance.uniform(0, 30))
    chance.choice(fleet.replicas).wall_skew_s = chance.choice((-_HOUR_S, 0.0, _HOUR_S))
    if trial.form == "killed" and chance.random() < 0.5:
        chance.choice(fleet.replicas).restart()


def _count(world: World, trial: Trial, outcome: NodeOutcome) -> Counts:
    jobs = len(world.ledger.jobs)
    code = outcome.status.error.code if outcome.status is not None and outcome.status.error is not None else ""
    # Where the platform left every create of a quarter of an hour unanswered, too, nobody can tell (architecture, rule 4).
    may_be_unknown = trial.is_blind or (trial.form, trial.store) == ("killed", "down") or trial.form == "platform"
    is_unknown = outcome.phase is Phase.FAILED and code == _UNKNOWN and may_be_unknown
    told = outcome.attempts - 1 if "retried" in trial.kind else 0
    chosen = min(told, max(0, jobs - 1))
    return Counts(
        tasks=1,
        jobs=jobs,
        second=max(0, jobs - 1 - chosen),
        chosen=chosen,
        live=len(world.ledger.live()),
        handles=1 if outcome.followed else 0,
        stuck=int(outcome.is_stuck),
        wrong=int(not is_unknown and (outcome.phase is not Phase.SUCCEEDED or jobs == 0)),
        unknown=int(is_unknown),
        attempts=outcome.attempts,
    )


def drive(kind: str, system: System, size: int, seed: int) -> Iterator[Result]:
    """Play `size` trials of a kind, a row per form."""
    for number, form in enumerate(FORMS):
        counts = Counts()
        share = size // len(FORMS) + (number < size % len(FORMS))
        for trial in trials(kind, form, share, seed):
            try:
                played = run_virtually(partial(play, system, trial), patience_s=0, limit_s=_LIMIT_S)
            except OutOfTime:
                played = Counts(tasks=1, stuck=1)
            counts.add(played, trial)
        yield counts.row(f"{kind}, {form}", seed)


SCENARIOS: Sequence[Scenario] = tuple(
    Scenario(
        name=f"lost_replies/{kind.replace(', ', '_')}",
        promise="Whatever happens to a CreateTask, its task has one job, a handle and the right end.",
        run=partial(drive, kind),
        short=60,
        full=1_000,
        systems=EVERYBODY if kind in KINDS else OURS_ONLY,
    )
    for kind in (*KINDS, *OUR_KINDS)
)
