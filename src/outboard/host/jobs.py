"""Live jobs: what this process remembers about a handle.

Nothing here is needed to follow a job: another replica builds the same from the handle. It saves work (decoding,
validating) and keeps what was reported, so that phases never go backwards and terminal answers stay.

A process may follow 100,000 jobs, so an entry is small: what many jobs share (agent, connection, client) is their
*site*, made once, and what is seldom needed (the decoded handle, its log fields) is read from the handle's bytes again,
of which the last few are kept. An entry goes ten minutes after its last poll. When there is no room the one goes, of the
oldest some, that was asked for longest ago.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import ormsgpack

from outboard.agent.agents import Agent, JobAgent
from outboard.agent.jobs import Connection, JobRef
from outboard.agent.registry import Registry
from outboard.domain.handles import Handle
from outboard.domain.identity import Scope
from outboard.domain.phases import Phase
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.statuses import Link, Status, TaskStatus
from outboard.domain.tasks import Task
from outboard.domain.type_codes import decode_type_codes
from outboard.domain.types import ValueType
from outboard.errors import AgentFault, ForeignHandle, OutboardError, UnreadableHandle
from outboard.host.clients import ClientKey, client_key, secret_refs
from outboard.host.invocation import blamed
from outboard.host.logs import LateLog, TaskLog, handle_fields
from outboard.host.secrets import BoundSecrets, SecretSource
from outboard.host.submissions.unclaimed import UnclaimedJobs
from outboard.host.words import Words

if TYPE_CHECKING:
    from outboard.host.statuses.lanes import Lane, News

_REMEMBERED_S: Final = 600.0
_SWEEP_S: Final = 60.0
_SWEPT_AT_ONCE: Final = 5_000
_COMPARED: Final = 64
_DECODED: Final = 512
_AWAITED: Final = 4_096
_FIELD_NAMES: Final[dict[frozenset[str], set[str]]] = {}


class Site:
    """Where and on whose behalf jobs run: what all jobs of one agent, connection and scope share.

    Attributes:
        account: What the platform counts quota by.
        lane: Where their questions are asked; made with the first.
    """

    __slots__ = (
        "__weakref__", "account", "agent", "client_key", "connection", "jobs", "lane", "scope", "secrets",
    )  # fmt: skip

    def __init__(
        self, jobs: LiveJobs, agent: Agent, connection: Connection, scope: Scope, account: str, secrets: BoundSecrets
    ) -> None:
        self.jobs = jobs
        self.agent = agent
        self.connection = connection
        self.scope = scope
        self.account = account
        self.secrets = secrets
        self.client_key: ClientKey = client_key(agent.platform, connection, scope, secrets.provided, secrets.tenant)
        self.lane: Lane | None = None


@dataclass(slots=True, eq=False)
class Success:
    """A job that succeeded, and whose outputs are not there yet.

    Attributes:
        status: What the platform said.
        derived: What will be reported, but for the outputs.
        ending: Fetches and checks those.
        fetched: What was fetched once.
        refused_since: The first refusal of the outputs, in monotonic time.
        refusals: How many there were.
    """

    status: Status
    derived: TaskStatus
    ending: asyncio.Task[None] | None = None
    fetched: Mapping[str, Any] | None = None
    refused_since: float | None = None
    refusals: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class LiveJob:
    """One handle, and what was reported for it. Times are monotonic.

    Attributes:
        encoded: The handle's bytes.
        intent: Those of the intent that stands for this job, where the engine holds one.
        job: The agent's `JobRef`; None for sensors and intents.
        last: What was reported last, by this process.
        seen: The agent's answer that `last` was derived from.
        opened_at: When this process saw it first.
        touched_at: When it was asked for last.
        polled_at: When an engine polled it last.
        rest_until: Before this nothing will change, or is worth a question.
        fresh_until: Before this a poll is answered from memory.
        is_asked: A question about it is under way.
        news: What polls that wait for the answer wait for.
        silent_since: The first unanswered question of the present silence.
        refused_since: The first refusal of our credentials in an unbroken row of them.
        missing_since: The first answer "no such job" of the present absence.
        sightings: How many such answers there were.
        reached: The furthest phase of a live job that was reported; nothing before it follows.
        success: That the job succeeded, while its outputs are not there yet.
        is_billed: What it consumed was counted.
        task: What a sensor pokes with, once it was recalled.
        flags: Unknown states that were told.
        resolved: The job of an intent, once it is known.
        following: Asks what became of an intent; it may outlast the poll that began it.
        is_cancelling: The platform is stopping the job.
        claim_seen: Who was submitting when this process looked last, and in which turn.
        claim_seen_at: The first sight of that.
    """

    encoded: bytes
    site: Site
    job: JobRef | None
    is_intent: bool
    links: tuple[Link, ...]
    opened_at: float
    touched_at: float
    intent: bytes | None = None
    last: TaskStatus | None = None
    seen: Status | None = None
    polled_at: float = 0.0
    rest_until: float = 0.0
    fresh_until: float = 0.0
    is_asked: bool = False
    news: News | None = None
    silent_since: float | None = None
    refused_since: float | None = None
    missing_since: float | None = None
    sightings: int = 0
    reached: Phase | None = None
    success: Success | None = None
    is_billed: bool = False
    task: Task[Any] | None = None
    flags: set[str] | None = None
    resolved: LiveJob | None = None
    following: asyncio.Task[LiveJob | TaskStatus] | None = None
    is_cancelling: bool = False
    claim_seen: tuple[str, int] | None = None
    claim_seen_at: float = 0.0

    @property
    def agent(self) -> Agent:
        """Whose job it is."""
        return self.site.agent

    @property
    def connection(self) -> Connection:
        """Where it runs."""
        return self.site.connection

    @property
    def client_key(self) -> ClientKey:
        """What finds the client to ask with."""
        return self.site.client_key

    @property
    def secrets(self) -> BoundSecrets:
        """The declared secrets."""
        return self.site.secrets

    @property
    def handle(self) -> Handle:
        """What the bytes say."""
        return self.site.jobs.decoded(self.encoded)

    @property
    def output_types(self) -> Mapping[str, ValueType] | None:
        """The declared outputs; None where the handle had no room for them."""
        codes = self.handle.output_types
        return None if codes is None else decode_type_codes(codes)

    @property
    def log(self) -> TaskLog:
        """A logger with the job's identity."""
        return self.site.jobs.log_of(self)

    @property
    def fallback(self) -> TaskStatus:
        """What to answer while the platform does not: what was reported last, or where such a task must be."""
        if self.last is not None:
            return self.last
        phase = Phase.INITIALIZING if self.is_intent else Phase.RUNNING
        return TaskStatus(phase=phase, links=self.links)

    def report(self) -> TaskStatus:
        """Return what a poll is told; from now on no phase before it is."""
        if self.last is None:
            self.tell(self.fallback)
        return self.fallback

    @property
    def has_ended(self) -> bool:
        """Whether a terminal status was reported; nothing changes it."""
        return self.last is not None and self.last.phase.is_terminal

    def tell(self, observed: TaskStatus) -> None:
        """Keep what is reported from now on; terminal answers are final."""
        last = self.last
        if last is not None and (last.phase.is_terminal or observed is last or observed == last):
            return
        self.last = observed
        if observed.phase.is_terminal:
            self.seen = self.success = self.task = self.flags = None
        elif observed.phase is not Phase.WAITING_FOR_RESOURCES:
            self.reached = observed.phase


