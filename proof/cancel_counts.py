"""What is counted of cancels: what an engine was answered, and what the ledger has when all is over."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.errors import EndpointUnreachable
from outboard.testing.faults import Fault, FaultPlan
from outboard.testing.ledger import LedgerJob
from outboard.testing.replicas import Fleet
from proof.scenarios import Result

MOST_ERRORS: Final = 3


@dataclass(slots=True)
class Counts:
    """What is left of a cell, or of many.

    Attributes:
        after_cancel: Jobs of requests first sent after a DeleteTask was answered with success.
        unmarked: The same, and second jobs, where the record store failed: whoever submits elsewhere cannot know of the
            cancel. They end too.
        worst: The most errors that one DeleteTask handle was answered.
        late: Cancels that reached jobs which were over by themselves.
        resurrected: Late CreateTasks and GetTasks whose answer promises a job that goes on.
        broken: The cells in which the promise was not kept, in words.
    """

    tasks: int = 0
    jobs: int = 0
    second: int = 0
    live: int = 0
    handles: int = 0
    after_cancel: int = 0
    unmarked: int = 0
    worst: int = 0
    late: int = 0
    resurrected: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        faults = (self.second, self.live, self.after_cancel, self.late, self.resurrected)
        return not any(faults) and self.worst <= MOST_ERRORS

    def add(self, other: Counts, cell: str) -> None:
        """Count another cell in."""
        for name in ("tasks", "jobs", "second", "live", "handles", "after_cancel", "unmarked", "late", "resurrected"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.worst = max(self.worst, other.worst)
        if not other.is_kept:
            parts = ("second", "live", "after_cancel", "late", "resurrected", "worst")
            self.broken.append(f"{cell}: " + ", ".join(f"{name} {getattr(other, name)}" for name in parts))

    def row(self, scenario: str, variant: str, seed: int, **notes: Any) -> Result:
        """Return the row of the table."""
        figures = {
            "after_cancel": self.after_cancel,
            "after_unmarked_cancel": self.unmarked,
            "errors_per_delete": self.worst,
            "late_cancels": self.late,
            "resurrected": self.resurrected,
            **notes,
        }
        if self.broken:
            figures |= {"broken": len(self.broken), "first_broken": self.broken[0]}
        return Result(
            scenario=scenario,
            variant=variant,
            tasks=self.tasks,
            jobs=self.jobs,
            second_jobs=self.second,
            live_left=self.live,
            handles=self.handles,
            seed=seed,
            is_kept=self.is_kept,
            notes=figures,
        )


class Watch:
    """An endpoint that notes what every DeleteTask was answered, and the handles of every CreateTask."""

    def __init__(self, fleet: Fleet[Any]) -> None:
        self.fleet = fleet
        self.handles: dict[bytes, RawTask] = {}
        self.errors: Counter[bytes] = Counter()
        self.cancelled_at: dict[str, float] = {}
        """When a DeleteTask was first answered with success, by the task's output prefix."""

    async def create_task(self, task: RawTask, *, timeout_s: float | None = None) -> bytes:
        """Pass it on."""
        handle = await self.fleet.create_task(task, timeout_s=timeout_s)
        self.handles.setdefault(handle, task)
        return handle

    async def get_task(
        self, handle: bytes, *, task_type: TaskType, output_prefix: str = "", timeout_s: float | None = None
    ) -> TaskStatus:
        """Pass it on."""
        return await self.fleet.get_task(handle, task_type=task_type, output_prefix=output_prefix, timeout_s=timeout_s)

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float | None = None) -> None:
        """Pass it on."""
        try:
            await self.fleet.delete_task(handle, task_type=task_type, timeout_s=timeout_s)
        except Exception as error:
            self.errors[handle] += not _is_broken_off(error)
            raise
        self.cancelled_at.setdefault(self.handles[handle].output_prefix, time.time())

    async def list_agents(self) -> Any:
        """Pass it on."""
        return await self.fleet.list_agents()

    async def execute_task(self, task: RawTask, *, timeout_s: float | None = None) -> TaskStatus:
        """Pass it on."""
        return await self.fleet.execute_task(task, timeout_s=timeout_s)

    def task_logs(self, handle: bytes, **options: Any) -> AsyncIterator[Any]:
        """Pass it on."""
        return self.fleet.task_logs(handle, **options)

    async def task_metrics(self, handle: bytes, **options: Any) -> Any:
        """Pass it on."""
        return await self.fleet.task_metrics(handle, **options)

    def after_cancel(self, jobs: Iterable[LedgerJob], sent: Sequence[tuple[float, str]]) -> int:
        """Return how many jobs came of a request that was first sent after their cancel was accepted."""
        late = 0
        for job in jobs:
            cancelled_at = self.cancelled_at.get(job.output_prefix)
            if cancelled_at is not None and job.started_at > cancelled_at:
                late += all(at > cancelled_at for at, about in sent if job.output_prefix in about)
        return late


def _is_broken_off(error: Exception) -> bool:
    """Tell whether a call failed because its replica was killed, rather than by its answer."""
    return isinstance(error, EndpointUnreachable) or "broke the connection" in str(error)


class Requests(FaultPlan):
    """A fault plan that also notes when which create was sent."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.sent: list[tuple[float, str]] = []

    def strike(self, operation: str, about: str | Callable[[], str] = "") -> Fault | None:
        """Note a create, and go on."""
        if operation == "create":
            self.sent.append((time.time(), about if isinstance(about, str) else about()))
        return super().strike(operation, about)
