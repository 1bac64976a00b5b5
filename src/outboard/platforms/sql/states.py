"""Where a statement stands: words of ours, decided from its marks, its worker and what the database lists.

The table in the README is compared with this one by a test.
"""

from __future__ import annotations

from typing import Final

from outboard.agent import Cause, Failure, Phase, Retry, StateMap, cancelling, failed, succeeded

STATES: Final = StateMap(
    {
        "CLAIMED": Phase.INITIALIZING,
        "STARTING": Phase.INITIALIZING,
        "RUNNING": Phase.RUNNING,
        "ORPHANED": Phase.RUNNING,
        "CANCELLING": cancelling(),
        "SUCCEEDED": succeeded(),
        "FAILED": failed(Failure(code="Failed")),
        "CANCELLED": failed(
            Failure(code="Cancelled", message="the statement was cancelled", cause=Cause.CANCELLED_OUTSIDE)
        ),
        "LOST": failed(
            Failure(
                code="Lost",
                message="the statement's worker is gone, and the database kept nothing of it",
                retry=Retry.YES,
                cause=Cause.PLATFORM,
            )
        ),
        "UNKNOWN": failed(
            Failure(
                code="OutcomeUnknown",
                message="nobody can tell whether the statement took effect; look, and run it again if it did not",
                cause=Cause.PLATFORM,
            )
        ),
    },
    documented=frozenset(
        {
            *("CLAIMED", "STARTING", "RUNNING", "ORPHANED", "CANCELLING"),
            *("SUCCEEDED", "FAILED", "CANCELLED", "LOST", "UNKNOWN"),
        }
    ),
    source="outboard.platforms.sql.states",
)
