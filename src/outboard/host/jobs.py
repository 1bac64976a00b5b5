"""Live jobs: what this process remembers about a handle.

Nothing here is needed to follow a job: another replica builds the same from the handle. It saves work (decoding,
validating) and keeps what was reported, so that phases never go backwards and terminal answers stay.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from outboard.agent.agents import Agent, JobAgent
from outboard.agent.jobs import Connection, JobRef
from outboard.agent.registry import Registry
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.phases import Phase
from outboard.domain.statuses import Link, Status, TaskStatus
from outboard.domain.tasks import Task
from outboard.domain.type_codes import decode_type_codes
from outboard.domain.types import ValueType
from outboard.errors import AgentFault, OutboardError, UnreadableHandle
from outboard.host.clients import ClientKey, client_key, secret_refs
from outboard.host.invocation import blamed
from outboard.host.logs import TaskLog, handle_fields
from outboard.host.secrets import BoundSecrets, SecretSource
from outboard.host.words import Words

_GENERATION_S: Final = 600.0


@dataclass(slots=True, kw_only=True)
class LiveJob:
    """One handle, decoded, and what was reported for it.

    Attributes:
        job: The agent's `JobRef`; None for sensors.
        output_types: The declared outputs; None where the handle had no room for them.
        last: What was reported last, by this process.
        seen: The agent's answer that `last` was derived from.
        fetched: Outputs that were fetched once.
        silent_since: Monotonic time of the first unanswered question of the present silence.
        missing_since: Monotonic time of the first answer "no such job" of the present absence.
        rest_until: Monotonic time before which nothing will change.
        before_silence: The phase that silence turned into WAITING_FOR_RESOURCES.
        task: What a sensor pokes with, once it was recalled.
    """

    handle: Handle
    agent: Agent
    job: JobRef | None
    connection: Connection
    client_key: ClientKey
    secrets: BoundSecrets
    output_types: Mapping[str, ValueType] | None
    links: tuple[Link, ...]
    log: TaskLog
    last: TaskStatus | None = None
    seen: Status | None = None
    fetched: Mapping[str, Any] | None = None
    silent_since: float | None = None
    missing_since: float | None = None
    rest_until: float = 0.0
    before_silence: Phase | None = None
    task: Task[Any] | None = None
    flags: set[str] = field(default_factory=set)


class LiveJobs:
    """Live jobs by their handles' bytes, in two generations.

    What is asked for moves into the young one. When that is full, or some minutes old, the old one is forgotten: what
    nobody asked for meanwhile has ended, and holds outputs that nobody asks for again. A look-up costs no bookkeeping.

    Args:
        limit: Of one generation.
    """

    def __init__(self, registry: Registry, codec: HandleCodec, source: SecretSource, words: Words, limit: int) -> None:
        self._words = words
        self._registry = registry
        self._codec = codec
        self._source = source
        self._limit = limit
        self._young: dict[bytes, LiveJob] = {}
        self._old: dict[bytes, LiveJob] = {}
        self._turned_at = time.monotonic()

    def find(self, encoded: bytes) -> LiveJob:
        """Return the live job of a handle.

        Raises:
            ForeignHandle: The bytes are not a handle of ours.
            UnreadableHandle: They are, but this process lacks the format, the key or the agent.
        """
        live = self._young.get(encoded)
        if live is None:
            live = self._old.pop(encoded, None) or self._open(self._codec.decode(encoded))
            self._young[encoded] = live
            self._age()
        return live

    def recall(self, encoded: bytes) -> LiveJob | None:
        """Return the live job of a handle that was asked for lately."""
        return self._young.get(encoded)

    def _age(self) -> None:
        now = time.monotonic()
        if len(self._young) >= self._limit or now - self._turned_at > _GENERATION_S:
            self._old, self._young, self._turned_at = self._young, {}, now

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _open(self, handle: Handle) -> LiveJob:
        agent = self._registry.named(handle.agent)
        if agent is None:
            raise UnreadableHandle(
                f"agent {handle.agent!r} of this handle is not loaded here; load it, or ask another replica"
            )
        try:
            with blamed(agent, "upgrade"):
                connection = agent.platform.connection_model.model_validate(handle.connection)
                job = _job(agent, handle)
        except AgentFault as error:
            if not isinstance(error.__cause__, ValidationError):
                self._log(handle).error("handle not read", error_id=error.error_id, reason=error.message)
            raise UnreadableHandle(
                f"agent {agent.name} of this release cannot read this handle's job; ask a replica of the release that wrote it"
            ) from None
        return LiveJob(
            handle=handle,
            agent=agent,
            job=job,
            connection=connection,
            client_key=client_key(agent.platform, connection, handle.scope),
            secrets=self._source.bind((*agent.secrets, *secret_refs(connection)), handle.scope),
            output_types=None if handle.output_types is None else decode_type_codes(handle.output_types),
            links=self._links(agent, job, connection, self._log(handle)),
            log=self._log(handle),
        )

    def _links(self, agent: Agent, job: JobRef | None, connection: Connection, log: TaskLog) -> tuple[Link, ...]:
        if not isinstance(agent, JobAgent) or job is None:
            return ()
        try:
            with blamed(agent, "links"):
                return self._words.links(list(agent.links(job, connection)))
        except OutboardError as error:  # a link is no reason to lose a job
            log.error("links not made", error_id=error.error_id, reason=error.message)  # noqa: TRY400 - logs hold no tracebacks
            return ()

    def _log(self, handle: Handle) -> TaskLog:
        return TaskLog(self._words.text, **handle_fields(handle))


def _job(agent: Agent, handle: Handle) -> JobRef | None:
    if not isinstance(agent, JobAgent):
        return None
    model = agent.job_model
    if handle.job_version > model.handle_version:
        raise UnreadableHandle(
            f"this handle was written by a newer release of agent {agent.name}; upgrade this replica"
        )
    data = dict(handle.job)
    if handle.job_version < model.handle_version:
        data = model.upgrade(handle.job_version, data)
    return model.model_validate(data)
