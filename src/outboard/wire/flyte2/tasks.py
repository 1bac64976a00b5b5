"""Flyte 2's tasks to ours: Flyte 1's reading, then what it cannot see.

An interface's variables and a task's inputs are lists in Flyte 2, and their order means something: outputs are answered in the
order in which they are declared. Flyte 2's engine sends inputs in no order at all, so declared ones come in their
interface's order, others in the request's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from flyteidl.admin import agent_pb2
from flyteidl2.connector import connector_pb2

from outboard.domain.tasks import Inputs, RawTask
from outboard.domain.types import Interface, ValueType
from outboard.wire import tasks
from outboard.wire.flyte2.connections import decode_connection, without_connection
from outboard.wire.lazy_mappings import LazyMapping
from outboard.wire.lazy_values import LazyValues


def decode_create_request(request: connector_pb2.CreateTaskRequest, data: bytes) -> RawTask:
    """Return the task of a CreateTask request, with what the engine provided for it.

    Args:
        request: The message.
        data: Its bytes.

    Raises:
        InvalidTask: A field cannot be understood; the message names it.
    """
    known = agent_pb2.CreateTaskRequest.FromString(data)
    _complete(known, request)
    task = tasks.decode_create_request(known)
    interface = _in_order(task.interface, request.template.interface)
    return replace(
        task,
        sent=tasks.Sent(known.template, known.task_execution_metadata, replace(task, interface=interface)),
        config=without_connection(task.config),
        interface=interface,
        inputs=_inputs_in_order(task.inputs.source, request.inputs, interface),
        provided=decode_connection(request.connection),
    )


def _complete(known: agent_pb2.CreateTaskRequest, request: connector_pb2.CreateTaskRequest) -> None:
    """Put into maps what protobuf has left out: entries with fields that only a later release of Flyte 2 knows."""
    ours, theirs = known.template.interface, request.template.interface
    for entries, listed, field in (
        (ours.inputs.variables, theirs.inputs.variables, "key"),
        (ours.outputs.variables, theirs.outputs.variables, "key"),
        (known.inputs.literals, request.inputs.literals, "name"),
    ):
        for entry in listed:
            if (name := getattr(entry, field)) not in entries:
                entries[name].MergeFromString(entry.value.SerializeToString())


def _in_order(interface: Interface, message: Any) -> Interface:
    inputs, outputs = interface.inputs, interface.outputs
    return Interface(
        inputs=LazyMapping[ValueType](
            {name: partial(inputs.__getitem__, name) for name in _names(message.inputs.variables, "key")}
        ),
        outputs={name: outputs[name] for name in _names(message.outputs.variables, "key")},
    )


def _inputs_in_order(source: Mapping[str, Any], message: Any, interface: Interface) -> Inputs:
    literals = source.literals if isinstance(source, LazyValues) else {}
    return Inputs(LazyValues({name: literals[name] for name in _names(message.literals, "name")}, interface.inputs))


def _names(entries: Iterable[Any], field: str) -> Iterable[str]:
    """Return the names of a list of entries, each once; of entries with one name the last counts, as in a map."""
    return dict.fromkeys(getattr(entry, field) for entry in entries)
