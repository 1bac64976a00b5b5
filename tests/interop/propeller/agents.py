"""Outboard's side of the scenarios: the test kit's agents over HTTP, and what they lack for an engine's sake.

`outboard serve --agents interop.propeller.agents:EnginePlatform`. Beside the kit's submission kinds: a job that writes
files, one whose queue Flyte calls INITIALIZING, a task type in two versions, and an agent that answers at once. That one
starts a job too, so that the ledger counts what was done.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from outboard.agent import (
    FILES,
    Agent,
    Context,
    Phase,
    StateMap,
    SyncAgent,
    Task,
    TaskType,
    cancelling,
    failed,
    succeeded,
)
from outboard.errors import Rejected
from outboard.testing.job_agents import JobConfig, LedgerJobRef, TokenAgent, connection_fields, request_fields
from outboard.testing.ledger_client import JobApi
from outboard.testing.ledger_jobs import CANCELLED, CANCELLING, FAILED, LOST, QUEUED, RUNNING, STATES, SUCCEEDED
from outboard.testing.rest_agents import RestPlatform


class FilesAgent(TokenAgent):
    """`rest_files`: its jobs write their outputs as files."""

    name = "rest_files"
    task_types = (TaskType("rest_files"),)
    outputs = FILES

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        """Start a job that writes files."""
        config = task.config.model_copy(update={"writes_files": True})
        return await super().create(task.with_config(config), ctx)


class StartingAgent(TokenAgent):
    """`rest_starting`: what waits in the platform's queue is INITIALIZING."""

    name = "rest_starting"
    task_types = (TaskType("rest_starting"),)
    states = StateMap(
        {
            QUEUED: Phase.INITIALIZING,
            RUNNING: Phase.RUNNING,
            CANCELLING: cancelling(),
            SUCCEEDED: succeeded(),
            FAILED: failed(),
            LOST: failed(),
            CANCELLED: failed(),
        },
        documented=STATES,
        source="outboard.testing.ledger_jobs",
    )


class VersionedAgent(TokenAgent):
    """`rest_versions`: one task type in two versions."""

    name = "rest_versions"
    task_types = (TaskType("rest_versions"), TaskType("rest_versions", 1))


class AnswerAgent(SyncAgent[JobConfig, JobApi]):
    """`rest_answer`: starts a job that is over at once and answers with its outputs."""

    name = "rest_answer"
    task_types = (TaskType("rest_answer"),)

    def connection(self, task: Task[JobConfig]) -> Any:
        """Return the platform's address."""
        fields = {**self.platform.settings.model_dump(), **connection_fields(task.config)}
        return self.platform.connection_model.model_validate(fields)

    async def do(self, task: Task[JobConfig], ctx: Context[JobApi]) -> Mapping[str, Any]:
        """Return the outputs of the task's configuration."""
        await ctx.client.create(**request_fields(task, ctx))
        if task.config.outcome == FAILED:
            raise Rejected(task.config.message)
        return task.config.outputs or {}


class EnginePlatform(RestPlatform):
    """The kit's platform with these agents beside its own; the one that `INTEROP_ONLY` names, where it names one."""

    name = "engine"

    def agents(self) -> Sequence[Agent]:
        """Return one agent per kind."""
        more = (FilesAgent, StartingAgent, VersionedAgent, AnswerAgent)
        only = os.environ.get("INTEROP_ONLY", "")
        every = [*super().agents(), *(agent(self) for agent in more)]
        return [agent for agent in every if only in {"", agent.name}]
