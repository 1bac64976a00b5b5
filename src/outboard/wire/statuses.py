"""Statuses to Flyte 1's `Resource` and back (flyteidl/admin/agent.proto).

What FlytePropeller makes of an answer decides how it is written:

* `UNDEFINED`, or a Resource that is empty, restarts the job; it cannot be written, because `Phase` has no such member.
* `phase` and the older `state` are always both there and agree; FlytePropeller falls back to `state`.
* Outputs that are present, even empty ones, are trusted; absent means "read outputs.pb". So None and `{}` differ.
* A failure carries `agent_error`: its code, whether another attempt is worth it (`RECOVERABLE`) and whose doing it was.

Reading is for engines, and takes answers of any service. One without a phase is read by its `state`, as FlytePropeller does,
except that "nothing at all" is `Unavailable` (ask again) rather than a reason to run a job twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2

from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Failure, Link, TaskStatus
from outboard.domain.types import ValueType
from outboard.domain.values import restore_integers
from outboard.errors import Actor, InvalidOutputs, Retry, Unavailable
from outboard.wire.lazy_values import LazyValues
from outboard.wire.literals import encode_values
from outboard.wire.structs import decode_struct, encode_struct

_PHASES: Final = {phase: execution_pb2.TaskExecution.Phase.Value(phase.value) for phase in Phase}
_FROM_PHASE: Final = {number: phase for phase, number in _PHASES.items()}
_STATES: Final = {
    Phase.QUEUED: agent_pb2.PENDING,
    Phase.WAITING_FOR_RESOURCES: agent_pb2.PENDING,
    Phase.INITIALIZING: agent_pb2.PENDING,
    Phase.RUNNING: agent_pb2.RUNNING,
    Phase.SUCCEEDED: agent_pb2.SUCCEEDED,
    Phase.FAILED: agent_pb2.PERMANENT_FAILURE,
    Phase.RETRYABLE_FAILED: agent_pb2.RETRYABLE_FAILURE,
    Phase.ABORTED: agent_pb2.PERMANENT_FAILURE,
}
_FROM_STATE: Final = {
    agent_pb2.PENDING: Phase.INITIALIZING,
    agent_pb2.RUNNING: Phase.RUNNING,
    agent_pb2.SUCCEEDED: Phase.SUCCEEDED,
    agent_pb2.PERMANENT_FAILURE: Phase.FAILED,
}
_FAILED: Final = (Phase.FAILED, Phase.RETRYABLE_FAILED, Phase.ABORTED)
_USER: Final = execution_pb2.ExecutionError.USER
_SYSTEM: Final = execution_pb2.ExecutionError.SYSTEM
_UNNAMED: Final = "Unknown"


def encode_status(status: TaskStatus, resource: agent_pb2.Resource | None = None) -> agent_pb2.Resource:
    """Return a status as Flyte 1 reads it.

    Args:
        status: What an engine gets; secrets are removed by whoever made it.
        resource: An empty message to fill, where the answer is part of a larger one.

    Raises:
        InvalidOutputs: An output does not fit its declared type, or has none and looks like nothing Flyte knows.
    """
    if resource is None:
        resource = agent_pb2.Resource()
    phase = status.phase
    resource.phase = _PHASES[phase]
    resource.state = _STATES[phase]
    if status.message:
        resource.message = _unicode(status.message)
    if status.links:
        resource.log_links.extend(encode_links(status.links))
    if status.custom_info:
        resource.custom_info.CopyFrom(encode_struct(status.custom_info))
    if status.outputs is not None:
        resource.outputs.CopyFrom(encode_values(status.outputs, status.output_types or {}))
    if phase in _FAILED:
        _fill_failure(resource, status)
    return resource


def decode_status(resource: agent_pb2.Resource) -> TaskStatus:
    """Return the status that a service answered; outputs are decoded when they are read (see `with_types`).

    Raises:
        Unavailable: The answer has neither phase nor state, or ones that this version does not know.
    """
    phase = _FROM_PHASE.get(resource.phase) or _FROM_STATE.get(resource.state)
    if phase is None:
        raise Unavailable("the service answered no phase that this version knows; it is asked again")
    custom_info = restore_integers(decode_struct(resource.custom_info)) if resource.HasField("custom_info") else None
    return TaskStatus(
        phase=phase,
        message=resource.message,
        outputs=LazyValues(resource.outputs.literals, None, "outputs", error=InvalidOutputs)
        if resource.HasField("outputs")
        else None,
        links=tuple(Link(name=link.name or link.uri, url=link.uri) for link in resource.log_links),
        custom_info=custom_info,
        error=_decode_failure(resource, phase) if phase in _FAILED else None,
    )


def with_types(outputs: Mapping[str, Any], types: Mapping[str, ValueType]) -> Mapping[str, Any]:
    """Return outputs as their declared types have them, where they came off the wire without knowing these."""
    if isinstance(outputs, LazyValues):
        return LazyValues(outputs.literals, types, "outputs", error=InvalidOutputs)
    return outputs


def encode_links(links: Iterable[Link]) -> list[execution_pb2.TaskLog]:
    """Return links as Flyte shows them: while the task waits, runs, and after its end."""
    return [
        execution_pb2.TaskLog(
            name=_unicode(link.name),
            uri=_unicode(link.url),
            message_format=execution_pb2.TaskLog.UNKNOWN,
            ShowWhilePending=True,
        )
        for link in links
    ]


def _fill_failure(resource: agent_pb2.Resource, status: TaskStatus) -> None:
    failure = status.error
    error = resource.agent_error
    is_recoverable = status.phase is Phase.RETRYABLE_FAILED
    error.kind = agent_pb2.AgentError.RECOVERABLE if is_recoverable else agent_pb2.AgentError.NON_RECOVERABLE
    error.code = _unicode((failure.code if failure else "") or status.state or _UNNAMED)
    error.origin = _USER if failure is None or failure.actor is Actor.USER else _SYSTEM
    if not resource.message:
        resource.message = _unicode((failure.message if failure else "") or error.code)


def _decode_failure(resource: agent_pb2.Resource, phase: Phase) -> Failure:
    """Return why a task failed; the phase alone says whether another attempt is worth it."""
    return Failure(
        code=resource.agent_error.code or phase.value,
        message=resource.message,
        retry=Retry.YES if phase is Phase.RETRYABLE_FAILED else Retry.NEVER,
        cause=Cause.PLATFORM if resource.agent_error.origin == _SYSTEM else Cause.USER,
    )


def _unicode(text: str) -> str:
    """Return the text with what UTF-8 cannot say replaced: words of a platform must never cost the answer."""
    return text if text.isascii() else text.encode(errors="replace").decode()
