"""Statuses as the bytes of answers. Nothing that harms an engine gets past here.

* An answer that cannot be written (an output that fits no type) or that no Go client would take (beyond 3.5 MiB) becomes
  FAILED with the reason. An error instead would be counted by FlytePropeller, which then stops polling and waits for ever.
* A sync task's answer is terminal: anything else costs FlytePropeller a polling worker for good.

Bytes that were written once are kept by `polls`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from flyteidl.admin import agent_pb2

from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Failure, TaskStatus
from outboard.errors import InvalidOutputs
from outboard.host.logs import TaskLog
from outboard.service.dialects import FLYTE1, written
from outboard.wire.statuses import encode_status


class Answers:
    """Writes statuses as answers of GetTask and ExecuteTaskSync.

    Args:
        limit_bytes: The largest answer.
        write_polled: Writes the answer of GetTask, as the engine's version of Flyte reads it.
    """

    __slots__ = ("_limit_bytes", "_write_polled")

    def __init__(self, limit_bytes: int, write_polled: Callable[[TaskStatus], bytes] = FLYTE1.write_status) -> None:
        self._limit_bytes = limit_bytes
        self._write_polled = write_polled

    def polled(self, status: TaskStatus) -> bytes:
        """Return a `GetTaskResponse`."""
        return self._bounded(status, self._write_polled)

    def answered(self, status: TaskStatus, log: TaskLog) -> bytes:
        """Return the `ExecuteTaskSyncResponse` with a terminal status."""
        if not status.phase.is_terminal:
            words = f"the agent of this task answered {status.phase.value}, and a sync agent must answer its end"
            log.error("sync answer without an end", phase=status.phase.value)
            status = _failed(replace(status, outputs=None), "ContractViolation", words)
        return self._bounded(status, _write_answered)

    def _bounded(self, status: TaskStatus, write: Callable[[TaskStatus], bytes]) -> bytes:
        try:
            answer = write(status)
        except InvalidOutputs as error:
            return write(_failed(status, error.code, error.message))
        if len(answer) <= self._limit_bytes:
            return answer
        words = f"the answer would take {len(answer)} bytes of at most {self._limit_bytes}; return large outputs by reference"
        return write(_failed(TaskStatus(phase=status.phase), "AnswerTooLarge", words))


def _write_answered(status: TaskStatus) -> bytes:
    answer = agent_pb2.ExecuteTaskSyncResponse()
    encode_status(status, answer.header.resource)
    return written(answer)


def _failed(status: TaskStatus, code: str, words: str) -> TaskStatus:
    failure = Failure(code=code, message=words, cause=Cause.PLATFORM)
    return replace(status, phase=Phase.FAILED, message=words, outputs=None, error=failure)
