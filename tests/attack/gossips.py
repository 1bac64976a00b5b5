"""A platform whose agents tell their secrets wherever they can; for whoever looks for them afterwards."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from outboard.agent import (
    AccountContext,
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
    SyncAgent,
    Task,
    TaskConfig,
    TaskType,
    failed,
    succeeded,
)
from outboard.errors import OutboardError, Rejected, Unavailable

SOURCES = ("env_canary", "file_canary", "override_canary", "vault_canary", "cluster_canary", "provided_canary")
REFS = tuple(SecretRef(name, "gossip") for name in SOURCES)
LOGIN = SecretRef("connection_canary", "gossip")
CALLED = "GOSSIP_CALLED"
"""The variable with the address of whom they call over HTTP."""
MODES = (
    "running",
    "done",
    "broken",
    "rejected",
    "raises",
    "raises in get",
    "unavailable",
    "outputs",
    "handle",
    "lists",
)


class GossipConfig(TaskConfig):
    """How a job behaves."""

    mode: str = "running"


class GossipJob(JobRef):
    """A job and how it behaves."""

    mode: str = "running"


class GossipConnection(Connection):
    """Logs in with a secret."""

    login: SecretRef = LOGIN


def _told(ctx: Context[Login]) -> str:
    """Return all secrets in all the spellings in which they slip out."""
    return _spelled([ctx.client, *(ctx.secrets[ref].get_secret_value() for ref in REFS)])


def _spelled(values: Sequence[str]) -> str:
    spelled = []
    for value in values:
        basic = base64.b64encode(f"user:{value}".encode()).decode()
        spelled += [
            value,
            json.dumps({"v": value}),
            quote(value, safe=""),
            f"Basic {basic}",
            repr([value]),
            value.encode().hex(),
        ]
    return " ".join(spelled)


def _blurted(told: str, log: Any) -> str:
    log.warning(f"as {told}", note=told)  # noqa: G004 - that is how it happens
    logging.getLogger("some.sdk").error("logged in as %s", told)
    print(told)  # noqa: T201 - same
    print(told, file=sys.stderr)  # noqa: T201 - same
    return told


class _Gossips:
    """What both kinds of agents do with what they know."""

    def tell(self, ctx: Context[Login]) -> str:
        """Log and print all secrets, and return them."""
        return _blurted(_told(ctx), ctx.log)


class Login(str):
    """A client that is nothing but its login, and a session to tell it through."""

    __slots__ = ("http",)
    http: Any

    async def tell(self) -> None:
        """Call somebody over HTTP, with the login in everything that a request has."""
        if where := os.environ.get(CALLED):
            told = quote(self, safe="")
            url = where.replace("//", f"//user:{told}@") + f"/{told}"
            with suppress(OutboardError):
                await self.http.get(url, method="tell", params={"token": str(self)}, headers={"X-Token": quote(self)})


class GossipAgent(_Gossips, AsyncAgent[GossipConfig, GossipJob, Login]):
    """Tells its secrets."""

    name = "gossip"
    task_types = (TaskType("gossip"),)
    submission = Named()
    secrets = REFS
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded(), "BROKEN": failed(Failure(code="E42", message="it broke"))},
        documented=frozenset({"RUNNING", "DONE", "BROKEN"}),
        source="this file",
    )

    def connection(self, task: Task[GossipConfig]) -> GossipConnection:
        """Log in as everybody does."""
        return GossipConnection()

    async def create(self, task: Task[GossipConfig], ctx: Context[Login]) -> GossipJob:
        """Start a job, or fail with everything in the message."""
        told = self.tell(ctx)
        await ctx.client.tell()
        match task.config.mode:
            case "rejected":
                raise Rejected(f"{told} may not do this")
            case "raises":
                raise ZeroDivisionError(told) from ValueError(told)
            case "unavailable":
                raise Unavailable(told)
            case "handle":
                return GossipJob(id=f"job-{ctx.client}", mode="running")
        return GossipJob(id=ctx.key.text, mode=task.config.mode)

    async def get(self, job: GossipJob, ctx: Context[Login]) -> Status:
        """Say where a job stands, and more."""
        told = self.tell(ctx)
        await ctx.client.tell()
        if job.mode == "raises in get":
            raise ZeroDivisionError(told)
        state = {"done": "DONE", "outputs": "DONE", "broken": "BROKEN"}.get(job.mode, "RUNNING")
        return Status(
            state=told if job.mode == "lists" else state,
            message=told,
            links=[Link(name=told, url=f"https://example.com/?token={quote(ctx.client)}")],
            custom_info={"told": told, ctx.client: [{"deep": told}]},
            failure=Failure(code=ctx.client, message=told) if state == "BROKEN" else None,
            outputs={"o0": told if job.mode == "outputs" else "fine"} if state == "DONE" else None,
        )

    async def cancel(self, job: GossipJob, ctx: Context[Login]) -> None:
        """Refuse to."""
        raise Unavailable(self.tell(ctx))

    async def logs(self, job: GossipJob, ctx: Context[Login], *, cursor: str | None, limit: int) -> LogPage:
        """Return what the job is said to have written."""
        return LogPage(lines=[LogLine(message=self.tell(ctx))], ended=True)

    async def metrics(
        self, job: GossipJob, ctx: Context[Login], *, names: Sequence[str], start: datetime | None, end: datetime | None
    ) -> Sequence[MetricSeries]:
        """Return a metric with a name that tells."""
        told = self.tell(ctx)
        return [MetricSeries(name=told, points=[(datetime.now(timezone.utc), 1.0)], unit=ctx.client)]


class GossipAnswerer(_Gossips, SyncAgent[GossipConfig, Login]):
    """Tells its secrets at once."""

    name = "gossip answerer"
    task_types = (TaskType("gossip_answerer"),)
    secrets = REFS

    def connection(self, task: Task[GossipConfig]) -> GossipConnection:
        """Log in as everybody does."""
        return GossipConnection()

    async def do(self, task: Task[GossipConfig], ctx: Context[Login]) -> Mapping[str, Any]:
        """Answer with everything, or fail with it."""
        told = self.tell(ctx)
        if task.config.mode == "outputs":
            return {"o0": told}
        raise RuntimeError(told)


class GossipPlatform(Platform[GossipConnection, Login]):
    """Where its clients are what they were opened with, and accounts are called after them."""

    name = "gossips"
    connection_model = GossipConnection

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._account = "account"

    def account(self, connection: GossipConnection) -> str:
        """Return the account."""
        return self._account

    def agents(self) -> Sequence[Any]:
        """Return both."""
        return (GossipAgent(self), GossipAnswerer(self))

    async def ping(self, ctx: AccountContext[Login]) -> str:
        """Answer, and tell what it logs in with."""
        return _blurted(_spelled([ctx.client]), ctx.log)

    @asynccontextmanager
    async def _client(self, login: Login) -> Any:
        yield login

    def open(self, connection: GossipConnection, secrets: Any, http: Any) -> Any:
        """Return a client that is nothing but its login."""
        login = Login(secrets[connection.login].get_secret_value())
        login.http = http
        return self._client(login)
