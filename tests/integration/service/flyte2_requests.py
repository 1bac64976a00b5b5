"""Requests of Flyte 2 as its engine sends them, in its own messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flyteidl2.connector import connector_pb2
from flyteidl2.core import (
    execution_pb2,
    identifier_pb2,
    interface_pb2,
    literals_pb2,
    security_pb2,
    tasks_pb2,
    types_pb2,
)
from flyteidl2.task import common_pb2

NO_SECRETS: Mapping[str, str] = {}
Phase = execution_pb2.TaskExecution


def integer(value: int) -> literals_pb2.Literal:
    """A literal of Flyte 2."""
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=value)))


def provide(secrets: Mapping[str, str] = NO_SECRETS, **configs: str) -> security_pb2.Connection:
    """A connection as the engine fills it: it is there even where it is empty."""
    return security_pb2.Connection(secrets=secrets, configs=configs)


def category(task_type: str, version: int = 0) -> connector_pb2.TaskCategory:
    """A task type, as requests about jobs name it."""
    return connector_pb2.TaskCategory(name=task_type, version=version)


def variables(names: Sequence[str]) -> interface_pb2.VariableMap:
    """Integers by these names, in this order."""
    variable = interface_pb2.Variable(type=types_pb2.LiteralType(simple=types_pb2.INTEGER))
    return interface_pb2.VariableMap(
        variables=[interface_pb2.VariableEntry(key=name, value=variable) for name in names]
    )


def create_request(
    task_type: str = "probe",
    *,
    custom: Mapping[str, Any] | None = None,
    inputs: Mapping[str, int] | None = None,
    outputs: Sequence[str] = ("o0",),
    connection: security_pb2.Connection | None = None,
    node: str = "a0",
    attempt: int = 0,
    prefix: str = "",
) -> connector_pb2.CreateTaskRequest:
    """CreateTask of one attempt: counted from 0 in the identity and from 1 in the prefix, which ends in a slash."""
    given = {"x": 21} if inputs is None else inputs
    template = tasks_pb2.TaskTemplate(
        type=task_type,
        interface=interface_pb2.TypedInterface(inputs=variables(sorted(given)), outputs=variables(outputs)),
    )
    template.custom.update({"mode": "run"} if custom is None else custom)
    execution = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="r1")
    return connector_pb2.CreateTaskRequest(
        inputs=common_pb2.Inputs(
            literals=[common_pb2.NamedLiteral(name=name, value=integer(given[name])) for name in given],
            context=[literals_pb2.KeyValuePair(key="trace", value="1")],
        ),
        template=template,
        output_prefix=prefix or f"memory://bucket/r1/{node}/{attempt + 1}/",
        task_execution_metadata=connector_pb2.TaskExecutionMetadata(
            task_execution_id=identifier_pb2.TaskExecutionIdentifier(
                node_execution_id=identifier_pb2.NodeExecutionIdentifier(node_id=node, execution_id=execution),
                retry_attempt=attempt,
            )
        ),
        connection=provide() if connection is None else connection,
    )
