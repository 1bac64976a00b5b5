"""Plans: tasks made complete under ids of their own, and written down before any of them is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from outboard.domain.tasks import RawTask
from outboard.engine.journal import OwnedRun, PlannedTask
from outboard.engine.settings import EngineSettings
from outboard.engine.specs import TaskSpec, absolute_base
from outboard.errors import InvalidTask, TaskError

_PLANNED_AT_ONCE: Final = 1_000


class Plans:
    """The plans of one run.

    Args:
        run_id: Also the name of the execution.
        settings: The engine's.
        owned: The run in the journal; None without one.
    """

    def __init__(self, run_id: str, settings: EngineSettings, owned: OwnedRun | None) -> None:
        self._run_id = run_id
        self._settings = settings
        self._owned = owned
        self._base = absolute_base(settings.output_base)
        self._ids: set[str] = set()

    def know(self, task_id: str) -> None:
        """Take note of an id that an earlier engine gave."""
        self._ids.add(task_id)

    def complete(self, tasks: Sequence[RawTask], task_ids: Sequence[str] | None) -> list[TaskSpec]:
        """Return tasks as specifications, each under an id of its own.

        Raises:
            InvalidTask: Two tasks of the run would have one id.
        """
        specs = []
        for index, task in enumerate(tasks):
            task_id = task_ids[index] if task_ids is not None else self._new_id(task)
            if task_id in self._ids:
                raise InvalidTask(
                    f"two tasks of run {self._run_id} are called '{task_id}': give each its own id", field="id"
                )
            self._ids.add(task_id)
            specs.append(
                TaskSpec.complete(
                    task,
                    task_id=task_id,
                    execution=self._run_id,
                    base=self._base,
                    project=self._settings.project,
                    domain=self._settings.domain,
                )
            )
        return specs

    def _new_id(self, task: RawTask) -> str:
        node = task.identity.node
        if node and node not in self._ids:
            return node
        number = len(self._ids)
        while f"n{number}" in self._ids:
            number += 1
        return f"n{number}"

    async def write(self, specs: Sequence[TaskSpec]) -> dict[str, TaskError]:
        """Write plans down; return what is wrong with tasks that cannot even be written, by id.

        Raises:
            JournalUnwritable: The journal cannot be written.
        """
        unwritable: dict[str, TaskError] = {}
        if self._owned is None:
            return unwritable
        plans: list[PlannedTask] = []
        for number, spec in enumerate(specs):
            try:
                plans.append(spec.to_plan())
            except TaskError as error:
                unwritable[spec.task_id] = error
                plans.append(PlannedTask(task_id=spec.task_id, spec=b""))  # it ends at once; a list of the run shows it
            if number % _PLANNED_AT_ONCE == _PLANNED_AT_ONCE - 1:
                await asyncio.sleep(0)  # tasks already under way must not wait for ten thousand encodings
        await self._owned.plan(plans)
        return unwritable
