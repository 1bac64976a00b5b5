"""Where a job stands.

BigQuery knows three states, and DONE says nothing of success: `status.errorResult` does, and nothing else. `status.errors` also
holds what a job got over, so it is not looked at. The second word of a pair here is `OK` or the reason of the `errorResult`.

Source: the API's discovery document, revision 20261009, `JobStatus`; reasons as in `errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from outboard.agent import Failure, Phase, StateMap, failed, succeeded
from outboard.domain.statuses import State
from outboard.platforms.bigquery.errors import NO_RESULT, REASONS

SOURCE: Final = "https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatus"
OK: Final = "OK"

STATES: Final = StateMap(
    {
        "PENDING": Phase.INITIALIZING,
        "RUNNING": Phase.RUNNING,
        ("DONE", OK): succeeded(),
        ("DONE", NO_RESULT): failed(Failure(code="NoResult")),
        **{
            ("DONE", reason): failed(Failure(code=reason, retry=meaning.retry, cause=meaning.cause))
            for reason, meaning in REASONS.items()
        },
    },
    documented=frozenset(
        {
            *("PENDING", "RUNNING", ("DONE", OK)),
            *(("DONE", reason) for reason, meaning in REASONS.items() if meaning.documented),
        }
    ),
    source=SOURCE,
    ended=frozenset({"DONE"}),
)
"""A reason that is not in the table is a failure, flagged: the job is over, and `OK` is the only proof of success."""

UNKNOWN_REASON: Final = "unknown"


def state_of(job: Mapping[str, Any]) -> State:
    """Return the state of a job as the API shows it; of one in a listing too."""
    status = job.get("status")
    status = status if isinstance(status, Mapping) else {}
    state = status.get("state") or job.get("state")
    if state != "DONE":
        return state if isinstance(state, str) else ""
    error = error_of(job)
    return "DONE", OK if error is None else str(error.get("reason") or UNKNOWN_REASON)


def error_of(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the fatal error of a job; None for one that has none (so far)."""
    status = job.get("status")
    error = status.get("errorResult") if isinstance(status, Mapping) else None
    error = error if error is not None else job.get("errorResult")
    return error if isinstance(error, Mapping) else None
