"""Log lines that carry the task's identity.

A `TaskLog` is cheap to make and binds its fields only when something is logged; most polls log nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outboard.domain.handles import Handle
from outboard.domain.tasks import Task


class TaskLog:
    """A logger with fixed fields; see `outboard.agent.context.Log`."""

    __slots__ = ("_fields",)

    def __init__(self, **fields: Any) -> None:
        self._fields: Mapping[str, Any] = fields

    def debug(self, event: str, **fields: Any) -> None:
        """Log for developers."""
        _logger().debug(event, **{**self._fields, **fields})

    def info(self, event: str, **fields: Any) -> None:
        """Log what happened."""
        _logger().info(event, **{**self._fields, **fields})

    def warning(self, event: str, **fields: Any) -> None:
        """Log what somebody should look at."""
        _logger().warning(event, **{**self._fields, **fields})

    def error(self, event: str, **fields: Any) -> None:
        """Log what somebody must act on."""
        _logger().error(event, **{**self._fields, **fields})


def _logger() -> Any:
    import structlog  # noqa: PLC0415 - it imports rich where that is installed: 45 ms and 5 MB; see `cli.log_output`

    return structlog.get_logger("outboard")


def task_fields(task: Task[Any]) -> dict[str, Any]:
    """Return what identifies a task in a log line."""
    identity = task.identity
    return {
        "project": identity.project,
        "domain": identity.domain,
        "execution": identity.execution,
        "node": identity.node,
        "attempt": identity.attempt,
        "task_type": task.type,
    }


def handle_fields(handle: Handle) -> dict[str, Any]:
    """Return what identifies a job in a log line; the key holds execution, node and attempt."""
    return {
        "project": handle.scope.project,
        "domain": handle.scope.domain,
        "task_type": handle.task_type,
        "agent": handle.agent,
        "key": handle.key.text,
        "job": str(handle.job.get("id", "")),
    }