class LiveJobs:
    """Live jobs by their handles' bytes.

    Args:
        limit: How many are remembered.
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
        self._jobs: dict[bytes, LiveJob] = {}
        self._sites: WeakValueDictionary[tuple[str, bytes, Scope, str, str, str], Site] = WeakValueDictionary()
        self._provided: dict[bytes, Provided] = {}
        self._decoded: dict[bytes, Handle] = {}
        self._by_id: dict[tuple[str, str], list[LiveJob]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def find(self, encoded: bytes) -> LiveJob:
        """Return the live job of a handle.

        Raises:
            ForeignHandle: The bytes are not a handle of ours.
            UnreadableHandle: They are, but this process lacks the format, the key or the agent.
        """
        live = self._jobs.get(encoded)
        if live is None:
            self._unclaimed.asked(encoded)
            provided = self._provided.pop(
                encoded, NOTHING
            )  # first: what comes with bytes that are no handle is not kept
            live = self._open(encoded, self._decode(encoded), provided)
            self._jobs[encoded] = live
            self._index(live)
            self._make_room()
        else:
            live.touched_at = time.monotonic()
        return live

    def provide(self, encoded: bytes, provided: Provided) -> None:
        """Use from now on, for the job of a handle, what an engine provided with its latest request.

        Nothing changes where it provided nothing: log requests, and what this process asks by itself, have the last it had.
        """
        if not provided:
            return
        live = self._jobs.get(encoded)
        if live is None:  # the answer of a create, or the request that `find` comes for next
            self._provided.pop(encoded, None)
            self._provided[encoded] = provided
            if len(self._provided) > _AWAITED:
                del self._provided[next(iter(self._provided))]
        elif live.secrets.provided != provided:
            self._rehome(live, provided)

    def lend(self, one: LiveJob, other: LiveJob, *, is_newer: bool = False) -> None:
        """Use what an engine provided for one handle of a job for another one of it.

        Args:
            one: What it was provided for.
            other: What lacks it.
            is_newer: It also takes the place of what the other has.
        """
        provided = one.secrets.provided
        if provided and provided != other.secrets.provided and (is_newer or not other.secrets.provided):
            self._rehome(other, provided)

    def recall(self, encoded: bytes) -> LiveJob | None:
        """Return the live job of a handle that was asked for lately."""
        return self._jobs.get(encoded)

    def named(self, agent: str, job_id: str) -> Sequence[LiveJob]:
        """Return the live jobs of an agent that takes callbacks, by the platform's id."""
        return self._by_id.get((agent, job_id), ())

    def decoded(self, encoded: bytes) -> Handle:
        """Return the handle in bytes that were opened before."""
        handle = self._decoded.get(encoded)
        if handle is None:
            handle = self._keep(encoded, self._decode(encoded))
        return handle

    def log_of(self, live: LiveJob) -> TaskLog:
        """Return a logger with a job's identity, which is read when something is logged."""
        return LateLog(self._words.text, lambda: handle_fields(live.handle))

    def resolve(self, intent: LiveJob, job: LiveJob) -> None:
        """Let an intent's handle stand for its job from now on."""
        intent.resolved = job
        self.lend(intent, job)
        if job.last is None:
            job.last, job.reached = replace(intent.fallback, links=job.links), Phase.INITIALIZING
        if intent.encoded in self._jobs:
            job.intent = intent.encoded
            self._jobs[intent.encoded] = job

    def close(self) -> None:
        """Stop looking for what nobody asks for."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[LiveJob]:
        return iter(self._jobs.values())

    def _make_room(self) -> None:
        if len(self._jobs) > self._limit:
            oldest = itertools.islice(self._jobs.items(), _COMPARED)
            self._forget(min(oldest, key=lambda item: item[1].touched_at)[0])
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep, [])

    def _sweep(self, left: list[bytes]) -> None:
        """Forget whom nobody asked for in ten minutes, some jobs at a time; `left` are those to look at yet."""
        self._sweeper = None
        before = time.monotonic() - _REMEMBERED_S
        left = left or list(self._jobs)
        for encoded in left[:_SWEPT_AT_ONCE]:
            live = self._jobs.get(encoded)
            if live is not None and live.touched_at < before:
                self._forget(encoded)
        del left[:_SWEPT_AT_ONCE]
        if self._jobs:  # otherwise the next job starts another sweeper
            self._sweeper = asyncio.get_running_loop().call_later(0.0 if left else _SWEEP_S, self._sweep, left)

    def _forget(self, encoded: bytes) -> None:
        live = self._jobs[encoded]
        for key in (encoded, live.encoded, live.intent):
            if key is not None:
                self._jobs.pop(key, None)
                self._decoded.pop(key, None)
        if live.site.lane is not None:
            live.site.lane.forget(live)
        if live.job is not None and (named := self._by_id.get((live.agent.name, live.job.id))):
            named[:] = [other for other in named if other is not live]
            if not named:
                del self._by_id[live.agent.name, live.job.id]

    def _index(self, live: LiveJob) -> None:
        if live.job is not None and isinstance(live.agent, JobAgent) and live.agent.callbacks is not None:
            self._by_id.setdefault((live.agent.name, live.job.id), []).append(live)

    def _keep(self, encoded: bytes, handle: Handle) -> Handle:
        if len(self._decoded) >= _DECODED:
            del self._decoded[next(iter(self._decoded))]
        self._decoded[encoded] = handle
        return handle

    def _rehome(self, live: LiveJob, provided: Provided) -> None:
        if live.site.lane is not None:
            live.site.lane.forget(live)
        live.site = self._site(live.agent, live.handle, provided)
        # What the platform said, or did not say yet, to whoever had the former ones: they may have been wrong.
        live.rest_until = live.fresh_until = 0.0
        live.is_asked = False
        live.missing_since, live.sightings = None, 0

    def _open(self, encoded: bytes, handle: Handle, provided: Provided) -> LiveJob:
        agent = self._registry.named(handle.agent)
        if agent is None:
            raise UnreadableHandle(
                f"agent {handle.agent!r} of this handle is not loaded here; load it, or ask another replica"
            )
        try:
            with blamed(agent, "upgrade"):
                site = self._site(agent, handle, provided)
                job = _job(agent, handle)
        except AgentFault as error:
            raise UnreadableHandle(
                f"agent {agent.name} of this release cannot read this handle's job; ask a replica of the release that wrote it"
            ) from error
        try:
            if handle.output_types is not None:
                decode_type_codes(handle.output_types)
        except ForeignHandle:
            raise UnreadableHandle("this handle declares outputs of a type that this release does not know") from None
        self._keep(encoded, handle)
        now = time.monotonic()
        return LiveJob(
            encoded=encoded,
            site=site,
            job=job,
            is_intent=handle.is_intent,
            links=self._links(agent, job, site.connection, handle),
            opened_at=now,
            touched_at=now,
            last=handle.ending.status if handle.ending is not None else None,
        )

    def _site(self, agent: Agent, handle: Handle, provided: Provided) -> Site:
        packed = ormsgpack.packb(handle.connection, option=ormsgpack.OPT_SORT_KEYS)
        task_type = handle.task_type if self._source.by_task_type else ""
        key = (agent.name, packed, handle.scope, handle.account, provided.digest(), task_type)
        site = self._sites.get(key)
        if site is None or site.agent is not agent:
            connection = agent.platform.connection_model.model_validate(handle.connection)
            secrets = self._source.bind((*agent.secrets, *secret_refs(connection)), handle.scope, provided, task_type)
            site = self._sites[key] = Site(self, agent, connection, handle.scope, handle.account, secrets)
        return site

    def _links(self, agent: Agent, job: JobRef | None, connection: Connection, handle: Handle) -> tuple[Link, ...]:
        if not isinstance(agent, JobAgent) or job is None:
            return ()
        try:
            with blamed(agent, "links"):
                return self._words.links(list(agent.links(job, connection)))
        except OutboardError as error:  # a link is no reason to lose a job
            log = TaskLog(self._words.text, **handle_fields(handle))
            log.error("links not made", error_id=error.error_id, reason=error.message)  # noqa: TRY400 - logs hold no tracebacks
            return ()


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
    job = model.model_validate(data)
    # pydantic keeps a set of field names with every model, larger than most jobs; frozen models may share theirs.
    names = job.model_fields_set
    object.__setattr__(job, "__pydantic_fields_set__", _FIELD_NAMES.setdefault(frozenset(names), names))
    return job
