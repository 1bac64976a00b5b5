"""Agents that share a service: a quiet one whose calls take 5 ms, one that blocks for 3 s in plain functions, as SDKs do,
and one that blocks for 3 s in an `async def`, which is a mistake that authors make.

`bench/peers/flytekit_neighbours.py` are the same as flytekit connectors.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from noop import NoopConfig

from outboard.agent import (
    NONE,
    AsyncAgent,
    BlockingAgent,
    Connection,
    Context,
    JobRef,
    Named,
    Phase,
    Platform,
    StateMap,
    Status,
    Task,
    TaskType,
)

QUIET_S = 0.005
NOISY_S = 3.0
_STATES = StateMap({"RUNNING": Phase.RUNNING}, documented=frozenset({"RUNNING"}), source="bench/agents/neighbours.py")
_NUMBERS = itertools.count(1)


class NeighbourJob(JobRef):
    """A number."""


class _Blocking(BlockingAgent[NoopConfig, NeighbourJob, None], abstract=True):
    submission = Named()
    outputs = NONE
    states = _STATES
    call_s = QUIET_S

    def create(self, task: Task[NoopConfig], ctx: Context[None]) -> NeighbourJob:  # noqa: ARG002 - a no-op
        return NeighbourJob(id=f"job-{next(_NUMBERS):08d}")

    def get(self, job: NeighbourJob, ctx: Context[None]) -> Status:  # noqa: ARG002 - every job runs
        time.sleep(self.call_s)
        return Status(state="RUNNING", message="running")

    def cancel(self, job: NeighbourJob, ctx: Context[None]) -> None:
        pass


class QuietAgent(_Blocking):
    """Asks a platform that answers in 5 ms."""

    name = "quiet"
    task_types = (TaskType("quiet"),)


class NoisyAgent(_Blocking):
    """Asks a platform that answers in 3 s."""

    name = "noisy"
    task_types = (TaskType("noisy"),)
    call_s = NOISY_S


class RudeAgent(AsyncAgent[NoopConfig, NeighbourJob, None]):
    """Blocks the event loop for 3 s per call."""

    name = "rude"
    task_types = (TaskType("rude"),)
    submission = Named()
    outputs = NONE
    states = _STATES

    async def create(self, task: Task[NoopConfig], ctx: Context[None]) -> NeighbourJob:  # noqa: ARG002 - a no-op
        return NeighbourJob(id=f"job-{next(_NUMBERS):08d}")

    async def get(self, job: NeighbourJob, ctx: Context[None]) -> Status:  # noqa: ARG002 - every job runs
        time.sleep(NOISY_S)  # noqa: ASYNC251 - the mistake that is measured
        return Status(state="RUNNING", message="running")

    async def cancel(self, job: NeighbourJob, ctx: Context[None]) -> None:
        pass


class Quiet(Platform[Connection, None]):
    """The quiet agent's platform."""

    name = "quiet"

    def agents(self) -> Sequence[QuietAgent]:
        return (QuietAgent(self),)


class Noisy(Platform[Connection, None]):
    """The noisy agent's platform."""

    name = "noisy"

    def agents(self) -> Sequence[NoisyAgent]:
        return (NoisyAgent(self),)


class Rude(Platform[Connection, None]):
    """The rude agent's platform."""

    name = "rude"

    def agents(self) -> Sequence[RudeAgent]:
        return (RudeAgent(self),)
