"""Where a statement stands, in Snowflake's thirteen words for it.

The SQL API itself says less: its answer's HTTP status, and a code. Five of the words can be told from it:

=======================================  =========================
answer                                   word
=======================================  =========================
202                                      `RUNNING` (also while it waits for a warehouse, or for a lock)
200                                      `SUCCESS`
422 with code 000604, and 408            `ABORTED`
422 with an internal error or incident   `FAILED_WITH_INCIDENT`
422 otherwise                            `FAILED_WITH_ERROR`
404                                      none: there is no such statement
=======================================  =========================

The others are those of the query history and of Snowflake's drivers, and mapped for whoever reads them there.

Sources: https://docs.snowflake.com/en/developer-guide/sql-api/reference (answers), `QueryStatus` of
snowflake-connector-python 4.8.1 (the words, one of them misspelled there), EXECUTION_STATUS of
https://docs.snowflake.com/en/sql-reference/functions/query_history.
"""

from __future__ import annotations

from typing import Final

from outboard.agent import Cause, Failure, Phase, Retry, StateMap, cancelling, failed, succeeded

SOURCE: Final = "https://docs.snowflake.com/en/developer-guide/sql-api/reference"

RUNNING: Final = "RUNNING"
SUCCESS: Final = "SUCCESS"
ABORTED: Final = "ABORTED"
FAILED: Final = "FAILED_WITH_ERROR"
INCIDENT: Final = "FAILED_WITH_INCIDENT"

STATES: Final = StateMap(
    {
        RUNNING: Phase.RUNNING,
        SUCCESS: succeeded(),
        FAILED: failed(Failure(code=FAILED)),
        INCIDENT: failed(Failure(code=INCIDENT, retry=Retry.YES, cause=Cause.PLATFORM)),
        ABORTED: failed(Failure(code=ABORTED, cause=Cause.CANCELLED_OUTSIDE)),
        "ABORTING": cancelling(),
        "QUEUED": Phase.QUEUED,
        "RESUMING_WAREHOUSE": Phase.WAITING_FOR_RESOURCES,
        "QUEUED_REPARING_WAREHOUSE": Phase.WAITING_FOR_RESOURCES,
        "QUEUED_REPAIRING_WAREHOUSE": Phase.WAITING_FOR_RESOURCES,
        "BLOCKED": Phase.RUNNING,
        "RESTARTED": Phase.RUNNING,
        "NO_DATA": Phase.QUEUED,
        "DISCONNECTED": failed(Failure(code="DISCONNECTED", retry=Retry.YES, cause=Cause.PLATFORM)),
    },
    documented=frozenset(
        {
            *(RUNNING, "ABORTING", SUCCESS, FAILED, ABORTED, "QUEUED", INCIDENT, "DISCONNECTED"),
            *("RESUMING_WAREHOUSE", "QUEUED_REPARING_WAREHOUSE", "RESTARTED", "BLOCKED", "NO_DATA"),
        }
    ),
    source=SOURCE,
)
