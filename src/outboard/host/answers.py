"""Answers of sync agents.

`do` runs once per key, shielded from its caller, and its answer is kept for repeated requests. What it needs first (inputs, a
client, secrets) is waited for as long as a caller waits: behind one who was answered, it neither begins nor begins again. Once
a task was found to be well formed, ExecuteTaskSync answers a terminal phase, half a second before the deadline if it must:
FlytePropeller loses a worker for good over anything else. An error of the platform becomes a failed answer with the right
retry verdict, never an RPC error, which would cost the user an attempt.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from outboard.agent.agents import AnsweringAgent
from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Failure, Status, TaskStatus
from outboard.errors import Actor, InvalidTask, OutboardError, Retry, Sent, TaskError, Throttled, Unavailable
from outboard.host.calls import Calls
from outboard.host.flights import Flights
from outboard.host.offloads import fetch_offloaded
from outboard.host.outputs import Outputs, failed_status
from outboard.host.requests import Request
from outboard.host.settings import HostSettings
from outboard.host.stores import Store
from outboard.host.words import Words

_MARGIN_S: Final = 0.5
_BEGINNING_SHARE: Final = 0.9
"""Of a caller's patience: what has not begun by then is not begun, and the rest is for telling why."""
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0
_KEPT_BYTES: Final = 64 * 1024 * 1024


class Answers:
    """Asks sync agents."""

    def __init__(self, settings: HostSettings, calls: Calls, outputs: Outputs, stores: Store, words: Words) -> None:
        self._calls = calls
        self._outputs = outputs
        self._stores = stores
        self._words = words
        self._flights: Flights[TaskStatus] = Flights(
            settings.answer_retention.total_seconds(), settings.remembered, heaviest=_KEPT_BYTES, weigh=outputs.weigh
        )

    async def answer(self, request: Request, timeout_s: float | None) -> TaskStatus:
        """Return the terminal status of a sync task."""
        agent = request.agent
        if not isinstance(agent, AnsweringAgent):
            raise InvalidTask(
                f"task type {request.task.type!r} starts a job; send it by CreateTask, not ExecuteTaskSync",
                field="template.type",
            )
        limit_s = agent.timeout.total_seconds()
        patience_s = limit_s if timeout_s is None else max(0.0, min(limit_s, timeout_s - min(_MARGIN_S, timeout_s / 4)))
        flight = self._flights.join(
            request.key.text,
            request.fingerprint,
            lambda: self._do(request, agent, limit_s),
            patience_s * _BEGINNING_SHARE,
        )
        try:
            return await asyncio.wait_for(flight, patience_s)
        except (asyncio.TimeoutError, TimeoutError):
            retry = Retry.YES if agent.repeatable else Retry.NEVER
            words = f"agent {agent.name} did not answer within {patience_s:.1f} s; raise the engine's ExecuteTaskSync timeout"
            return failed_status(
                Failure(code="DeadlineExceeded", message=words, retry=retry, cause=Cause.PLATFORM),
                TaskStatus(phase=Phase.FAILED),
            )
        except TaskError:
            raise
        except OutboardError as error:
            kind = type(error).__name__
            request.log.warning("not answered", error=kind, error_id=error.error_id, reason=error.message)
            return self.refusal(request, error)

    def recall(self, key: str) -> TaskStatus | None:
        """Return an answer that was given lately."""
        return self._flights.recall(key)

    async def drain(self, patience_s: float) -> int:
        """Wait for answers in flight, at most `patience_s`; return how many still are."""
        return await self._flights.drain(patience_s)

    async def close(self) -> None:
        """Cancel what is still in flight."""
        await self._flights.close()

    async def _do(self, request: Request, agent: AnsweringAgent[Any, Any], limit_s: float) -> TaskStatus:
        give_up, key = time.monotonic() + limit_s, request.key.text
        pause_s = _FIRST_PAUSE_S
        task = await fetch_offloaded(request.task, self._stores, request.log, self._flights.wanted_s(key))
        while True:
            left_s = max(0.001, give_up - time.monotonic())
            try:
                outputs = await self._calls.about_request(
                    request, "do", task, timeout_s=left_s, begins_within_s=self._flights.wanted_s(key)
                )
                break
            except (Throttled, Unavailable) as error:
                if not (agent.repeatable or error.sent is Sent.NO):
                    raise
                wait_s = error.retry_after.total_seconds() if error.retry_after else pause_s
                if wait_s >= min(give_up - time.monotonic(), self._flights.wanted_s(key)):
                    raise
                await asyncio.sleep(wait_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        if isinstance(outputs, Status):
            return await self._told(outputs, task.output_prefix)
        types = task.interface.outputs
        outputs = {} if outputs is None else outputs
        succeeded = TaskStatus(phase=Phase.SUCCEEDED)
        return await self._outputs.settle(outputs, types, task.output_prefix, succeeded, task.provided)

    async def _told(self, status: Status, prefix: str) -> TaskStatus:
        """Return the end that a hosted agent tells in more than outputs, which are passed on as they are."""
        words = self._words
        succeeded = TaskStatus(
            phase=Phase.SUCCEEDED,
            message=words.text(status.message),
            links=tuple(words.links(status.links)),
            custom_info=words.facts(status.custom_info, status.usage),
        )
        if status.failure is not None:
            return failed_status(words.failure(status.failure), succeeded)
        return (
            succeeded if status.outputs is None else await self._outputs.settle(status.outputs, None, prefix, succeeded)
        )

    def refusal(self, request: Request, error: OutboardError) -> TaskStatus:
        """Return the end of a task that an agent refused to answer, or could not."""
        is_safe = getattr(request.agent, "repeatable", False) or getattr(error, "sent", Sent.NO) is Sent.NO
        retry = error.retry if is_safe else Retry.NEVER
        cause = Cause.USER if error.actor is Actor.USER else Cause.PLATFORM
        words = f"{self._words.text(error.message, 1000)} (error id {error.error_id})"
        failure = Failure(code=error.code, message=words, retry=retry, cause=cause)
        return failed_status(self._words.failure(failure), TaskStatus(phase=Phase.FAILED))
