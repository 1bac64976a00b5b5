"""A stage: one stand-in, two replicas of a service before it, and the engine that drives them; set up per check.

The engine here does what FlytePropeller does and no more: it sends CreateTask again when it heard nothing, polls
until a terminal phase, and sends DeleteTask again when that was answered with an error. Every answer is evidence.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from outboard.agent import Agent, Platform, Registry
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.secret_refs import SecretRef
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError
from outboard.host import Host, HostSettings
from outboard.host.clients import secret_refs
from outboard.host.secret_settings import SecretSettings
from outboard.host.stores import Store
from outboard.testing.conformance.boundary import Boundary
from outboard.testing.conformance.cases import Case, PlatformJob, Site, StandIn
from outboard.testing.conformance.direct import Direct
from outboard.testing.conformance.evidence import RECORDS, Evidence
from outboard.testing.conformance.findings import Broken
from outboard.testing.conformance.replicas import RealFleet
from outboard.testing.conformance.watching import Watch
from outboard.testing.faults import Fault, FaultPlan
from outboard.testing.replicas import Fleet
from outboard.testing.stores import MemoryStores

_SECONDS_OF_AN_ENGINE: Final = 5.0
_CREATES: Final = 6
_DELETES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things may take: generous in virtual time, short in real time.

    Attributes:
        poll_s: Between two polls.
        end_s: Until a quick job has ended, whatever was lost on the way.
        call_s: One call of an engine.
        status_s: One answer about a job.
        margin_s: How late an answer may be: nothing in virtual time, and on a busy machine a while.
        unreachable_s: Silence after which the phase says so.
        settings: The host's, where they differ from its defaults.
    """

    poll_s: float
    end_s: float
    call_s: float
    status_s: float
    margin_s: float
    unreachable_s: float
    settings: dict[str, Any]


VIRTUAL: Final = Pace(
    poll_s=2.0, end_s=7200.0, call_s=10.0, status_s=2.0, margin_s=1.0, unreachable_s=300.0, settings={}
)
REAL: Final = Pace(
    poll_s=0.1,
    end_s=45.0,
    call_s=3.0,
    status_s=0.5,
    margin_s=4.0,
    unreachable_s=1.0,
    settings={
        "submission_limit": timedelta(seconds=4),
        "status_limit": timedelta(seconds=0.5),
        "status_wait": timedelta(seconds=0.5),
        "status_call_limit": timedelta(seconds=0.5),
        "answer_retention": timedelta(seconds=2),
        "cancel_wait": timedelta(seconds=0.5),
        "unreachable_after": timedelta(seconds=1),
        "unauthorized_after": timedelta(seconds=1),
    },
)


