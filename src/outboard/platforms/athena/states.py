"""Where a query stands.

Athena knows five states. The second word of a FAILED one here is the category of its error; of a CANCELLED one it says whether
somebody stopped the query or its workgroup's limit of bytes did. A query that succeeded without the result that its task declares
is `NO_RESULT`, our own word.

Source: `QueryExecutionState` and `AthenaError` of the API reference, read 2026-11-22. That a workgroup's limit cancels:
https://docs.aws.amazon.com/athena/latest/ug/workgroups-setting-control-limits-cloudwatch.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from outboard.agent import ANY, Cause, Failure, Phase, Retry, StateMap, failed, succeeded
from outboard.domain.statuses import State

SOURCE: Final = "https://docs.aws.amazon.com/athena/latest/APIReference/API_QueryExecutionStatus.html"
SYSTEM: Final = "SYSTEM"
USER: Final = "USER"
OTHER: Final = "OTHER"
UNTOLD: Final = "UNTOLD"
STOPPED: Final = "STOPPED"
BYTES_LIMIT: Final = "BYTES_SCANNED_LIMIT"
NO_RESULT: Final = "NO_RESULT"
_CATEGORIES: Final[Mapping[object, str]] = {1: SYSTEM, 2: USER, 3: OTHER}

STATES: Final = StateMap(
    {
        "QUEUED": Phase.INITIALIZING,
        "RUNNING": Phase.RUNNING,
        "SUCCEEDED": succeeded(),
        ("SUCCEEDED", NO_RESULT): failed(Failure(code=NO_RESULT)),
        ("FAILED", SYSTEM): failed(Failure(code="FAILED", retry=Retry.YES, cause=Cause.PLATFORM)),
        ("FAILED", USER): failed(Failure(code="FAILED")),
        ("FAILED", OTHER): failed(Failure(code="FAILED")),
        ("FAILED", ANY): failed(Failure(code="FAILED")),
        ("CANCELLED", BYTES_LIMIT): failed(Failure(code=BYTES_LIMIT)),
        ("CANCELLED", ANY): failed(
            Failure(code="CANCELLED", message="somebody stopped the query", cause=Cause.CANCELLED_OUTSIDE)
        ),
    },
    documented=frozenset(
        {
            *("QUEUED", "RUNNING", "SUCCEEDED"),
            *(("FAILED", category) for category in (SYSTEM, USER, OTHER)),
            *(("CANCELLED", STOPPED), ("CANCELLED", BYTES_LIMIT)),
        }
    ),
    source=SOURCE,
    ended=frozenset({"FAILED", "CANCELLED"}),
)


def state_of(execution: Mapping[str, Any]) -> State:
    """Return the state of a query execution as the API shows it."""
    status = status_of(execution)
    state = status.get("State")
    if not isinstance(state, str):
        return ""
    if state == "FAILED":
        category = error_of(execution).get("ErrorCategory")
        return state, _CATEGORIES.get(category, UNTOLD) if isinstance(category, int) else UNTOLD
    if state == "CANCELLED":
        return state, BYTES_LIMIT if "bytes scanned limit" in reason_of(execution).lower() else STOPPED
    return state


def status_of(execution: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an execution's `Status`; empty where it has none."""
    status = execution.get("Status")
    return status if isinstance(status, Mapping) else {}


def reason_of(execution: Mapping[str, Any]) -> str:
    """Return an execution's `StateChangeReason`; empty where it has none."""
    return str(status_of(execution).get("StateChangeReason") or "")


def error_of(execution: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an execution's `AthenaError`; empty where it has none."""
    error = status_of(execution).get("AthenaError")
    return error if isinstance(error, Mapping) else {}
