"""Flyte 2's connections: values of secrets and settings that travel with a request (flyteidl2/core/security.proto).

The engine reads a task's `custom` as a `Connection`, where each secret has the name of its value; replaces the names by the
values; and sends the result with CreateTask, GetTask and DeleteTask. What it read so is its own, not the agent's
configuration: unknown keys of a configuration may be passed on to a platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flyteidl2.core import security_pb2

from outboard.domain.provided import NOTHING, Provided

_MAPS: Final = frozenset({"secrets", "configs"})
_TASK_TYPE: Final = "task_type"


def decode_connection(connection: security_pb2.Connection) -> Provided:
    """Return what an engine provided with a request; an engine sends an empty connection where there is nothing."""
    if not connection.secrets and not connection.configs:
        return NOTHING
    return Provided(secrets=dict(connection.secrets), configs=dict(connection.configs))


def without_connection(custom: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task's configuration without what the engine reads in it as a connection."""
    return {name: value for name, value in custom.items() if not _is_connections(name, value)}


def _is_connections(name: str, value: Any) -> bool:
    if name == _TASK_TYPE:
        return isinstance(value, str)
    return name in _MAPS and isinstance(value, Mapping) and all(isinstance(each, str) for each in value.values())
