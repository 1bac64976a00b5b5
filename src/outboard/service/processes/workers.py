"""The workers of one parent: they start together, are up together before anybody is told, and end together.

They may be asked about the same job, whichever of them the engine's connection reached. So what one of them learns of a job from
outside (a callback), it tells the parent, and the parent tells the others.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from outboard.errors import InvalidSettings, OperatorError
from outboard.service.supervision.child import START_S, Child, ChildSpec, Role
from outboard.service.supervision.control import ANSWER_S, HASTEN, Control, Unanswered, ask
from outboard.service.supervision.folders import private_directory
from outboard.service.supervision.hello import Hello

_IN_ORDER: Final = (0, -signal.SIGTERM)
"""A worker that serves drains at SIGTERM and ends with 0; one that is still starting has nothing to drain, and just ends."""


class Worker(Child):
    """One worker process and who starts it again."""

    role: ClassVar[Role] = Role(noun="worker process", field="process")


class Workers:
    """All workers of a parent, from `start` to `stop`.

    Args:
        specs: How to start each.

    Attributes:
        all: The workers; none before `start`.
    """

    def __init__(self, specs: Iterable[ChildSpec]) -> None:
        self._specs = tuple(specs)
        self.all: Sequence[Worker] = ()
        self._directory: Path | None = None
        self._control: Control | None = None

    async def start(self) -> Hello:
        """Start all, wait until all are up, and return what each of them serves.

        Raises:
            InvalidSettings: A worker cannot serve with these settings.
            OperatorError: A worker ended before it was up, or is not up after a minute.
        """
        self._directory = directory = private_directory("processes")
        siblings = str(directory / "parent")
        self._control = Control(siblings, {HASTEN: self._hasten})
        self.all = [
            Worker(
                replace(spec, document={**spec.document, "siblings": siblings}), directory / str(number), lambda: None
            )
            for number, spec in enumerate(self._specs)
        ]
        for worker in self.all:
            worker.start()
        tried = [asyncio.ensure_future(worker.tried.wait()) for worker in self.all]
        _, late = await asyncio.wait(tried, timeout=START_S)
        for each in late:
            each.cancel()
        for worker in self.all:
            if worker.refusal:
                raise InvalidSettings(worker.refusal)
        hellos = [worker.hello for worker in self.all if worker.hello is not None]
        if len(hellos) < len(self.all):
            raise OperatorError("a worker process does not come up; its log lines say why")
        return hellos[0]

    async def stop(self, grace_s: float) -> bool:
        """End all; what is left after `grace_s` is killed. Tell whether none had to be, and each drained that served."""
        running = [worker for worker in self.all if worker.pid is not None]
        await asyncio.gather(*(worker.stop(grace_s) for worker in self.all))
        if self._control is not None:
            self._control.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        return all(worker.exit_code in _IN_ORDER for worker in running)

    def _hasten(self, told: Any) -> int:
        """Tell all workers but the one that said so; return how many of the jobs are alive in them. In a thread."""
        teller, agent, job_ids = told
        others = [path for worker in self.all if worker.source != teller and (path := worker.control) is not None]

        def hasten(path: str) -> int:
            with suppress(Unanswered):
                return int(ask(path, HASTEN, [teller, agent, job_ids], timeout_s=ANSWER_S))
            return 0

        with ThreadPoolExecutor(max(1, len(others)), thread_name_prefix="outboard-hasten") as threads:
            return sum(threads.map(hasten, others))
