"""A life cycle for emulators that have none.

Emulators of warehouses run a query before they answer the call that starts it: nothing is ever pending, nothing can be
cancelled, and a second job of the same id is one more job. `LifecycleProxy` stands in front of one and gives each job the
life that the real platform would: pending and running for a time or a number of polls, a cancel that ends it, a refusal
where its id is taken. What it answers about a job that has come to its end is the emulator's own answer, so results,
schemas and errors are real. Faults (429, 500, replies that are lost) strike as in `FaultProxy`.

How a platform writes its jobs is a `JobShape`; the proxy knows only which operation a request is:

    operations = {"create": "POST /jobs", "get": "GET /jobs/*", "cancel": "POST /jobs/*/cancel", "get_many": "GET /jobs"}
    async with LifecycleProxy(emulator_url, operations, Shape(), Life(running=Stay(polls=3))) as proxy: ...

What it cannot undo: the emulator has done a job's work by the time that the job is pending here, also when it is cancelled later.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from outboard.testing.conformance.proxy import FaultProxy
from outboard.testing.faults import FaultPlan
from outboard.testing.platform_clock import platform_time

PENDING: Final = "pending"
RUNNING: Final = "running"
CANCELLED: Final = "cancelled"
ENDED: Final = "ended"

_OK_BELOW: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """How long a job stays in a state: so many seconds and so many polls, whichever is over later.

    Attributes:
        seconds: None is for ever.
        polls: Questions about the job that are still answered with this state.
    """

    seconds: float | None = 0.0
    polls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How a job goes."""

    pending: Stay = field(default_factory=Stay)
    running: Stay = field(default_factory=Stay)
    cancelling: Stay = field(default_factory=Stay)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as shapes read it.

    Attributes:
        document: Its body as JSON; None where there is none.
    """

    method: str
    path: str
    query: Mapping[str, str]
    document: Any


class ProxiedJob:
    """A job that was started through the proxy.

    Attributes:
        id: As the shape names it.
        asked: The request that started it.
        started_at: `time.time()`.
        polls: How often it was asked about.
        cancelled_at: When its cancel was accepted; None before.
        final: The emulator's answer about its end, as the create got it.
    """

    def __init__(self, job_id: str, asked: Asked, life: Life, final: Any) -> None:
        self.id = job_id
        self.asked = asked
        self.started_at = platform_time()
        self.polls = 0
        self.cancelled_at: float | None = None
        self.final = final
        self._life = life
        self._polls_at_cancel = 0

    @property
    def state(self) -> str:
        """Where it stands now: `pending`, `running`, `cancelled` or `ended`."""
        age, life = platform_time() - self.started_at, self._life
        if self.cancelled_at is not None:
            since, polls = platform_time() - self.cancelled_at, self.polls - self._polls_at_cancel
            return CANCELLED if _is_over(life.cancelling, since, polls) else RUNNING
        if not _is_over(life.pending, age, self.polls):
            return PENDING
        age -= life.pending.seconds or 0.0
        return ENDED if _is_over(life.running, age, self.polls - life.pending.polls) else RUNNING

    @property
    def is_live(self) -> bool:
        """Whether it is neither cancelled nor ended."""
        return self.state in (PENDING, RUNNING)

    def cancel(self) -> None:
        """Accept a cancel; nothing where it is over, or was cancelled before."""
        if self.is_live and self.cancelled_at is None:
            self.cancelled_at, self._polls_at_cancel = platform_time(), self.polls


class JobShape(ABC):
    """How a platform writes jobs. Documents are JSON values; those given may be changed and returned."""

    def chosen_id(self, asked: Asked) -> str:  # noqa: ARG002 - platforms that choose ids themselves need nothing
        """Return the id that a create chooses; empty where the platform chooses it."""
        return ""

    @abstractmethod
    def started_id(self, asked: Asked, answer: Any) -> str:
        """Return the id of the job that a create started; empty where it started none."""

    @abstractmethod
    def asked_id(self, asked: Asked) -> str:
        """Return the id of the job that a question or a cancel is about."""

    @abstractmethod
    def shown(self, job: ProxiedJob, state: str, answer: Any) -> Any:
        """Return what the platform answers about a job in `state`, from the emulator's answer about its end."""

    @abstractmethod
    def duplicate(self, asked: Asked, job: ProxiedJob) -> web.Response:
        """Return the refusal of a create whose id is taken; or the first job's answer, for platforms that give that."""

    @abstractmethod
    def cancel_answer(self, job: ProxiedJob) -> web.Response:
        """Return the answer to a cancel that was accepted."""

    def listed(self, asked: Asked, jobs: Mapping[str, ProxiedJob], answer: Any) -> Any:  # noqa: ARG002 - see below
        """Return a listing with each job as it stands; the emulator's own where the platform has none."""
        return answer

    def list_query(self, asked: Asked) -> Mapping[str, str] | None:  # noqa: ARG002 - see below
        """Return what to ask the emulator instead, where filters would hide jobs that are over there only; None: the same."""
        return None


