"""Outboard's side: the test kit's agents over HTTP, and what Flyte 2 needs beside them.

`outboard serve --agents interop.flyte2.agents:Flyte2Platform`. `echo` answers a task's inputs as its outputs, so that every
type travels both ways through the service's own values; `rest_answer` starts a job that the ledger counts; jobs of
`rest_files` write their outputs as files. `echo` and `rest_answer` are sync agents, which Flyte 2 has no service for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outboard.agent import FILES, Agent, Connection, Context, SyncAgent, Task, TaskType
from outboard.errors import Rejected
from outboard.testing.job_agents import JobConfig, LedgerJobRef, TokenAgent, connection_fields, request_fields
from outboard.testing.ledger_client import JobApi
from outboard.testing.ledger_jobs import FAILED
from outboard.testing.rest_agents import RestPlatform


class FilesAgent(TokenAgent):
    """`rest_files`: its jobs write `outputs.pb` at their output prefix."""

    name = "rest_files"
    task_types = (TaskType("rest_files"),)
    outputs = FILES

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        """Start a job that writes files."""
        return await super().create(task.with_config(task.config.model_copy(update={"writes_files": True})), ctx)


class AnsweringAgent(SyncAgent[JobConfig, JobApi], abstract=True):
    """A sync agent of the platform."""

    def connection(self, task: Task[JobConfig]) -> Connection:
        """Return the platform's address."""
        fields = {**self.platform.settings.model_dump(), **connection_fields(task.config)}
        return self.platform.connection_model.model_validate(fields)


class AnswerAgent(AnsweringAgent):
    """`rest_answer`: starts a job and answers with the outputs of its configuration."""

    name = "rest_answer"
    task_types = (TaskType("rest_answer"),)

    async def do(self, task: Task[JobConfig], ctx: Context[JobApi]) -> Mapping[str, Any]:
        """Return the outputs, or the platform's words."""
        await ctx.client.create(**request_fields(task, ctx))
        if task.config.outcome == FAILED:
            raise Rejected(task.config.message)
        return task.config.outputs or {}


class EchoAgent(AnsweringAgent):
    """`echo`: answers each input as the output of the same name."""

    name = "echo"
    task_types = (TaskType("echo"),)

    async def do(self, task: Task[JobConfig], ctx: Context[JobApi]) -> Mapping[str, Any]:
        """Return the inputs."""
        return dict(task.inputs)


class Flyte2Platform(RestPlatform):
    """The kit's platform with these agents beside its own."""

    name = "flyte2"

    def agents(self) -> Sequence[Agent]:
        """Return one agent per kind."""
        return [*super().agents(), *(agent(self) for agent in (FilesAgent, AnswerAgent, EchoAgent))]
