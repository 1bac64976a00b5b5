"""The ledger as a platform in process, for virtual time: a client that is the ledger, and agents of every kind.

Replicas of a service share the platform, not the process: give each its own `LedgerPlatform` over the same `Ledger`
and the same `FaultPlan`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from outboard.agent import FILES, Agent, Context, Http, Platform, Secrets, Task, TaskType
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, SimpleType
from outboard.testing.faults import FaultPlan
from outboard.testing.job_agents import (
    BatchingAgent,
    FindableTokenAgent,
    JobConfig,
    LedgerConnection,
    LedgerJobRef,
    LookupAgent,
    NamedAgent,
    NothingAgent,
    RetryingNothingAgent,
    TokenAgent,
)
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_client import ERRORS, JobApi, LedgerClient
from outboard.testing.ledger_files import JobFiles, Writes

ANSWER: Final = Interface(outputs={"answer": SimpleType.INTEGER})
"""The interface of `sample_task`: success needs an output as proof."""


class LedgerTokenAgent(TokenAgent):
    """`ledger_token`: a token, and no `find`."""

    name = "ledger_token"
    task_types = (TaskType("ledger_token"),)


class LedgerFindableTokenAgent(FindableTokenAgent):
    """`ledger_token_find`: a token and `find`."""

    name = "ledger_token_find"
    task_types = (TaskType("ledger_token_find"),)


class LedgerNamedAgent(NamedAgent):
    """`ledger_named`: the key is the job's name."""

    name = "ledger_named"
    task_types = (TaskType("ledger_named"),)


class LedgerLookupAgent(LookupAgent):
    """`ledger_lookup`: found by label, late where the ledger's rules say so."""

    name = "ledger_lookup"
    task_types = (TaskType("ledger_lookup"),)


class LedgerNothingAgent(NothingAgent):
    """`ledger_nothing`: no way to tell whether a create arrived."""

    name = "ledger_nothing"
    task_types = (TaskType("ledger_nothing"),)


class LedgerRetryingNothingAgent(RetryingNothingAgent):
    """`ledger_nothing_retry`: the same, and a job may run twice."""

    name = "ledger_nothing_retry"
    task_types = (TaskType("ledger_nothing_retry"),)


class LedgerBatchAgent(BatchingAgent):
    """`ledger_batch`: named, and asked for many at a time."""

    name = "ledger_batch"
    task_types = (TaskType("ledger_batch"),)


class LedgerFilesAgent(FindableTokenAgent):
    """`ledger_files`: its jobs write `outputs.pb` or `error.pb`; the platform needs `stores`."""

    name = "ledger_files"
    task_types = (TaskType("ledger_files"),)
    outputs = FILES

    async def create(self, task: Task[JobConfig], ctx: Context[JobApi]) -> LedgerJobRef:
        """Start a job that writes files."""
        config = task.config.model_copy(update={"writes_files": True})
        return await super().create(task.with_config(config), ctx)


LEDGER_AGENTS: Final[Mapping[str, type[Agent]]] = {
    agent.name: agent
    for agent in (
        LedgerTokenAgent,
        LedgerFindableTokenAgent,
        LedgerNamedAgent,
        LedgerLookupAgent,
        LedgerNothingAgent,
        LedgerRetryingNothingAgent,
        LedgerBatchAgent,
        LedgerFilesAgent,
    )
}
"""By name, which is also the task type: what `sample_task` takes as its kind."""


class LedgerPlatform(Platform[LedgerConnection, JobApi]):
    """The ledger's agents in process.

    Args:
        ledger: The platform's jobs; a new one when None.
        faults: Which call meets which fault.
        latency: Of the network, one way.
        stores: Where jobs of `ledger_files` write; the host's own stores for `memory://`.
        agents: Classes to serve instead of all of `LEDGER_AGENTS`.
    """

    name = "ledger"
    errors = ERRORS

    def __init__(
        self,
        ledger: Ledger | None = None,
        faults: FaultPlan | None = None,
        *,
        latency: timedelta = timedelta(0),
        stores: Writes | None = None,
        agents: Sequence[type[Agent]] = (),
    ) -> None:
        super().__init__()
        self.ledger = ledger if ledger is not None else Ledger()
        self.faults = faults if faults is not None else FaultPlan()
        self.latency = latency
        self.stores = stores
        self._classes = tuple(agents) or tuple(LEDGER_AGENTS.values())

    def agents(self) -> Sequence[Agent]:
        """Return the agents."""
        return [agent(self) for agent in self._classes]

    def open(
        self,
        connection: LedgerConnection,
        secrets: Secrets,
        http: Http,  # noqa: ARG002 - there is no network
    ) -> AbstractAsyncContextManager[JobApi]:
        """Return a client of the ledger; its login is looked up as a real client would."""
        return self._open(connection, secrets)

    @asynccontextmanager
    async def _open(self, connection: LedgerConnection, secrets: Secrets) -> AsyncIterator[JobApi]:
        if connection.login is not None:
            secrets[connection.login].get_secret_value()
        files = JobFiles(self.ledger, self.stores) if self.stores is not None else None
        yield LedgerClient(self.ledger, self.faults, self.latency, files)


def sample_task(
    kind: str,
    *,
    execution: str = "exec",
    node: str = "n0",
    attempt: int = 0,
    output_prefix: str | None = None,
    interface: Interface = ANSWER,
    **config: Any,
) -> RawTask:
    """Return a task for one of the kit's agents.

    Args:
        kind: The task type: a name of `LEDGER_AGENTS` or of `rest_agents.REST_AGENTS`.
        execution: Of which execution, with `node` and `attempt`.
        node: Its node.
        attempt: Which attempt, from 0.
        output_prefix: `memory://out/<execution>/<node>/<attempt>` when None.
        interface: Its inputs and outputs; the default is one integer, `answer`.
        config: The fields of `JobConfig`; `outputs` are `{"answer": 42}` unless given.

    >>> sample_task("ledger_named", node="n1", running_s=3).output_prefix
    'memory://out/exec/n1/0'
    """
    identity = ExecutionIdentity(project="p", domain="d", execution=execution, node=node, attempt=attempt)
    prefix = f"memory://out/{execution}/{node}/{attempt}" if output_prefix is None else output_prefix
    return Task(
        type=kind,
        config={"outputs": {"answer": 42}, **config},
        identity=identity,
        output_prefix=prefix,
        interface=interface,
    )