class LifecycleProxy(FaultProxy):
    """Forwards to an emulator, and gives its jobs a life.

    Args:
        target_url: Where the emulator is.
        operations: As `FaultProxy`; `create`, `get`, `get_many` and `cancel` are about jobs, all others pass.
        shape: How the platform writes jobs.
        life: How jobs go; or a function that tells it from the request.
        faults: Which request meets which fault.

    Attributes:
        jobs: Those that were started, by id.
        duplicates: How many creates were refused since their id was taken.
    """

    def __init__(
        self,
        target_url: str,
        operations: Mapping[str, str],
        shape: JobShape,
        life: Life | Callable[[Asked], Life] | None = None,
        faults: FaultPlan | None = None,
    ) -> None:
        super().__init__(target_url, operations, faults)
        self.jobs: dict[str, ProxiedJob] = {}
        self.duplicates = 0
        self._shape = shape
        self._life = life if life is not None else Life()
        self._starting: dict[str, asyncio.Lock] = {}

    async def _forward(self, request: web.Request, path: str | None = None) -> web.StreamResponse:
        asked = Asked(
            method=request.method, path=request.path, query=request.query, document=_json_of(await request.read())
        )
        match self._operation_of(request):
            case "create":
                return await self._begin(request, asked)
            case "get":
                return await self._show(request, asked)
            case "get_many":
                return await self._show_many(request, asked)
            case "cancel" if (job := self.jobs.get(self._shape.asked_id(asked))) is not None:
                job.cancel()
                return self._shape.cancel_answer(job)
        return await super()._forward(request, path)

    async def _begin(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        chosen = self._shape.chosen_id(asked)
        if not chosen:
            return await self._start_job(request, asked)
        async with self._starting.setdefault(chosen, asyncio.Lock()):  # of two at once, the second finds the first
            known = self.jobs.get(chosen)
            if known is None:
                return await self._start_job(request, asked)
        self.duplicates += 1
        return self._shape.duplicate(asked, known)

    async def _start_job(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        answer = await super()._forward(request)
        document = _document_of(answer)
        job_id = self._shape.started_id(asked, document) if document is not None else ""
        if not job_id:
            return answer
        life = self._life(asked) if callable(self._life) else self._life
        job = self.jobs[job_id] = ProxiedJob(job_id, asked, life, document)
        return web.json_response(self._shape.shown(job, job.state, document), status=answer.status)

    async def _show(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        answer = await super()._forward(request)
        job, document = self.jobs.get(self._shape.asked_id(asked)), _document_of(answer)
        if job is None or document is None:
            return answer
        state = job.state
        job.polls += 1
        return web.json_response(self._shape.shown(job, state, document), status=answer.status)

    async def _show_many(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        query = self._shape.list_query(asked)
        path = None if query is None else str(request.rel_url.with_query(query))
        answer = await super()._forward(request, path)
        document = _document_of(answer)
        if document is None:
            return answer
        shown = self._shape.listed(asked, self.jobs, document)
        for job in self.jobs.values():
            job.polls += 1
        return web.json_response(shown, status=answer.status)


def _is_over(stay: Stay, age_s: float, polls: int) -> bool:
    return stay.seconds is not None and age_s >= stay.seconds and polls >= stay.polls


def _document_of(answer: web.StreamResponse) -> Any:
    body = answer.body if isinstance(answer, web.Response) else None
    return _json_of(body) if isinstance(body, bytes) and answer.status < _OK_BELOW else None


def _json_of(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
