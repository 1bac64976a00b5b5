"""Rows: what came of one scenario with one system and one plugin, counted from the ledger and from what propeller told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from interop.propeller.sites import Site

_WORDS: Final = 240
SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
ABORTED: Final = "ABORTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What must hold at the end.

    Attributes:
        tasks: How many tasks there are.
        jobs: How many jobs they have together; None is one each.
        end: The phase that each task comes to.
        ends: The same by node, where it is another.
        errors: The most failed polls of one task that the plugin may count: those that were planted, or the downtime's.
        live: How many jobs live on; more than none only where the engine asks nobody to end them.
        attempts: How many attempts the tasks have at most.
        words: What the user must read.
        why_live: Why some live on.
    """

    tasks: int = 1
    jobs: int | None = None
    end: str = SUCCEEDED
    ends: Mapping[str, str] = field(default_factory=dict)
    errors: int = 0
    live: int = 0
    attempts: int = 1
    words: str = ""
    why_live: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scenario's outcome.

    Attributes:
        phases: What flyteadmin heard, of the task that went furthest astray.
        errors: The most failed polls that the plugin counted for one task.
        rounds: Rounds of the engine that failed.
        broken: What is not as promised, in words; empty is kept.
        note: What a reader must know of a promise that nobody can keep.
    """

    scenario: str
    system: str
    plugin: str
    tasks: int = 0
    phases: str = ""
    attempts: int = 0
    jobs: int = 0
    live: int = 0
    polls: int = 0
    errors: int = 0
    rounds: int = 0
    words: str = ""
    seconds: float = 0.0
    broken: str = ""
    note: str = ""
    wanted_jobs: int = 1

    @property
    def verdict(self) -> str:
        """Whether the promise was kept, in words."""
        return f"broken: {self.broken}" if self.broken else self.note or "kept"

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values, with its verdict."""
        return {**asdict(self), "verdict": self.verdict}


async def take(
    site: Site, scenario: str, executions: Sequence[str], promise: Promise, seconds: float, strays: Sequence[str] = ()
) -> Row:
    """Return the row of executions that are over, judged by the promise; `strays` is what else is not as it should be."""
    told = [event for event in site.engine.told if event.get("execution") in set(executions)]
    tasks = [event for event in told if event["event"] == "task"]
    ends = [event for event in told if event["event"] == "ended"]
    counts = await site.engine.counts()
    own = tuple(f"{execution}-" for execution in executions)
    jobs = [job for execution in executions for job in site.jobs(execution)]
    live = sum([await site.live(execution) for execution in executions])
    last = _last_phases(tasks)
    wrong = [place for place, phases in last.items() if phases[-1] != promise.ends.get(place[1], promise.end)]
    shown = wrong[0] if wrong else max(last, key=lambda place: len(last[place]), default=("", ""))
    failed = {name: count for name, count in counts["failed"].items() if name.startswith(own)}
    row = Row(
        scenario=scenario,
        system=site.setting.system,
        plugin=site.setting.plugin.id,
        tasks=promise.tasks,
        phases=" ".join(last.get(shown, ["nothing"])),
        attempts=1 + max((event.get("attempt", 0) for event in tasks), default=0),
        jobs=len(jobs),
        live=live,
        polls=sum(count for name, count in counts["polls"].items() if name.startswith(own)),
        errors=max(failed.values(), default=0),
        rounds=sum(end["rounds_failed"] for end in ends),
        words=_words(tasks, ends)[:_WORDS],
        seconds=round(seconds, 1),
        note=promise.why_live,
        wanted_jobs=promise.tasks if promise.jobs is None else promise.jobs,
    )
    return replace(row, broken="; ".join([*_broken(row, promise, len(last) - len(wrong), counts["panics"]), *strays]))


def _broken(row: Row, promise: Promise, right: int, panics: int) -> list[str]:
    found = [
        (right != promise.tasks, f"{right} of {promise.tasks} tasks ended as they should"),
        (row.jobs != row.wanted_jobs, f"{row.jobs} jobs instead of {row.wanted_jobs}"),
        (row.live != promise.live, f"{row.live} live at the end instead of {promise.live}"),
        (row.errors > promise.errors, f"{row.errors} failed polls of one task"),
        (row.attempts > promise.attempts, f"{row.attempts} attempts"),
        (promise.words not in row.words, f"the user does not read {promise.words!r}"),
        (panics > 0, f"{panics} workers of the plugin panicked"),
    ]
    return [words for is_so, words in found if is_so]


def _last_phases(tasks: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Return what was heard of every task, by execution and node; repeated phases once."""
    heard: dict[tuple[str, str], list[str]] = {}
    for event in tasks:
        phases = heard.setdefault((event["execution"], event["node"]), [])
        if not phases or phases[-1] != event["phase"]:
            phases.append(event["phase"])
    return heard


def _words(tasks: Sequence[dict[str, Any]], ends: Sequence[dict[str, Any]]) -> str:
    said = [event["words"] for event in [*tasks, *ends] if event.get("words") and event.get("phase") != ABORTED]
    return " ".join(said[-1].split()) if said else ""
