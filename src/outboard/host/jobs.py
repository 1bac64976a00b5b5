"""Live jobs: what this process remembers about a handle.

Nothing here is needed to follow a job: another replica builds the same from the handle. It saves work (decoding,
validating) and keeps what was reported, so that phases never go backwards and terminal answers stay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from outboard.agent.agents import Agent, JobAgent
from outboard.agent.jobs import Connection, JobRef
from outboard.agent.registry import Registry
from outboard.domain.handles import Handle
from outboard.domain.phases import Phase
from outboard.domain.statuses import Link, Status, TaskStatus
from outboard.domain.tasks import Task
from outboard.domain.type_codes import decode_type_codes
from outboard.domain.types import ValueType
from outboard.errors import AgentFault, ForeignHandle, OutboardError, UnreadableHandle
from outboard.host.clients import ClientKey, client_key, secret_refs
from outboard.host.invocation import blamed
from outboard.host.logs import TaskLog, handle_fields
from outboard.host.secrets import BoundSecrets, SecretSource
from outboard.host.unclaimed import UnclaimedJobs
from outboard.host.words import Words

_GENERATION_S: Final = 600.0


@dataclass(slots=True, kw_only=True)
class LiveJob:
    """One handle, decoded, and what was reported for it.

    Attributes:
        encoded: The handle's bytes.
        job: The agent's `JobRef`; None for sensors and intents.
        output_types: The declared outputs; None where the handle had no room for them.
        last: What was reported last, by this process.
        seen: The agent's answer that `last` was derived from.
        fetched: Outputs that were fetched once.
        silent_since: Monotonic time of the first unanswered question of the present silence.
        refused_since: Monotonic time of the first refusal of our credentials in an unbroken row of them.
        missing_since: Monotonic time of the first answer "no such job" of the present absence.
        sightings: How many such answers there were.
        rest_until: Monotonic time before which nothing will change.
        reached: The furthest phase of a live job that was reported; nothing before it follows.
        success: What the platform said of a job that succeeded, while its outputs are not there yet.
        outputs_refused_since: Monotonic time of the first refusal of its outputs.
        output_refusals: How many there were.
        is_billed: What it consumed was counted.
        task: What a sensor pokes with, once it was recalled.
        resolved: The job of an intent, once it is known.
        following: Asks what became of an intent; it may outlast the poll that began it.
        is_cancelling: The platform is stopping the job.
        claim_seen: Who was submitting when this process looked last, and in which turn.
        claim_seen_at: Monotonic time of the first sight of that.
    """

    encoded: bytes
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
    refused_since: float | None = None
    missing_since: float | None = None
    sightings: int = 0
    rest_until: float = 0.0
    reached: Phase | None = None
    success: tuple[Status, TaskStatus] | None = None
    outputs_refused_since: float | None = None
    output_refusals: int = 0
    is_billed: bool = False
    task: Task[Any] | None = None
    flags: set[str] = field(default_factory=set)
    resolved: LiveJob | None = None
    following: asyncio.Task[LiveJob | TaskStatus] | None = None
    is_cancelling: bool = False
    claim_seen: tuple[str, int] | None = None
    claim_seen_at: float = 0.0

    @property
    def fallback(self) -> TaskStatus:
        """What to answer while the platform does not: what was reported last, or where such a task must be."""
        if self.last is not None:
            return self.last
        phase = Phase.INITIALIZING if self.handle.is_intent else Phase.RUNNING
        return TaskStatus(phase=phase, links=self.links)


class LiveJobs:
    """Live jobs by their handles' bytes, in two generations.

    What is asked for moves into the young one. When that is full, or some minutes old, the old one is forgotten: what
    nobody asked for meanwhile has ended, and holds outputs that nobody asks for again. A look-up costs no bookkeeping.

    Args:
        limit: Of one generation.
    """

    def __init__(
        self,
        registry: Registry,
        decode: Callable[[bytes], Handle],
        source: SecretSource,
        words: Words,
        limit: int,
        unclaimed: UnclaimedJobs,
    ) -> None:
        self._words = words
        self._registry = registry
        self._decode = decode
        self._source = source
        self._limit = limit
        self._unclaimed = unclaimed
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
            self._unclaimed.asked(encoded)
            live = self._old.pop(encoded, None) or self._open(encoded, self._decode(encoded))
            self._young[encoded] = live
            self._age()
        return live

    def recall(self, encoded: bytes) -> LiveJob | None:
        """Return the live job of a handle that was asked for lately."""
        return self._young.get(encoded)

    def resolve(self, intent: LiveJob, job: LiveJob) -> None:
        """Let an intent's handle stand for its job from now on."""
        intent.resolved = job
        if job.last is None:
            job.last, job.reached = replace(intent.fallback, links=job.links), Phase.INITIALIZING
        if intent.encoded in self._young:
            self._young[intent.encoded] = job

    def _age(self) -> None:
        now = time.monotonic()
        if len(self._young) >= self._limit or now - self._turned_at > _GENERATION_S:
            self._old, self._young, self._turned_at = self._young, {}, now

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def _open(self, encoded: bytes, handle: Handle) -> LiveJob:
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
            raise UnreadableHandle(
                f"agent {agent.name} of this release cannot read this handle's job; ask a replica of the release that wrote it"
            ) from error
        try:
            output_types = None if handle.output_types is None else decode_type_codes(handle.output_types)
        except ForeignHandle:
            raise UnreadableHandle("this handle declares outputs of a type that this release does not know") from None
        return LiveJob(
            encoded=encoded,
            handle=handle,
            agent=agent,
            job=job,
            connection=connection,
            client_key=client_key(agent.platform, connection, handle.scope),
            secrets=self._source.bind((*agent.secrets, *secret_refs(connection)), handle.scope),
            output_types=output_types,
            links=self._links(agent, job, connection, self._log(handle)),
            log=self._log(handle),
            last=handle.ending.status if handle.ending is not None else None,
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
    if not isinstance(agent, JobAgent) or handle.is_intent or handle.ending is not None:
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
