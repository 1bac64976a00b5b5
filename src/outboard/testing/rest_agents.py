"""Reference agents over HTTP, against the API of `platform_server`: what the conformance suite tries itself on.

The same kinds as `ledger_agents`, over the host's HTTP session; and one blocking agent over the standard library.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from outboard.agent import (
    Agent,
    BlockingAgent,
    Connection,
    Context,
    Http,
    Key,
    Missing,
    Platform,
    Secrets,
    Settings,
    Status,
    Task,
    TaskType,
    Token,
)
from outboard.testing.job_agents import (
    STATE_MAP,
    BatchingAgent,
    FindableTokenAgent,
    JobConfig,
    LedgerConnection,
    LedgerJobRef,
    LookupAgent,
    NamedAgent,
    NothingAgent,
    TokenAgent,
    connection_fields,
    request_fields,
    status_of,
)
from outboard.testing.ledger import TOKEN_VALID_FOR
from outboard.testing.ledger_client import ERRORS, JobApi
from outboard.testing.ledger_jobs import KEY_LABEL
from outboard.testing.rest_clients import BlockingRestClient, RestClient


class RestSettings(Settings):
    """Where the server is."""

    url: str


class RestConnection(LedgerConnection):
    """Where and as whom; `url` is the server's address."""

    url: str


class RestTokenAgent(TokenAgent):
    """`rest_token`: a token, and no `find`."""

    name = "rest_token"
    task_types = (TaskType("rest_token"),)


class RestFindableTokenAgent(FindableTokenAgent):
    """`rest_token_find`: a token and `find`."""

    name = "rest_token_find"
    task_types = (TaskType("rest_token_find"),)


class RestNamedAgent(NamedAgent):
    """`rest_named`: the key is the job's name."""

    name = "rest_named"
    task_types = (TaskType("rest_named"),)


class RestLookupAgent(LookupAgent):
    """`rest_lookup`: found by label."""

    name = "rest_lookup"
    task_types = (TaskType("rest_lookup"),)


class RestNothingAgent(NothingAgent):
    """`rest_nothing`: no way to tell whether a create arrived."""

    name = "rest_nothing"
    task_types = (TaskType("rest_nothing"),)


class RestBatchAgent(BatchingAgent):
    """`rest_batch`: named, and asked for many at a time."""

    name = "rest_batch"
    task_types = (TaskType("rest_batch"),)


class RestBlockingAgent(BlockingAgent[JobConfig, LedgerJobRef, BlockingRestClient]):
    """`rest_blocking`: a token and `find`, in plain functions."""

    name = "rest_blocking"
    task_types = (TaskType("rest_blocking"),)
    submission = Token(valid_for=TOKEN_VALID_FOR)
    states = STATE_MAP
    poll_interval = timedelta(0)
    pool_size = 4

    def connection(self, task: Task[JobConfig]) -> Connection:
        """Return the server's address with what the task says."""
        fields = {**self.platform.settings.model_dump(), **connection_fields(task.config)}
        return self.platform.connection_model.model_validate(fields)

    def create(self, task: Task[JobConfig], ctx: Context[BlockingRestClient]) -> LedgerJobRef:
        """Start the job, or learn of the one that a lost reply left."""
        fields = request_fields(task, ctx)
        view = ctx.client.create(token=ctx.key.token(), timeout_s=ctx.timeout_s, **fields)
        return LedgerJobRef(id=view.id)

    def get(self, job: LedgerJobRef, ctx: Context[BlockingRestClient]) -> Status | Missing:
        """Return the job's state."""
        view = ctx.client.get(job.id, timeout_s=ctx.timeout_s)
        return Missing() if view is None else status_of(view)

    def cancel(self, job: LedgerJobRef, ctx: Context[BlockingRestClient]) -> None:
        """Ask for its end."""
        ctx.client.cancel(job.id, timeout_s=ctx.timeout_s)

    def find(self, task: Task[JobConfig], key: Key, ctx: Context[BlockingRestClient]) -> Sequence[LedgerJobRef]:  # noqa: ARG002 - the signature is the authoring API's
        """Return the jobs of a key, oldest first."""
        views = ctx.client.find(KEY_LABEL, key.text, timeout_s=ctx.timeout_s)
        return [LedgerJobRef(id=view.id) for view in views]

    def fetch_outputs(self, job: LedgerJobRef, ctx: Context[BlockingRestClient]) -> Mapping[str, Any]:
        """Return its outputs."""
        return ctx.client.fetch(job.id, timeout_s=ctx.timeout_s)


REST_AGENTS: Final[Mapping[str, type[Agent]]] = {
    agent.name: agent
    for agent in (
        RestTokenAgent,
        RestFindableTokenAgent,
        RestNamedAgent,
        RestLookupAgent,
        RestNothingAgent,
        RestBatchAgent,
    )
}
"""By name, which is also the task type; served by `RestPlatform`."""


class RestPlatform(Platform[RestConnection, JobApi]):
    """The asynchronous reference agents: `RestPlatform(RestSettings(url=server.url))`."""

    name = "rest"
    settings_model = RestSettings
    errors = ERRORS

    def agents(self) -> Sequence[Agent]:
        """Return one agent per kind."""
        return [agent(self) for agent in REST_AGENTS.values()]

    def open(self, connection: RestConnection, secrets: Secrets, http: Http) -> AbstractAsyncContextManager[JobApi]:
        """Return a client over the host's session."""
        return self._open(connection, secrets, http)

    @asynccontextmanager
    async def _open(self, connection: RestConnection, secrets: Secrets, http: Http) -> AsyncIterator[JobApi]:
        yield RestClient(connection.url, http, login_of(connection, secrets))


class BlockingRestPlatform(Platform[RestConnection, BlockingRestClient]):
    """The blocking reference agent: `BlockingRestPlatform(RestSettings(url=server.url))`."""

    name = "rest_blocking"
    settings_model = RestSettings
    errors = ERRORS

    def agents(self) -> Sequence[Agent]:
        """Return the agent."""
        return [RestBlockingAgent(self)]

    def open(
        self,
        connection: RestConnection,
        secrets: Secrets,
        http: Http,  # noqa: ARG002 - the client brings its own connections
    ) -> AbstractAsyncContextManager[BlockingRestClient]:
        """Return a client that blocks."""
        return self._open(connection, secrets)

    @asynccontextmanager
    async def _open(self, connection: RestConnection, secrets: Secrets) -> AsyncIterator[BlockingRestClient]:
        yield BlockingRestClient(connection.url, login_of(connection, secrets))


def login_of(connection: LedgerConnection, secrets: Secrets) -> str:
    """Return the secret that a connection refers to; empty without one."""
    return "" if connection.login is None else secrets[connection.login].get_secret_value()