class Stage:
    """What a check works with.

    Attributes:
        case: The case.
        stand_in: The platform.
        agent: The agent under check, as the first replica has it, not instrumented.
        boundary: Between hosts and agents.
        faults: The plan that decides about faults, wherever they strike.
        direct: Calls the agent's methods one by one.
        fleet: The replicas.
        pace: How long things may take.
        evidence: What was seen.
        store: Where outputs and records lie.
        settings: The hosts'.
    """

    def __init__(self, case: Case, stand_in: StandIn, site: Site, evidence: Evidence, watch: Watch) -> None:
        self.case = case
        self.stand_in = stand_in
        self.site = site
        self.evidence = evidence
        self.pace = VIRTUAL if case.is_virtual else REAL
        self.is_at_boundary = stand_in.faults is None
        self.faults = stand_in.faults if stand_in.faults is not None else FaultPlan()
        own = self.faults if self.is_at_boundary else None
        self.boundary = Boundary(own, stand_in.lost_reply, evidence, watch)
        self.store: Store = stand_in.stores if stand_in.stores is not None else site.stores
        self.agent = _agent_of(case, stand_in.platform())
        self.settings = self._host_settings()
        self.direct = Direct(self._registry(lambda: None), self.settings)
        self.fleet: Fleet[Host] | RealFleet = (
            Fleet(2, lambda: self.make_host(lambda: None)) if case.is_virtual else RealFleet(2, self.make_host)
        )
        self._before: frozenset[str] = frozenset()

    @classmethod
    @asynccontextmanager
    async def open(cls, case: Case, evidence: Evidence, watch: Watch) -> AsyncIterator[Stage]:
        """Set a stage up, and take it down again."""
        with tempfile.TemporaryDirectory(prefix="outboard-check-", ignore_cleanup_errors=True) as folder:
            site = Site(folder=Path(folder), stores=MemoryStores())
            async with case.stand_in(site) as stand_in:
                stage = cls(case, stand_in, site, evidence, watch)
                stage._before = frozenset(job.id for job in await stage.all_jobs())
                try:
                    async with stage.direct:
                        yield stage
                finally:
                    await stage._close()

    def make_host(self, die_now: Callable[[], None]) -> Host:
        """Return a host over the stage's platform; `die_now` takes its replica out of service."""
        return Host(self._registry(die_now), self.settings, stores=self.store)

    def task(self, kind: RawTask, *, node: str = "n0", attempt: int = 0) -> RawTask:
        """Return one of the stand-in's tasks as an engine sends it."""
        identity = ExecutionIdentity(
            project="checks", domain="development", execution="f7conformance", node=node, attempt=attempt
        )
        prefix = f"{self.stand_in.prefix}/checks-development-f7conformance/{node}/data/{attempt}"
        return replace(kind, identity=identity, output_prefix=prefix)

    def break_next(self, operation: str, fault: Fault, *, times: int | None = 1) -> None:
        """Let the next calls of an operation meet a fault."""
        self.faults.add(fault, self.planned(operation), times=times)

    def planned(self, operation: str) -> str:
        """Return what the plan calls an operation."""
        return self.stand_in.operations.get(operation, operation)

    def has_met(self, operation: str) -> int:
        """Return how many calls of an operation met a fault so far."""
        return sum(struck.operation == self.planned(operation) for struck in self.faults.struck)

    @property
    def status_operation(self) -> str:
        """The operation by which the agent asks for the state of jobs."""
        return "get_many" if getattr(self.agent, "is_batching", False) else "get"

    async def all_jobs(self) -> list[PlatformJob]:
        """Return the jobs that were started on this stage."""
        if self.stand_in.jobs is None:
            return []
        found = self.stand_in.jobs()
        jobs = list(await found if inspect.isawaitable(found) else found)
        return [job for job in jobs if job.id not in self._before]

    async def live_jobs(self) -> list[PlatformJob]:
        """Return those that are not over."""
        return [job for job in await self.all_jobs() if job.is_live]

    async def create(self, task: RawTask) -> bytes:
        """Send CreateTask until it is answered, as an engine does whose calls got lost; return the handle."""
        for _ in range(_CREATES):
            try:
                handle = await self.fleet.create_task(task, timeout_s=self.pace.call_s)
            except OutboardError as error:
                self.evidence.see_error(error)
                last = error
                await asyncio.sleep(self.pace.poll_s)
            else:
                self.evidence.see_handle(handle)
                return handle
        raise Broken(
            f"CreateTask was answered with an error each time, at last: {last.message}",
            "make `connection` and the configuration model accept the case's task, and let `create` raise no AgentFault",
        )

    async def poll(self, handle: bytes, task: RawTask) -> TaskStatus:
        """Send GetTask; once more where the replica that was asked died of it."""
        alive = self._alive()
        try:
            status = await self.fleet.get_task(
                handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=self.pace.call_s
            )
        except OutboardError as error:
            if self._alive() < alive:
                return await self.poll(handle, task)
            self.evidence.see_error(error)
            raise Broken(
                f"GetTask was answered with an error: {error.message}",
                "let `get` return within ctx.timeout_s; an async method must not catch CancelledError",
            ) from None
        self.evidence.see("a status", status)
        return status

    async def follow(self, handle: bytes, task: RawTask, *, within_s: float | None = None) -> TaskStatus:
        """Poll until a terminal phase."""
        give_up = time.monotonic() + (self.pace.end_s if within_s is None else within_s)
        for pause_s in self._pauses_s():
            status = await self.poll(handle, task)
            if status.phase.is_terminal:
                return status
            if time.monotonic() > give_up:
                raise Broken(
                    f"the task did not end; it is {status.phase.value}, the platform says {status.state or 'nothing'!r}: "
                    f"{status.message or 'no message'}",
                    "let `get` return a Status with the platform's own state as the StateMap spells it, or Missing()",
                )
            await asyncio.sleep(pause_s)
        raise AssertionError  # the pauses have no end

    async def await_job(self, handle: bytes, task: RawTask) -> TaskStatus:
        """Poll until the platform has said something of the job."""
        give_up = time.monotonic() + self.pace.end_s
        status = await self.poll(handle, task)
        while not status.state and not status.phase.is_terminal and time.monotonic() < give_up:
            await asyncio.sleep(self.pace.poll_s)
            status = await self.poll(handle, task)
        return status

    async def delete(self, handle: bytes, task: RawTask) -> int:
        """Send DeleteTask until it is answered without an error; return how many errors there were."""
        for errors in range(_DELETES):
            try:
                await self.fleet.delete_task(handle, task_type=task.task_type, timeout_s=self.pace.call_s)
            except OutboardError as error:
                self.evidence.see_error(error)
                await asyncio.sleep(self.pace.poll_s)
            else:
                return errors
        return _DELETES

    async def all_ended(self, within_s: float) -> list[PlatformJob]:
        """Wait until no job lives; return those that still do."""
        give_up = time.monotonic() + within_s
        for pause_s in self._pauses_s():
            living = await self.live_jobs()
            if not living or time.monotonic() > give_up:
                return living
            await asyncio.sleep(pause_s)
        raise AssertionError  # as above

    async def forget_records(self) -> None:
        """Let the store lose all submission records."""
        if isinstance(self.store, MemoryStores):
            for uri in self.store.uris():
                if RECORDS in uri:
                    await self.store.delete(uri)
        for path in self.site.folder.rglob("*"):
            if RECORDS in str(path) and path.is_file():
                path.unlink()

    def _pauses_s(self) -> Iterator[float]:
        """Return the pauses between polls: longer and longer, since most of what is waited for comes soon."""
        pause_s = self.pace.poll_s
        while True:
            yield pause_s
            pause_s = min(pause_s * 1.3, self.pace.poll_s * 10)

    def _alive(self) -> int:
        """Return how many replicas live; those of real time die in their creates only."""
        return sum(replica.is_alive for replica in self.fleet.replicas) if isinstance(self.fleet, Fleet) else 0

    async def _close(self) -> None:
        self.evidence.see_records(self.store, self.site.folder)
        self.faults.clear()
        self.boundary.release()
        if isinstance(self.fleet, RealFleet):
            await self.fleet.close()
        else:
            for replica in self.fleet.replicas:
                await replica.terminate()

    def _registry(self, die_now: Callable[[], None]) -> Registry:
        platform = copy.copy(self.stand_in.platform())
        agents = [self.boundary.instrument(agent, die_now) for agent in platform.agents()]
        platform.agents = lambda: agents  # type: ignore[method-assign]  # a copy of the author's object, for this stage
        platform.needs = {}  # type: ignore[misc]  # as below; a case says what it requires
        platform.withheld = dict  # type: ignore[method-assign]
        return Registry([platform])

    def _host_settings(self) -> HostSettings:
        refs = {*self.agent.secrets}
        for kind in (self.stand_in.quick, self.stand_in.long, self.stand_in.failing):
            if kind is not None:
                refs.update(_connection_refs(self.agent, self.task(kind)))
        self.evidence.is_offered = self.evidence.is_offered or bool(refs)
        value = SecretStr(self.evidence.canary)
        overrides = {f"{ref.group}/{ref.key}" if ref.group else ref.key: value for ref in refs}
        secrets = SecretSettings(overrides=overrides)
        return HostSettings(installation="conformance", secrets=secrets, **self.pace.settings)


def _agent_of(case: Case, platform: Platform[Any, Any]) -> Agent:
    for agent in platform.agents():
        if isinstance(agent, case.agent):
            return agent
    raise Broken(
        f"{platform.name}.agents() has no {case.agent.__name__}", "build the agent in `agents()` of its platform"
    )


def _connection_refs(agent: Agent, task: RawTask) -> list[SecretRef]:
    config = agent.model_for(task.version).model_validate({**task.settings, **task.config})
    return secret_refs(agent.connection(task.with_config(config)))
