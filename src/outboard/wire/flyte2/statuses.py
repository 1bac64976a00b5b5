"""Statuses to Flyte 2's `Resource`.

* It has neither Flyte 1's older `state` nor an `agent_error`: engine and user learn why a task failed from `message` alone, so
  the failure's code stands there too.
* Outputs are a list; they stand in the order in which the task's interface declares them.
* Links say that they lead somewhere by now (`ready`): ours do as soon as there is a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flyteidl2.connector import connector_pb2
from flyteidl2.core import execution_pb2

from outboard.domain.statuses import TaskStatus
from outboard.domain.types import ValueType
from outboard.wire import statuses
from outboard.wire.literals import encode_values


def encode_status(status: TaskStatus, resource: connector_pb2.Resource | None = None) -> connector_pb2.Resource:
    """Return a status as Flyte 2 reads it.

    Args:
        status: What an engine gets; secrets are removed by whoever made it.
        resource: An empty message to fill, where the answer is part of a larger one.

    Raises:
        InvalidOutputs: An output does not fit its declared type, or has none and looks like nothing Flyte knows.
    """
    if resource is None:
        resource = connector_pb2.Resource()
    bare = replace(status, outputs=None, message=_message(status))
    resource.MergeFromString(statuses.encode_status(bare).SerializeToString())
    resource.DiscardUnknownFields()
    for link in resource.log_links:
        link.link_type = execution_pb2.TaskLog.EXTERNAL
        link.ready = True
    if status.outputs is not None:
        _fill_outputs(resource.outputs, status.outputs, status.output_types or {})
    return resource


def _message(status: TaskStatus) -> str:
    failure = status.error
    words = status.message or (failure.message if failure else "")
    if failure is None or not failure.code or failure.code in words:
        return words
    return f"{failure.code}: {words}" if words else failure.code


def _fill_outputs(message: Any, outputs: Mapping[str, Any], types: Mapping[str, ValueType]) -> None:
    message.SetInParent()
    literals = encode_values(outputs, types).literals
    for name in [*(name for name in types if name in literals), *(name for name in outputs if name not in types)]:
        message.literals.add(name=name).value.MergeFromString(literals[name].SerializeToString())
