"""Submissions: a request becomes a job, and the job a handle.

Plain for now: one flight per key and process, shielded from the caller's cancellation and bounded by the submission
limit. `create` awaits the platform; what it raises is classified and answered.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from outboard.agent.agents import JobAgent, WatchingAgent
from outboard.agent.jobs import JobRef
from outboard.domain.handles import HandleCodec
from outboard.errors import AgentFault, ContractViolation, HandleError, OutboardError, Sent, Unauthorized
from outboard.host.calls import Calls
from outboard.host.flights import Flights
from outboard.host.offloads import fetch_offloaded
from outboard.host.requests import Request
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings
from outboard.host.stores import Stores


class Submissions:
    """Starts jobs."""

    def __init__(
        self, settings: HostSettings, calls: Calls, codec: HandleCodec, memos: SensorMemos, stores: Stores
    ) -> None:
        self._limit_s = settings.submission_limit.total_seconds()
        self._calls = calls
        self._codec = codec
        self._memos = memos
        self._stores = stores
        self._flights: Flights[bytes] = Flights(settings.answer_retention.total_seconds(), settings.remembered)

    @property
    def running(self) -> int:
        """How many submissions are in flight."""
        return self._flights.running

    async def submit(self, request: Request) -> bytes:
        """Return the handle of the request's job, starting it at most once per key."""
        return await self._flights.join(request.key.text, request.fingerprint, lambda: self._fly(request))

    async def drain(self) -> None:
        """Wait for submissions in flight; each is bounded by the submission limit."""
        await self._flights.drain()

    async def _fly(self, request: Request) -> bytes:
        try:
            return await self._create(request)
        except OutboardError as error:
            # The caller may be gone; this line is then the only trace.
            request.log.warning("job not started", error=error.code, error_id=error.error_id, reason=error.message)
            raise

    async def _create(self, request: Request) -> bytes:
        started = time.time()
        if isinstance(request.agent, WatchingAgent):
            handle = await self._memos.remember(request, created_at=int(started))
            return self._codec.encode(handle)
        if not isinstance(request.agent, JobAgent):
            raise AgentFault(f"agent {request.agent.name} answers at once; ask it by ExecuteTaskSync")
        request = replace(request, task=await fetch_offloaded(request.task, self._stores, request.log))
        job = await self._create_job(request)
        handle = request.handle(created_at=int(started), job=job.to_json(), job_version=type(job).handle_version)
        try:
            encoded = self._codec.encode(handle)
        except (HandleError, ContractViolation):
            # The job runs, but nobody could ever follow it: stop it rather than forget it.
            await self._calls.about_request(request, "cancel", job, timeout_s=self._limit_s)
            raise
        request.log.info("job started", job=job.id, seconds=round(time.time() - started, 3))
        return encoded

    async def _create_job(self, request: Request) -> JobRef:
        try:
            job = await self._calls.about_request(request, "create", request.task, timeout_s=self._limit_s)
        except Unauthorized as error:
            if error.sent is not Sent.NO:
                raise
            # The credentials may have been rotated since the client was opened: open it anew, once.
            await self._calls.reopen(request.client_key)
            job = await self._calls.about_request(request, "create", request.task, timeout_s=self._limit_s)
        return _checked_job(request, job)


def _checked_job(request: Request, job: Any) -> JobRef:
    expected = request.agent.job_model if isinstance(request.agent, JobAgent) else JobRef
    if not isinstance(job, expected):
        raise AgentFault(
            f"{request.agent.name}.create returned {type(job).__name__}, which cannot be followed; return a {expected.__name__}"
        )
    return job
