"""A platform with an HTTP API of pages: one call tells of up to 100 jobs, and it allows so many calls in a second.

`bench/peers/flytekit_paged.py` is the same platform as a flytekit connector; both talk to `bench/peers/paged_platform.py`.
The agent is what an author would write: a client, a quota with the platform's own number, and `get_many`. Jobs exist at the
platform by their number, so that `create` has nothing to ask.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from noop import NoopConfig

from outboard.agent import (
    NONE,
    AccountContext,
    AsyncAgent,
    Connection,
    Context,
    Http,
    JobRef,
    Key,
    Link,
    Missing,
    Named,
    Phase,
    Platform,
    Quotas,
    Rate,
    Secrets,
    Settings,
    StateMap,
    Status,
    Task,
    TaskType,
    succeeded,
)
from outboard.errors import AgentError


class PagedSettings(Settings):
    """Where the platform is."""

    endpoint: str


class PagedJob(JobRef):
    """Its number."""


class PagedClient:
    """The platform's API, as far as statuses go."""

    def __init__(self, http: Http, endpoint: str) -> None:
        self._http = http
        self._endpoint = endpoint

    async def states(self, ids: Sequence[str], timeout_s: float) -> Mapping[str, str]:
        """Return the states of up to 100 jobs by their ids."""
        answer = await self._http.get(
            f"{self._endpoint}/jobs", method="jobs.list", params={"ids": ",".join(ids)}, timeout_s=timeout_s
        )
        states: Mapping[str, str] = answer.json()
        return states


class PagedAgent(AsyncAgent[NoopConfig, PagedJob, PagedClient]):
    """Follows jobs by pages."""

    name = "paged"
    task_types = (TaskType("paged"),)
    submission = Named()
    outputs = NONE
    batch_size = 100
    states = StateMap(
        {"RUNNING": Phase.RUNNING, "DONE": succeeded()},
        documented=frozenset({"RUNNING", "DONE"}),
        source="bench/peers/paged_platform.py",
    )

    def __init__(self, platform: Platform[Connection, PagedClient]) -> None:
        super().__init__(platform)
        self._numbers = itertools.count()

    async def create(self, task: Task[NoopConfig], ctx: Context[PagedClient]) -> PagedJob:  # noqa: ARG002 - a no-op
        return PagedJob(id=f"{next(self._numbers):08d}")

    async def get_many(
        self, jobs: Sequence[PagedJob], ctx: AccountContext[PagedClient]
    ) -> Mapping[str, Status | Missing | AgentError]:
        states = await ctx.client.states([job.id for job in jobs], ctx.timeout_s)
        return {name: Status(state=state, message="running") for name, state in states.items()}

    async def find(self, task: Task[NoopConfig], key: Key, ctx: Context[PagedClient]) -> Sequence[PagedJob]:  # noqa: ARG002 - a no-op
        return ()

    async def cancel(self, job: PagedJob, ctx: Context[PagedClient]) -> None:
        pass

    def links(self, job: PagedJob, connection: Any) -> Sequence[Link]:  # noqa: ARG002 - a no-op
        return (Link(name="Console", url=f"https://console.example.com/jobs/{job.id}"),)


class Unlimited(Platform[Connection, PagedClient]):
    """The platform without a quota."""

    name = "paged"
    settings_model = PagedSettings

    def agents(self) -> Sequence[PagedAgent]:
        return (PagedAgent(self),)

    @asynccontextmanager
    async def open(self, connection: Connection, secrets: Secrets, http: Http) -> AsyncIterator[PagedClient]:  # noqa: ARG002 - it has one door
        assert isinstance(self.settings, PagedSettings)  # noqa: S101 - narrows for the type checker
        yield PagedClient(http, self.settings.endpoint)


class Metered(Unlimited):
    """The platform with its quota: 10 calls per second."""

    name = "paged"
    quotas = Quotas({"jobs.list": Rate(per_second=10, burst=10, source="bench/peers/paged_platform.py")})
