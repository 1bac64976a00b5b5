"""A no-op platform that keeps a ledger outside the engine: one line per job it ever started, under its submission key.

The ledger is an append-only file; every line is one write, so what was written is there after a SIGKILL. The platform behaves as
one that names its jobs: a second create under the same name starts nothing and finds the first (`again` in the ledger).
So a lost or repeated submission shows: a job too few, a key too many, or a key that appears twice.

Jobs are over at the first look, except those after number `hold_after`: they run until the file `gate` exists, which lets
the benchmark kill an engine with a known number of jobs in flight.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from outboard.agent import (
    NONE,
    AsyncAgent,
    Connection,
    Context,
    JobRef,
    Key,
    Named,
    Phase,
    Platform,
    Settings,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
    succeeded,
)


class LedgeredSettings(Settings):
    """Where the ledger lies, and which jobs do not end yet."""

    ledger: Path
    gate: Path
    hold_after: int = 1_000_000_000


class LedgeredConfig(TaskConfig):
    """Nothing is needed."""


class LedgeredJob(JobRef):
    """The job's name is the submission key; its number tells whether it is held."""

    number: int


class LedgeredAgent(AsyncAgent[LedgeredConfig, LedgeredJob, None]):
    """Starts jobs that only exist in the ledger."""

    name = "ledgered"
    task_types = (TaskType("ledgered"),)
    submission = Named()
    outputs = NONE
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded()},
        documented=frozenset({"RUNNING", "DONE"}),
        source="bench/agents/ledgered.py",
    )

    def __init__(self, platform: Ledgered) -> None:
        super().__init__(platform)
        self._options = platform.options
        self._file = os.open(self._options.ledger, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
        self._numbers = {key: number for number, key in enumerate(started_keys(self._options.ledger), start=1)}

    async def create(self, task: Task[LedgeredConfig], ctx: Context[None]) -> LedgeredJob:  # noqa: ARG002 - a no-op
        name = ctx.key.name()
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._numbers) + 1
            os.write(self._file, f"started {name}\n".encode())
        else:
            os.write(self._file, f"again {name}\n".encode())
        return LedgeredJob(id=name, number=number)

    async def get(self, job: LedgeredJob, ctx: Context[None]) -> Status:  # noqa: ARG002 - a no-op
        is_held = job.number > self._options.hold_after and not self._options.gate.exists()
        return Status(state="RUNNING" if is_held else "DONE")

    async def find(self, task: Task[LedgeredConfig], key: Key, ctx: Context[None]) -> Sequence[LedgeredJob]:  # noqa: ARG002 - a no-op
        number = self._numbers.get(key.name())
        return () if number is None else (LedgeredJob(id=key.name(), number=number),)

    async def cancel(self, job: LedgeredJob, ctx: Context[None]) -> None:
        pass


class Ledgered(Platform[Connection, None]):
    """The platform; one process at a time uses a ledger."""

    name = "ledgered"
    settings_model = LedgeredSettings

    @property
    def options(self) -> LedgeredSettings:
        """The settings, as what they are."""
        assert isinstance(self.settings, LedgeredSettings)  # noqa: S101 - narrows for the type checker
        return self.settings

    def agents(self) -> Sequence[LedgeredAgent]:
        return (LedgeredAgent(self),)


def started_keys(ledger: Path) -> list[str]:
    """Return the key of every job that was started, in order, with repetitions if there were any."""
    return _keys(ledger, "started")


def repeated_keys(ledger: Path) -> list[str]:
    """Return the key of every create that found its job there already."""
    return _keys(ledger, "again")


def _keys(ledger: Path, word: str) -> list[str]:
    if not ledger.exists():
        return []
    return [line.split()[1] for line in ledger.read_text().splitlines() if line.startswith(f"{word} ")]
