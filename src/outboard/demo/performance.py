"""The demo itself: the workflow is driven over gRPC by the real engine while its service is killed and started again.

What is said at the end is counted, not assumed: the job directories there are, against the jobs that were asked for;
the attempts that the engine made; the jobs that were alive when the service was killed. A demo in which no job was
alive then has shown nothing, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from outboard.demo.dataset import unpack_dataset
from outboard.demo.service_process import ServiceProcess
from outboard.demo.workflow import ANSWER, FLIGHTS, QUERIES, REPORT, SENSOR, Workflow
from outboard.domain.values import StructuredDataset
from outboard.engine import Engine, EngineSettings, LiveTask, Run, TaskEvent, TaskOutcome
from outboard.platforms.embedded.client import JobDirectory
from outboard.platforms.embedded.jobs import JobSnapshot
from outboard.platforms.embedded.states import JobState

_DOWN_AT_MOST_S: Final = 2.0
_LOOK_S: Final = 0.05
_LOOKED_FOR_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What there is after the demo.

    Attributes:
        tasks: How many tasks the engine drove.
        jobs_asked: How many of them are jobs.
        jobs: Job directories that exist.
        service_kills: How often the service died by SIGKILL.
        jobs_alive_at_kill: Jobs that ran when it did.
        jobs_ended_while_down: Of these, how many ended before it was back.
        problems: What was lost or is missing; empty where nothing is.
        rows: The report.
        report: Where its Parquet lies.
        folder: Where everything of the demo lies.
        seconds: From the first task to the last answer.
    """

    tasks: int
    jobs_asked: int
    jobs: int
    service_kills: int
    jobs_alive_at_kill: int
    jobs_ended_while_down: int
    problems: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    report: str
    folder: str
    seconds: float

    @property
    def is_nothing_lost(self) -> bool:
        """Whether everything that was begun came to its end exactly once."""
        return not self.problems


@dataclass(slots=True)
class Outage:
    """What was seen around the kill."""

    alive: tuple[str, ...] = ()
    ended_while_down: int = 0


