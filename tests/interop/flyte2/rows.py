"""Rows: what came of one scenario with one system, from the ledger, the cluster and Flyte's own log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from interop.flyte2.executor import Standing
from interop.flyte2.world import World

COLUMNS: Final = (
    "scenario", "system", "actions", "phases", "attempts", "jobs", "live", "creates", "polls", "errors", "words", "verdict",
)  # fmt: skip
_WORDS: Final = 160
_PREFIX: Final = "ACTION_PHASE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What must hold at the end.

    Attributes:
        end: The last phase that the user sees of every action.
        jobs: How many jobs each action had.
        live: How many of them live on.
        attempts: How many attempts each action needed.
        errors: The most failed polls of one action that the plugin may count.
        words: What the user must read.
    """

    end: str = "SUCCEEDED"
    jobs: int = 1
    live: int = 0
    attempts: int = 1
    errors: int = 0
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scenario's outcome.

    Attributes:
        phases: What the user saw, of the action that went furthest astray.
        creates: CreateTasks that were answered with a handle.
        errors: The most failed polls that the plugin counted for one action.
        broken: What is not as promised, in words.
    """

    scenario: str
    system: str
    actions: int
    phases: str
    attempts: int
    jobs: int
    live: int
    creates: int
    polls: int
    errors: int
    words: str
    broken: Sequence[str] = field(default_factory=tuple)

    @property
    def verdict(self) -> str:
        """Kept, or what is broken."""
        return f"broken: {'; '.join(self.broken)}" if self.broken else "kept"

    def to_json(self) -> Mapping[str, Any]:
        """Return the row as JSON values."""
        return {**asdict(self), "broken": list(self.broken), "verdict": self.verdict}


async def take(
    world: World, scenario: str, names: Sequence[str], promise: Promise, *, broken: Sequence[str] = ()
) -> Row:
    """Return the row of actions that are over, judged by the promise; `broken` is what the scenario itself found."""
    stands = {name: await world.executor.stand(name) for name in names}
    seen = {name: _phases(each) for name, each in stands.items()}
    jobs = {name: len(world.jobs(name)) for name in names}
    live = {name: await world.live(name) for name in names}
    wrong = [name for name in names if not seen[name] or seen[name][-1] != promise.end]
    shown = (wrong or sorted(names, key=lambda name: -len(seen[name])))[0]
    attempts = max(_attempts(each) for each in stands.values())
    errors = max(each.counts.get("poll_errors", 0) for each in stands.values())
    words = _words(stands[shown])
    strays = [name for name in names if jobs[name] != promise.jobs]
    found = [
        (bool(wrong), f"{len(names) - len(wrong)} of {len(names)} came to {promise.end}"),
        (bool(strays), f"{jobs[strays[0]] if strays else 0} jobs instead of {promise.jobs}"),
        (sum(live.values()) != promise.live, f"{sum(live.values())} jobs live on instead of {promise.live}"),
        (attempts != promise.attempts, f"{attempts} attempts instead of {promise.attempts}"),
        (errors > promise.errors, f"{errors} failed polls of one action"),
        (promise.words not in words, f"the user does not read {promise.words!r}"),
    ]
    return Row(
        scenario=scenario,
        system=world.system,
        actions=len(names),
        phases=" ".join(seen[shown]),
        attempts=attempts,
        jobs=sum(jobs.values()),
        live=sum(live.values()),
        creates=sum(each.counts.get("creates", 0) for each in stands.values()),
        polls=sum(each.counts.get("polls", 0) for each in stands.values()),
        errors=errors,
        words=words[:_WORDS],
        broken=[*broken, *(text for is_so, text in found if is_so)],
    )


def _phases(stands: Standing) -> list[str]:
    phases: list[str] = []
    for event in stands.events:
        phase = str(event["phase"]).removeprefix(_PREFIX)
        if not phases or phases[-1] != phase:
            phases.append(phase)
    return phases


def _attempts(stands: Standing) -> int:
    return max((int(event["attempt"]) for event in stands.events), default=0)


def _words(stands: Standing) -> str:
    return " ".join(stands.message.split())
