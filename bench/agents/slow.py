"""A platform whose SDK blocks for 200 ms per call: asked job by job, and by pages of 100.

`bench/peers/flytekit_slow.py` is the same as a flytekit connector. Every call appends a byte per job to the tally, so that its
length is the number of states that the platform told, whoever asked.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from noop import NoopConfig

from outboard.agent import (
    NONE,
    AccountContext,
    BlockingAgent,
    Connection,
    Context,
    JobRef,
    Missing,
    Named,
    Phase,
    Platform,
    Settings,
    StateMap,
    Status,
    Task,
    TaskType,
)
from outboard.errors import AgentError

CALL_S = 0.2


class SlowSettings(Settings):
    """Where the states that were told are counted."""

    tally: Path


class SlowJob(JobRef):
    """A number."""


class _SlowAgent(BlockingAgent[NoopConfig, SlowJob, None], abstract=True):
    submission = Named()
    outputs = NONE
    states = StateMap({"RUNNING": Phase.RUNNING}, documented=frozenset({"RUNNING"}), source="bench/agents/slow.py")

    def __init__(self, platform: Slow) -> None:
        super().__init__(platform)
        self._numbers = itertools.count(1)
        self._tally = os.open(platform.tally, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)

    def create(self, task: Task[NoopConfig], ctx: Context[None]) -> SlowJob:  # noqa: ARG002 - a no-op
        return SlowJob(id=f"job-{next(self._numbers):08d}")

    def cancel(self, job: SlowJob, ctx: Context[None]) -> None:
        pass

    def _call(self, jobs: int) -> None:
        os.write(self._tally, b"." * jobs)
        time.sleep(CALL_S)


class SlowByJob(_SlowAgent):
    """One call per job."""

    name = "slow-by-job"
    task_types = (TaskType("slow_by_job"),)

    def get(self, job: SlowJob, ctx: Context[None]) -> Status:  # noqa: ARG002 - every job runs
        self._call(1)
        return Status(state="RUNNING", message="running")


class SlowByPage(_SlowAgent):
    """One call per hundred jobs."""

    name = "slow-by-page"
    task_types = (TaskType("slow_by_page"),)
    batch_size = 100

    def get_many(
        self,
        jobs: Sequence[SlowJob],
        ctx: AccountContext[None],  # noqa: ARG002 - every job runs
    ) -> Mapping[str, Status | Missing | AgentError]:
        self._call(len(jobs))
        return {job.id: Status(state="RUNNING", message="running") for job in jobs}


class Slow(Platform[Connection, None]):
    """The platform."""

    name = "slow"
    settings_model = SlowSettings

    @property
    def tally(self) -> Path:
        """The file whose length counts the states that were told."""
        assert isinstance(self.settings, SlowSettings)  # noqa: S101 - narrows for the type checker
        return self.settings.tally

    def agents(self) -> Sequence[_SlowAgent]:
        return (SlowByJob(self), SlowByPage(self))
