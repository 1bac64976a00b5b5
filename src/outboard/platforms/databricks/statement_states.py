"""Where a SQL statement stands, and why it failed.

`CLOSED` is "execution successful, and statement closed": success, though its result cannot be fetched any more. A failed
statement brings an error code of the service, which tells a wrong statement from a platform in trouble.

Source: https://docs.databricks.com/api/workspace/statementexecution/getstatement (read 2026-11-22).
"""

from __future__ import annotations

from typing import Final

from outboard.agent import Cause, Failure, Phase, Retry, StateMap, failed, succeeded

SOURCE: Final = "https://docs.databricks.com/api/workspace/statementexecution/getstatement"

STATEMENT_STATES: Final = StateMap(
    {
        "PENDING": Phase.QUEUED,
        "RUNNING": Phase.RUNNING,
        "SUCCEEDED": succeeded(),
        "CLOSED": succeeded(),
        "FAILED": failed(Failure(code="FAILED")),
        "CANCELED": failed(Failure(code="CANCELED", cause=Cause.CANCELLED_OUTSIDE)),
    },
    documented=frozenset({"PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "CLOSED"}),
    source=SOURCE,
)

ENDS: Final = ("SUCCEEDED", "CLOSED", "FAILED", "CANCELED")

USER_ERRORS: Final = frozenset({"BAD_REQUEST", "NOT_FOUND", "ALREADY_EXISTS", "UNAUTHENTICATED", "PERMISSION_DENIED"})
"""Codes of statements that will fail again."""
PLATFORM_ERRORS: Final = frozenset(
    {
        *("ABORTED", "DEADLINE_EXCEEDED", "INTERNAL_ERROR", "IO_ERROR", "RESOURCE_EXHAUSTED", "UNKNOWN"),
        *("SERVICE_UNDER_MAINTENANCE", "TEMPORARILY_UNAVAILABLE", "WORKSPACE_TEMPORARILY_UNAVAILABLE"),
    }
)
"""Codes that another attempt may well not meet."""

HISTORY_STATES: Final = {
    "QUEUED": "PENDING",
    **dict.fromkeys(("STARTED", "COMPILING", "COMPILED", "RUNNING"), "RUNNING"),
}
"""Statuses of the query history that say that a statement is not over."""


def failure_of(state: str, code: str, words: str) -> Failure:
    """Return why a statement did not succeed."""
    if state == "CANCELED" or code == "CANCELLED":
        return Failure(code="CANCELED", message=words, cause=Cause.CANCELLED_OUTSIDE)
    if code in PLATFORM_ERRORS:
        return Failure(code=code, message=words, retry=Retry.YES, cause=Cause.PLATFORM)
    return Failure(code=code or state, message=words)
