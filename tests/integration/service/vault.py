"""A platform for the tests of Flyte 2: whoever starts or asks needs its present password, and hears it everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from outboard.agent import (
    AsyncAgent,
    Connection,
    Context,
    Failure,
    JobRef,
    Link,
    LogLine,
    LogPage,
    MetricSeries,
    Named,
    Phase,
    Platform,
    SecretRef,
    Settings,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
    failed,
    succeeded,
)
from outboard.errors import Rejected, Unauthorized, Unavailable

PASSWORD = SecretRef("password")
OUTPUTS = {"zulu": 1, "alpha": 2, "mike": 3}


class VaultConfig(TaskConfig):
    """How a job behaves."""

    mode: str = "run"


class VaultJob(JobRef):
    """A job and how it behaves."""

    mode: str = "run"


class VaultAgent(AsyncAgent[VaultConfig, VaultJob, None]):
    """Tells the password that it was given wherever it can."""

    name = "vault"
    task_types = (TaskType("vault"),)
    submission = Named()
    secrets = (PASSWORD,)
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded(), "BROKEN": failed(Failure(code="E42", message="it broke"))},
        documented=frozenset({"RUNNING", "DONE", "BROKEN"}),
        source="this file",
    )

    def __init__(self, platform: Platform[Connection, None]) -> None:
        super().__init__(platform)
        self.used: list[tuple[str, str]] = []
        self.configs: Mapping[str, str] = {}
        self.extra_keys: set[str] = set()
        self.refused = ""
        """A password that is none any more."""

    def _password(self, method: str, ctx: Context[None]) -> str:
        password = ctx.secrets[PASSWORD].get_secret_value()
        self.used.append((method, password))
        self.configs = ctx.provided.configs
        event = f"{method} as {password}"
        ctx.log.info(event, password=password)
        if password == self.refused:
            raise Unauthorized(f"{password} is old")
        return password

    async def create(self, task: Task[VaultConfig], ctx: Context[None]) -> VaultJob:
        password = self._password("create", ctx)
        self.extra_keys = set(task.config.model_extra or {})
        match task.config.mode:
            case "rejected":
                raise Rejected(f"{password} may not do this")
            case "crashes":
                raise ZeroDivisionError(password)
        return VaultJob(id=ctx.key.text, mode=task.config.mode)

    async def get(self, job: VaultJob, ctx: Context[None]) -> Status:
        password = self._password("get", ctx)
        match job.mode:
            case "done":
                return Status(state="DONE", outputs={name: OUTPUTS[name] for name in sorted(OUTPUTS)})
            case "broken":
                return Status(state="BROKEN", message=f"{password} did not help")
            case "crashes in get":
                raise ZeroDivisionError(password)
        return Status(
            state="RUNNING",
            message=f"as {password}",
            links=[Link(name="Console", url=f"https://vault.example.com/?token={password}")],
            custom_info={"password": password},
        )

    async def cancel(self, job: VaultJob, ctx: Context[None]) -> None:
        password = self._password("cancel", ctx)
        if job.mode == "cannot be cancelled":
            raise Unavailable(f"not now, {password}")

    async def logs(self, job: VaultJob, ctx: Context[None], *, cursor: str | None, limit: int) -> LogPage:
        return LogPage(lines=[LogLine(message=f"logged in as {self._password('logs', ctx)}")], ended=True)

    async def metrics(
        self, job: VaultJob, ctx: Context[None], *, names: Sequence[str], start: datetime | None, end: datetime | None
    ) -> Sequence[MetricSeries]:
        self._password("metrics", ctx)
        return ()


class VaultPlatform(Platform[Connection, None]):
    """Its platform."""

    name = "vaults"

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self.vault = VaultAgent(self)

    def agents(self) -> Sequence[Any]:
        return (self.vault,)
