"""The demo itself: the workflow is driven over gRPC by the real engine while its service is killed and started again.

What is said at the end is counted, not assumed (see `evidence`). A demo in which no job was alive at the kill has shown
nothing, and says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from outboard.demo.dataset import unpack_dataset
from outboard.demo.evidence import Evidence, Outage, weigh
from outboard.demo.service_process import ServiceProcess
from outboard.demo.workflow import ANSWER, FLIGHTS, REPORT, SENSOR, STUDIES, Workflow
from outboard.detached.job_directory import JobDirectory
from outboard.domain.values import StructuredDataset
from outboard.engine import Engine, EngineSettings, LiveTask, Run, TaskEvent
from outboard.errors import Unavailable

_RUNNING_WITHIN_S: Final = 60.0
_DOWN_S: Final = 1.0
_DOWN_AT_MOST_S: Final = 3.0
_LOOK_S: Final = 0.1
_CANCEL_WAIT: Final = timedelta(seconds=5)


class Performance:
    """One run of the demo.

    Args:
        folder: An empty folder for everything.
        on_event: Gets every change of every task.
        say: Gets a sentence for people now and then.
    """

    def __init__(self, folder: Path, on_event: Callable[[TaskEvent], None], say: Callable[[str], None]) -> None:
        self._folder = folder.absolute()
        self._on_event = on_event
        self._say = say
        self._jobs = JobDirectory(self._folder / "jobs")
        platforms = {"embedded": {"root": str(self._jobs.root)}, "files": {}}
        self._service = ServiceProcess(self._folder / "service", platforms)
        self._seen: set[str] = set()
        self._studies_run = asyncio.Event()

    async def perform(self) -> Evidence:
        """Run the demo and return what there is to see.

        Raises:
            OutboardError: It could not be run to its end.
        """
        dataset = await asyncio.to_thread(unpack_dataset, self._folder / "data")
        workflow = Workflow(dataset=dataset, folder=self._folder / "results")
        settings = EngineSettings(output_base=str(self._folder / "outputs"), cancel_wait=_CANCEL_WAIT)
        began = time.monotonic()
        await self._service.start()
        self._say(f"a service (process {self._service.pid}) answers on {self._service.address}")
        engine = Engine.at(
            self._service.address, journal=self._folder / "journal.db", settings=settings, on_event=self._watch
        )
        try:
            async with engine, await engine.begin("demo") as run:
                outage = await self._drive(run, workflow)
        finally:
            await self._service.stop()
        seconds = time.monotonic() - began
        return weigh(run.outcomes, self._jobs.jobs(), outage, folder=self._folder, seconds=seconds)

    async def _drive(self, run: Run, workflow: Workflow) -> Outage:
        sensor = await run.submit(workflow.sensor(), task_id=SENSOR)
        flights = await run.submit(workflow.flights(), task_id=FLIGHTS)
        studies = workflow.studies(await _table(flights))
        lives = await run.submit_many(studies.values(), task_ids=list(studies))
        outage = await self._break()
        tables = {live.task_id: await _table(live) for live in lives}
        report = await run.submit(workflow.report(tables), task_id=REPORT)
        (await sensor.outcome()).require()
        answer = await run.submit(workflow.answer(await _table(report)), task_id=ANSWER)
        (await answer.outcome()).require()
        return outage

    async def _break(self) -> Outage:
        """Kill the service once all studies are known to run, leave it down for a moment, start it again."""
        try:
            await asyncio.wait_for(self._studies_run.wait(), _RUNNING_WITHIN_S)
        except (asyncio.TimeoutError, TimeoutError):
            words = f"the demo's jobs did not start within {_RUNNING_WITHIN_S:.0f} s; {self._folder}/service says why"
            raise Unavailable(words) from None
        pid = self._service.pid
        await self._service.kill()
        began = time.monotonic()
        alive = await self._alive()
        self._say(f"killed the service (process {pid}, SIGKILL); {_count(alive)} alive")
        left = alive
        while (down_s := time.monotonic() - began) < _DOWN_S or (left == alive and down_s < _DOWN_AT_MOST_S):
            await asyncio.sleep(_LOOK_S)
            left = await self._alive()
        await self._service.start()
        ended = alive - await self._alive()
        self._say(f"started it again (process {self._service.pid}); meanwhile {_count(ended)} ended unwatched")
        return Outage(kills=self._service.kills, alive=len(alive), ended_while_down=len(ended))

    async def _alive(self) -> set[str]:
        return {job.name for job in await asyncio.to_thread(self._jobs.jobs) if not job.state.has_ended}

    def _watch(self, event: TaskEvent) -> None:
        if event.phase is not None:
            self._seen.add(event.task_id)
        if self._seen.issuperset(STUDIES):
            self._studies_run.set()
        self._on_event(event)


async def _table(live: LiveTask) -> StructuredDataset:
    table: StructuredDataset = (await live.outcome()).require()[live.task_id]
    return table


def _count(jobs: set[str]) -> str:
    return f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
