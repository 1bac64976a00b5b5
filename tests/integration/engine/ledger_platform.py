"""A platform on disk that keeps a ledger, outside any engine: what was started, found again and cancelled, under which key.

A job is a file named by its submission key; the platform behaves as one that names its jobs, so a second create under a key
finds the first. The task's configuration says how a job goes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from outboard.agent import (
    FILES,
    AsyncAgent,
    Connection,
    Context,
    Failure,
    JobRef,
    Link,
    Named,
    Phase,
    Platform,
    Registry,
    Retry,
    Settings,
    StateMap,
    Status,
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
    failed,
    succeeded,
)
from outboard.domain.statuses import Missing
from outboard.domain.tasks import RawTask
from outboard.errors import Unavailable


class LedgerSettings(Settings):
    root: Path


class JobConfig(TaskConfig):
    """How a job goes.

    `polls` looks until it is over (-1: never); `gate` must exist before, for jobs from number `held_from` on; `attempts`
    holds the end of each attempt;
    `slow_create_s` and `create_errors` trouble the submission; `ignores_cancel` keeps it running.
    """

    polls: int = 0
    gate: str = ""
    held_from: int = 0
    attempts: list[str] = ["DONE"]
    outputs: dict[str, Any] = {}
    slow_create_s: float = 0.0
    create_errors: int = 0
    ignores_cancel: bool = False
    poll_after_s: float = 0.0


class LedgerJob(JobRef):
    pass


STATES = StateMap(
    {
        "RUNNING": Phase.RUNNING,
        "DONE": succeeded(),
        "BROKEN": failed(),
        "LOST": failed(Failure(code="LOST", message="the node went away", retry=Retry.YES)),
        "CANCELLED": failed(),
    },
    documented=frozenset({"RUNNING", "DONE", "BROKEN", "LOST", "CANCELLED"}),
    source="tests/integration/engine/ledger_platform.py",
)


class Ledger:
    """What happened, in files: `events` has one line per event, a job is a file in `jobs`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "jobs").mkdir(parents=True, exist_ok=True)

    def note(self, word: str, key: str) -> None:
        with (self.root / "events").open("a") as events:
            events.write(f"{word} {key}\n")

    def keys(self, word: str) -> list[str]:
        """The keys of all events of a kind, in order."""
        path = self.root / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1] for line in lines if line.startswith(f"{word} ")]

    def create(self, key: str, config: JobConfig, attempt: int) -> None:
        path = self.root / "jobs" / key
        if path.exists():
            self.note("again", key)
            return
        end = config.attempts[min(attempt, len(config.attempts) - 1)]
        gate = config.gate if len(self.keys("started")) >= config.held_from else ""
        path.write_text(json.dumps({**config.model_dump(), "gate": gate, "end": end, "looks": 0}))
        self.note("started", key)

    def look(self, key: str) -> dict[str, Any] | None:
        path = self.root / "jobs" / key
        if not path.exists():
            return None
        job: dict[str, Any] = json.loads(path.read_text())
        job["looks"] += 1
        path.write_text(json.dumps(job))
        return job

    def cancel(self, key: str) -> None:
        self.note("cancelled", key)
        (self.root / "jobs" / f"{key}.cancelled").touch()

    def is_cancelled(self, key: str) -> bool:
        return (self.root / "jobs" / f"{key}.cancelled").exists()

    def alive(self) -> set[str]:
        """The keys of jobs that were started and neither cancelled nor seen at their end."""
        return set(self.keys("started")) - set(self.keys("cancelled")) - set(self.keys("ended"))


class LedgerAgent(AsyncAgent[JobConfig, LedgerJob, None]):
    name = "ledger"
    task_types = (TaskType("ledger"),)
    submission = Named()
    states = STATES

    @property
    def ledger(self) -> Ledger:
        assert isinstance(self.platform, LedgerPlatform)
        return self.platform.ledger

    async def create(self, task: Task[JobConfig], ctx: Context[None]) -> LedgerJob:
        key = ctx.key.name()
        assert ctx.identity is not None
        config = task.config
        self.ledger.note("asked", key)
        if len(self.ledger.keys("asked")) <= config.create_errors:
            raise Unavailable("the platform is restarting")
        await asyncio.sleep(config.slow_create_s)
        self.ledger.create(key, config, ctx.identity.attempt)
        return LedgerJob(id=key)

    def links(self, job: LedgerJob, connection: Any) -> Sequence[Link]:
        return (Link(name="Job", url=f"https://ledger.example/{job.id}"),)

    async def get(self, job: LedgerJob, ctx: Context[None]) -> Status | Missing:
        found = self.ledger.look(job.id)
        if found is None:
            return Missing()
        hint = timedelta(seconds=found["poll_after_s"]) if found["poll_after_s"] else None
        if self.ledger.is_cancelled(job.id) and not found["ignores_cancel"]:
            return Status(state="CANCELLED")
        is_held = found["gate"] and not os.path.exists(found["gate"])  # noqa: ASYNC240, PTH110 - a file is the gate
        if is_held or found["polls"] < 0 or found["looks"] <= found["polls"]:
            return Status(state="RUNNING", message=f"look {found['looks']}", poll_after=hint)
        self.ledger.note("ended", job.id)
        return Status(state=found["end"], outputs=found["outputs"] if found["end"] == "DONE" else None)

    async def cancel(self, job: LedgerJob, ctx: Context[None]) -> None:
        self.ledger.cancel(job.id)


class FileAgent(LedgerAgent):
    """Its jobs write their own files."""

    name = "ledger_files"
    task_types = (TaskType("ledger_files"),)
    outputs = FILES


class AskConfig(TaskConfig):
    slow_s: float = 0.0


class AskAgent(SyncAgent[AskConfig, None]):
    name = "ask"
    task_types = (TaskType("ask"),)

    async def do(self, task: Task[AskConfig], ctx: Context[None]) -> Mapping[str, Any]:
        assert isinstance(self.platform, LedgerPlatform)
        self.platform.ledger.note("done", ctx.key.name())
        await asyncio.sleep(task.config.slow_s)
        return {"answer": task.inputs["question"] * 2}


class LedgerPlatform(Platform[Connection, None]):
    name = "ledger"
    settings_model = LedgerSettings

    def __init__(self, settings: LedgerSettings) -> None:
        super().__init__(settings)
        self.ledger = Ledger(settings.root)

    def agents(self) -> Sequence[Any]:
        return (LedgerAgent(self), FileAgent(self), AskAgent(self))


def registry(root: Path) -> Registry:
    return Registry([LedgerPlatform(LedgerSettings(root=root))])


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def task(task_type: str = "ledger", *, retries: int = 0, timeout_s: float | None = None, **config: Any) -> RawTask:
    timeout = None if timeout_s is None else seconds(timeout_s)
    return Task(type=task_type, config=config, retries=retries, timeout=timeout)


async def until(is_true: Callable[[], object]) -> None:
    """Wait for something that happens outside this event loop, in files."""
    while not is_true():  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(0.01)
