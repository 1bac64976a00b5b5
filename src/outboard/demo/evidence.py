"""What there is after the demo, counted: jobs against tasks, attempts, states, and the report's file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outboard.demo.workflow import ANSWER, QUERIES, REPORT, SENSOR
from outboard.detached.jobs import JobSnapshot
from outboard.detached.states import JobState
from outboard.engine import TaskOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was seen around the kill.

    Attributes:
        kills: How often the service died by SIGKILL.
        alive: Jobs that ran when it did.
        ended_while_down: Of these, how many ended before it was back.
    """

    kills: int = 0
    alive: int = 0
    ended_while_down: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What there is after the demo.

    Attributes:
        tasks: How many tasks the engine drove.
        jobs_asked: How many of them are jobs.
        jobs: Job directories that exist.
        outage: What the kill met.
        problems: What was lost or is missing; empty where nothing is.
        rows: The report.
        report: Where its Parquet lies.
        folder: Where everything of the demo lies.
        seconds: From the first task to the last answer.
    """

    tasks: int
    jobs_asked: int
    jobs: int
    outage: Outage
    problems: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    report: str
    folder: str
    seconds: float

    @property
    def is_nothing_lost(self) -> bool:
        """Whether everything that was begun came to its end exactly once."""
        return not self.problems


def weigh(
    outcomes: Mapping[str, TaskOutcome], jobs: Sequence[JobSnapshot], outage: Outage, *, folder: Path, seconds: float
) -> Evidence:
    """Return what the outcomes, the job directories and the outage prove."""
    report = outcomes[REPORT].outputs if REPORT in outcomes else None
    answer = outcomes[ANSWER].outputs if ANSWER in outcomes else None
    place = report[REPORT].uri if report else ""
    problems = [*_lost_tasks(outcomes), *_lost_jobs(jobs), *_missing_outage(outage)]
    if not place or not Path(place).is_file():
        problems.append("the report's Parquet file is not there")
    return Evidence(
        tasks=len(outcomes),
        jobs_asked=sum(name in QUERIES for name in outcomes),
        jobs=len(jobs),
        outage=outage,
        problems=tuple(problems),
        rows=tuple(answer["rows"]) if answer else (),
        report=place,
        folder=str(folder),
        seconds=round(seconds, 1),
    )


def _lost_tasks(outcomes: Mapping[str, TaskOutcome]) -> list[str]:
    missing = [f"{name} was never run" for name in (SENSOR, *QUERIES, ANSWER) if name not in outcomes]
    failed = [f"{name}: {each.message or each.phase.value}" for name, each in outcomes.items() if not each.is_success]
    again = [f"{name} took {each.attempts} attempts" for name, each in outcomes.items() if each.attempts != 1]
    return [*missing, *failed, *again]


def _lost_jobs(jobs: Sequence[JobSnapshot]) -> list[str]:
    states = Counter(job.state for job in jobs)
    odd = [f"{count} jobs ended as {state.value}" for state, count in states.items() if state is not JobState.SUCCEEDED]
    if len(jobs) != len(QUERIES):
        odd.append(f"there are {len(jobs)} job directories for {len(QUERIES)} jobs")
    return odd


def _missing_outage(outage: Outage) -> list[str]:
    if outage.kills != 1:
        return [f"the service was killed {outage.kills} times instead of once"]
    return [] if outage.alive else ["no job was alive when the service was killed, so nothing is shown"]
