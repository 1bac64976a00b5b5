"""Flyte 2's messages are Flyte 1's on the wire, apart from what is listed here: a release that changes it fails by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flyteidl.admin import agent_pb2
from flyteidl2.connector import connector_pb2

SHARED = (
    "CreateTaskRequest",
    "CreateTaskResponse",
    "GetTaskRequest",
    "GetTaskResponse",
    "DeleteTaskRequest",
    "DeleteTaskResponse",
    "GetTaskMetricsRequest",
    "GetTaskMetricsResponse",
    "GetTaskLogsRequest",
    "GetTaskLogsResponse",
)
LEFT_OUT = {
    "CreateTaskRequest.task_execution_metadata.overrides",
    "GetTaskRequest.task_type",
    "DeleteTaskRequest.task_type",
    "GetTaskMetricsRequest.task_type",
    "GetTaskLogsRequest.task_type",
    "GetTaskResponse.resource.state",
    "GetTaskResponse.resource.agent_error",
}
"""What Flyte 2 has no more. What it has besides is unknown to Flyte 1's classes, which keep it and do not mind."""


def differences(one: Any, two: Any, path: str, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Where bytes of one message would be read otherwise by the other's class: field paths, by the first one's names."""
    if (one.full_name, two.full_name) in seen:
        return
    seen.add((one.full_name, two.full_name))
    others = {field.number: field for field in two.fields}
    for field in one.fields:
        where, other = f"{path}.{field.name}", others.get(field.number)
        if other is None:
            yield where
        elif (field.type, is_repeated(field)) != (other.type, is_repeated(other)):
            yield f"{where} (type)"
        elif field.message_type is not None:
            yield from differences(field.message_type, other.message_type, where, seen)
        elif field.enum_type is not None and not members(field.enum_type) <= members(other.enum_type):
            yield f"{where} (enum)"


def is_repeated(field: Any) -> bool:
    """Whether a field is a list; protobuf 6 deprecates the older way to ask."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def members(enum: Any) -> set[tuple[int, str]]:
    return {(value.number, value.name) for value in enum.values}


@pytest.mark.parametrize("name", SHARED)
def test_bytes_of_flyte_2_are_bytes_of_flyte_1(name: str) -> None:
    one, two = (module.DESCRIPTOR.message_types_by_name[name] for module in (agent_pb2, connector_pb2))
    assert set(differences(one, two, name, set())) == {path for path in LEFT_OUT if path.startswith(f"{name}.")}


@pytest.mark.parametrize(
    ("one", "two", "found"),
    [
        ("GetTaskRequest", "DeleteTaskRequest", {"x.task_type", "x.output_prefix"}),
        (
            "GetTaskMetricsRequest",
            "GetTaskLogsRequest",
            {"x.queries (type)", "x.start_time (type)", "x.end_time.seconds (type)"},
        ),
    ],
)
def test_differences_are_found(one: str, two: str, found: set[str]) -> None:
    descriptors = (module.DESCRIPTOR.message_types_by_name for module in (agent_pb2, connector_pb2))
    assert found <= set(differences(next(descriptors)[one], next(descriptors)[two], "x", set()))
