"""Submissions: a request becomes a job, and the job a handle.

One flight per key and process, shielded from the caller's cancellation and bounded by the submission limit. Across
processes it is the platform that tells a repeated request from a new one, by the key that the agent passes on;
`agent.submission` says for which agents it cannot. CreateTask is answered when the platform has answered: with the
handle, or with what it raised.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from outboard.agent.agents import JobAgent, WatchingAgent
from outboard.agent.jobs import JobRef
from outboard.domain.handles import HandleCodec
from outboard.errors import AgentFault, ContractViolation, HandleError, InvalidTask, OutboardError
from outboard.host.calls import Calls
from outboard.host.flights import Flights
from outboard.host.offloads import fetch_offloaded
from outboard.host.requests import Request
from outboard.host.sensors import SensorMemos
from outboard.host.settings import HostSettings
from outboard.host.stores import Stores
from outboard.host.words import Words


class Submissions:
    """Starts jobs."""

    def __init__(
        self, settings: HostSettings, calls: Calls, codec: HandleCodec, memos: SensorMemos, stores: Stores, words: Words
    ) -> None:
        self._limit_s = settings.submission_limit.total_seconds()
        self._calls = calls
        self._codec = codec
        self._memos = memos
        self._stores = stores
        self._words = words
        self._flights: Flights[bytes] = Flights(settings.answer_retention.total_seconds(), settings.remembered)

    @property
    def running(self) -> int:
        """How many submissions are in flight."""
        return self._flights.running

    async def submit(self, request: Request) -> bytes:
        """Return the handle of the request's job, starting it at most once per key."""
        return await self._flights.join(request.key.text, request.fingerprint, lambda: self._fly(request))

    async def drain(self, patience_s: float) -> int:
        """Wait for submissions in flight, at most `patience_s`; return how many still are."""
        return await self._flights.drain(patience_s)

    async def close(self) -> None:
        """Cancel what is still in flight; its outcome is unknown."""
        await self._flights.close()

    async def _fly(self, request: Request) -> bytes:
        try:
            return await self._create(request)
        except OutboardError as error:
            # The caller may be gone; this line is then the only trace.
            kind = type(error).__name__
            request.log.warning("job not started", error=kind, error_id=error.error_id, reason=error.message)
            raise

    async def _create(self, request: Request) -> bytes:
        created_at, started = int(time.time()), time.monotonic()
        if isinstance(request.agent, WatchingAgent):
            handle = await self._memos.remember(request, created_at=created_at, timeout_s=self._limit_s)
            return self._codec.encode(handle)
        if not isinstance(request.agent, JobAgent):
            raise InvalidTask(
                f"task type {request.task.type!r} answers at once; send it by ExecuteTaskSync, not CreateTask",
                field="template.type",
            )
        task = await fetch_offloaded(request.task, self._stores, request.log, self._limit_s)
        request = replace(request, task=task)
        left_s = max(0.001, self._limit_s - (time.monotonic() - started))
        job = _checked_job(request, await self._calls.about_request(request, "create", task, timeout_s=left_s))
        try:
            encoded = self._encode(request, job, created_at)
        except (HandleError, ContractViolation):
            # The job runs, but nobody could ever follow it: stop it rather than forget it.
            await self._stop(request, job)
            raise
        request.log.info("job started", job=job.id, seconds=round(time.monotonic() - started, 3))
        return encoded

    def _encode(self, request: Request, job: JobRef, created_at: int) -> bytes:
        fields = job.to_json()
        if self._words.holds_secret(json.dumps(fields, default=str)):
            raise ContractViolation(
                f"the job of agent {request.agent.name} holds a secret, which would lie in the engine's database"
            )
        handle = request.handle(created_at=created_at, job=fields, job_version=type(job).handle_version)
        return self._codec.encode(handle)

    async def _stop(self, request: Request, job: JobRef) -> None:
        try:
            await self._calls.about_request(request, "cancel", job, timeout_s=self._limit_s)
        except OutboardError as error:
            words = "job left running that nobody follows"
            request.log.error(words, error_id=error.error_id, reason=error.message)  # noqa: TRY400 - no tracebacks


def _checked_job(request: Request, job: Any) -> JobRef:
    expected = request.agent.job_model if isinstance(request.agent, JobAgent) else JobRef
    if not isinstance(job, expected):
        raise AgentFault(
            f"{request.agent.name}.create returned {type(job).__name__}, which cannot be followed; return a {expected.__name__}"
        )
    return job