@dataclass(slots=True, kw_only=True)
class Performance:
    """One run of the demo.

    Args:
        folder: An empty folder for everything.
        on_event: Gets every change of every task.
        say: Gets a sentence for people now and then.
    """

    folder: Path
    on_event: Callable[[TaskEvent], None]
    say: Callable[[str], None]
    _outage: Outage = field(default_factory=Outage)

    async def perform(self) -> Evidence:
        """Run the demo and return what there is to see.

        Raises:
            OutboardError: It could not be run at all.
        """
        folder = self.folder.absolute()
        workflow = Workflow(dataset=await asyncio.to_thread(unpack_dataset, folder / "data"), folder=folder / "results")
        jobs = JobDirectory(folder / "jobs")
        service = ServiceProcess(folder / "service", {"embedded": {"root": str(jobs.root)}, "files": {}})
        await service.start()
        self.say(f"a service (process {service.pid}) answers on {service.address}")
        began = time.monotonic()
        try:
            settings = EngineSettings(output_base=str(folder / "outputs"))
            journal = folder / "journal.db"
            async with Engine.at(service.address, journal=journal, settings=settings, on_event=self.on_event) as engine:
                async with await engine.begin("demo") as run:
                    await self._drive(run, workflow, service, jobs)
                outcomes = dict(run.outcomes)
        finally:
            await service.stop()
        return self._weigh(outcomes, service, jobs, time.monotonic() - began)

    async def _drive(self, run: Run, workflow: Workflow, service: ServiceProcess, jobs: JobDirectory) -> None:
        sensor = await run.submit(workflow.sensor(), task_id=SENSOR)
        flights = await run.submit(workflow.flights(), task_id=FLIGHTS)
        studies = workflow.studies(await _table(flights, FLIGHTS))
        lives = await run.submit_many(studies.values(), task_ids=list(studies))
        await self._break(lives, service, jobs)
        tables = {live.task_id: await _table(live, live.task_id) for live in lives}
        report = await run.submit(workflow.report(tables), task_id=REPORT)
        (await sensor.outcome()).require()
        answer = await run.submit(workflow.answer(await _table(report, REPORT)), task_id=ANSWER)
        (await answer.outcome()).require()

    async def _break(self, lives: list[LiveTask], service: ServiceProcess, jobs: JobDirectory) -> None:
        """Kill the service once all studies are known to run, wait a moment, start it again."""
        give_up = time.monotonic() + _LOOKED_FOR_S
        while any(live.event is None or live.event.phase is None for live in lives) and time.monotonic() < give_up:
            await asyncio.sleep(_LOOK_S)
        pid = service.pid
        await service.kill()
        alive = {job.name for job in await _jobs(jobs) if not job.state.has_ended}
        self.say(f"killed the service (process {pid}, SIGKILL); {_jobs_text(len(alive))} alive")
        await asyncio.sleep(_DOWN_AT_MOST_S / 2)
        give_up = time.monotonic() + _DOWN_AT_MOST_S / 2
        while alive and not (ended := await _ended(jobs, alive)) and time.monotonic() < give_up:
            await asyncio.sleep(_LOOK_S)
        ended = await _ended(jobs, alive)
        self._outage = Outage(tuple(sorted(alive)), len(ended))
        await service.start()
        self.say(f"started it again (process {service.pid}); meanwhile {_jobs_text(len(ended))} ended unwatched")

    def _weigh(
        self, outcomes: Mapping[str, TaskOutcome], service: ServiceProcess, jobs: JobDirectory, seconds: float
    ) -> Evidence:
        found = jobs.jobs()
        report = outcomes[REPORT].outputs if REPORT in outcomes else None
        answer = outcomes[ANSWER].outputs if ANSWER in outcomes else None
        place = report[REPORT].uri if report else ""
        problems = [
            *_lost_tasks(outcomes),
            *_lost_jobs(found),
            *([] if service.kills == 1 else [f"the service was killed {service.kills} times instead of once"]),
            *([] if self._outage.alive else ["no job was alive when the service was killed, so nothing is shown"]),
            *([] if place and Path(place).is_file() else ["the report's Parquet file is not there"]),
        ]
        return Evidence(
            tasks=len(outcomes),
            jobs_asked=sum(name in QUERIES for name in outcomes),
            jobs=len(found),
            service_kills=service.kills,
            jobs_alive_at_kill=len(self._outage.alive),
            jobs_ended_while_down=self._outage.ended_while_down,
            problems=tuple(problems),
            rows=tuple(answer["rows"]) if answer else (),
            report=place,
            folder=str(self.folder.absolute()),
            seconds=round(seconds, 1),
        )


def _lost_tasks(outcomes: Mapping[str, TaskOutcome]) -> list[str]:
    expected = (SENSOR, *QUERIES, ANSWER)
    missing = [f"{name} was never run" for name in expected if name not in outcomes]
    failed = [f"{name}: {each.message or each.phase.value}" for name, each in outcomes.items() if not each.is_success]
    again = [f"{name} took {each.attempts} attempts" for name, each in outcomes.items() if each.attempts != 1]
    return [*missing, *failed, *again]


def _lost_jobs(found: list[JobSnapshot]) -> list[str]:
    states = Counter(job.state for job in found)
    odd = [f"{count} jobs ended as {state.value}" for state, count in states.items() if state is not JobState.SUCCEEDED]
    if len(found) != len(QUERIES):
        odd.append(f"there are {len(found)} job directories for {len(QUERIES)} jobs")
    return odd


async def _table(live: LiveTask, name: str) -> StructuredDataset:
    table: StructuredDataset = (await live.outcome()).require()[name]
    return table


async def _jobs(jobs: JobDirectory) -> list[JobSnapshot]:
    return await asyncio.to_thread(jobs.jobs)


async def _ended(jobs: JobDirectory, names: set[str]) -> list[str]:
    return [job.name for job in await _jobs(jobs) if job.name in names and job.state.has_ended]


def _jobs_text(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
