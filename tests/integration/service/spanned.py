"""A platform over HTTP for tests of tracing: an async agent, and a blocking one that has a client of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import requests

from outboard.agent import (
    AsyncAgent,
    BlockingAgent,
    Connection,
    Context,
    Http,
    JobRef,
    Named,
    Phase,
    Platform,
    SecretRef,
    Secrets,
    StateMap,
    Status,
    Task,
    TaskConfig,
    TaskType,
    succeeded,
)
from outboard.agent.sdk_budgets import spend_with_requests

STATES = StateMap(
    {"RUNNING": Phase.RUNNING, "DONE": succeeded()}, documented=frozenset({"RUNNING", "DONE"}), source="this file"
)
TOKEN = SecretRef(key="spanned_token")


class Login(Connection):
    """As whom."""

    token: SecretRef = TOKEN


class Spec(TaskConfig):
    """What to run."""

    statement: str = ""


class Client:
    """Both ways to talk to the platform."""

    def __init__(self, http: Http, session: requests.Session, token: str) -> None:
        self.http = http
        self.session = session
        self.token = token
        self.url = os.environ["SPANNED_URL"]


class Spanned(Platform[Login, Client]):
    """The platform."""

    name = "spanned"

    @asynccontextmanager
    async def open(self, connection: Login, secrets: Secrets, http: Http) -> AsyncIterator[Client]:
        with requests.Session() as session:
            session.trust_env = False
            spend_with_requests(session, http.budget, lambda request: f"runs/{(request.method or '').lower()}")
            yield Client(http, session, secrets[connection.token].get_secret_value())

    def agents(self) -> Sequence[Any]:
        return (Async(self), Blocking(self))


class _Methods:
    states = STATES

    def connection(self, task: Task[Spec]) -> Login:
        return Login()


class Async(_Methods, AsyncAgent[Spec, JobRef, Client]):
    """Talks through the session that the host gives it."""

    name = "spanned_async"
    submission = Named()
    task_types = (TaskType("spanned_async"),)

    async def create(self, task: Task[Spec], ctx: Context[Client]) -> JobRef:
        url = f"{ctx.client.url}/runs/{ctx.client.token}?token={ctx.client.token}"
        await ctx.client.http.post(url, method="runs/submit", json_body={"sql": task.config.statement})
        ctx.log.info("asked the platform")
        return JobRef(id="7")

    async def get(self, job: JobRef, ctx: Context[Client]) -> Status:
        answer = await ctx.client.http.get(f"{ctx.client.url}/runs/{job.id}", method="runs/get")
        return Status(state=answer.json()["state"])

    async def cancel(self, job: JobRef, ctx: Context[Client]) -> None:
        await ctx.client.http.post(f"{ctx.client.url}/cancel/{job.id}", method="runs/cancel")


class Blocking(_Methods, BlockingAgent[Spec, JobRef, Client]):
    """Talks through `requests`, in threads."""

    name = "spanned_blocking"
    submission = Named()
    task_types = (TaskType("spanned_blocking"),)

    def create(self, task: Task[Spec], ctx: Context[Client]) -> JobRef:
        ctx.client.session.post(f"{ctx.client.url}/runs/new?token={ctx.client.token}", json={}, timeout=10)
        ctx.log.info("asked the platform")
        return JobRef(id="8")

    def get(self, job: JobRef, ctx: Context[Client]) -> Status:
        answer: Mapping[str, Any] = ctx.client.session.get(f"{ctx.client.url}/runs/{job.id}", timeout=10).json()
        return Status(state=answer["state"])

    def cancel(self, job: JobRef, ctx: Context[Client]) -> None:
        ctx.client.session.post(f"{ctx.client.url}/cancel/{job.id}", timeout=10)
