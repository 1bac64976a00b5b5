"""Log lines that carry the task's identity.

A `TaskLog` is cheap to make and binds its fields only when something is logged; most polls log nothing. What an agent
is given removes secrets from every text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from outboard.domain.handles import Handle
from outboard.domain.keys import readable_part
from outboard.domain.tasks import Task

LEVELS: Final = ("debug", "info", "warning", "error")


class TaskLog:
    """A logger with fixed fields; see `outboard.agent.context.Log`."""

    __slots__ = ("_fields", "_redact")

    def __init__(self, redact: Callable[[str], str] | None = None, /, **fields: Any) -> None:
        self._redact = redact
        self._fields: Mapping[str, Any] = fields

    def debug(self, event: str, **fields: Any) -> None:
        """Log for developers."""
        _logger().debug(self._clean(event), **self._bound(fields))

    def info(self, event: str, **fields: Any) -> None:
        """Log what happened."""
        _logger().info(self._clean(event), **self._bound(fields))

    def warning(self, event: str, **fields: Any) -> None:
        """Log what somebody should look at."""
        _logger().warning(self._clean(event), **self._bound(fields))

    def error(self, event: str, **fields: Any) -> None:
        """Log what somebody must act on."""
        _logger().error(self._clean(event), **self._bound(fields))

    def _bound(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        fields = {**self._fields, **fields}
        whole = "\n".join(value for value in fields.values() if isinstance(value, str))
        if self._redact is None or self._redact(whole) == whole:  # one look at the line, and most lines hold no secret
            return fields
        return {name: self._clean(value) for name, value in fields.items()}

    def _clean(self, value: Any) -> Any:
        # Agents log through this too, whatever the process does with log lines afterwards.
        return self._redact(value) if self._redact is not None and isinstance(value, str) else value


class LateLog(TaskLog):
    """A logger whose fixed fields are read when something is logged, for whoever would have to work for them."""

    __slots__ = ("_read",)

    def __init__(self, redact: Callable[[str], str] | None, read: Callable[[], Mapping[str, Any]], /) -> None:
        super().__init__(redact)
        self._read = read

    def _bound(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        self._fields = self._fields or self._read()
        return super()._bound(fields)


def set_log_level(level: str) -> None:
    """Drop lines below a level from now on, in this process, where it is ours to say what is logged.

    Args:
        level: One of `LEVELS`.
    """
    import structlog  # noqa: PLC0415 - see `_logger`

    if structlog.is_configured():
        threshold: int = getattr(logging, level.upper())
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(threshold))
        logging.getLogger().setLevel(max(threshold, logging.WARNING))


def log_level() -> str:
    """Return the level below which lines are dropped; empty where somebody else's program says what is logged."""
    import structlog  # noqa: PLC0415 - see `_logger`

    chosen = structlog.get_config()["wrapper_class"]
    classes = {level: structlog.make_filtering_bound_logger(getattr(logging, level.upper())) for level in LEVELS}
    return next((level for level, each in classes.items() if each is chosen), "")


def _logger() -> Any:
    import structlog  # noqa: PLC0415 - it imports rich where that is installed: 45 ms and 5 MB; see `cli.log_output`

    if structlog.is_configured():
        return structlog.get_logger("outboard")
    # In somebody's program or notebook: as any library, through the standard logging, and silent below WARNING.
    return structlog.wrap_logger(logging.getLogger("outboard"), processors=[structlog.processors.KeyValueRenderer()])


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
    """Return what identifies a job in a log line."""
    return {
        "project": handle.scope.project,
        "domain": handle.scope.domain,
        **_whose(handle),
        "task_type": handle.task_type,
        "agent": handle.agent,
        "key": handle.key.text,
        "job": str(handle.job.get("id", "")),
    }


def _whose(handle: Handle) -> dict[str, Any]:
    """Return execution, node and attempt, as far as they can be told for certain.

    A handle has none of them as such. Its key spells them, in lower case and cut short; which part of it is the execution
    is told by the output prefix, where engines put it: `<project>-<domain>-<execution>` (Flyte 1) or
    `<project>/<domain>/<execution>` (Flyte 2).
    """
    readable, _, attempt = handle.key.text.removeprefix("ob-").rpartition("-")[0].rpartition("-")
    if not attempt.isdigit():
        return {}
    found: dict[str, Any] = {"attempt": int(attempt)}
    before = f"{handle.scope.project}-{handle.scope.domain}-"
    for part in handle.output_prefix.split("/"):
        execution = part.removeprefix(before)
        spelled = readable_part(execution)
        if spelled and (readable == spelled or readable.startswith(f"{spelled}-")):
            return {"execution": execution, "node": readable[len(spelled) + 1 :], **found}
    execution, _, node = readable.partition("-")
    return {"execution": execution, "node": node, **found} if node and "-" not in node else found
