"""Where a run stands, in the Jobs API's two spellings, and why it ended.

Runs have `state` (life_cycle_state and result_state, "deprecated" yet always sent) and `status` (state and, at the end,
termination_details with code and type). The state here is the older pair where it is there, else the newer one; both
are in one table, since they share their words. What ended a run is read from the termination code first, which is the most
exact, then from the result.

Source: https://docs.databricks.com/api/workspace/jobs/getrun (2.2; read 2026-11-22), by the enums of databricks-sdk 0.156.
"""

from __future__ import annotations

import re
from typing import Final

from outboard.agent import ANY, Cause, Failure, Phase, Retry, StateMap, cancelling, failed, succeeded

SOURCE: Final = "https://docs.databricks.com/api/workspace/jobs/getrun"

LIVE: Final = (
    *("QUEUED", "PENDING", "RUNNING", "TERMINATING", "BLOCKED", "WAITING_FOR_RETRY"),
    "WAITING",  # of `status` only
)
"""States of a run that is not over."""
ENDED: Final = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
"""Life-cycle states after which nothing follows, unless somebody repairs the run."""
RESULTS: Final = (
    *("SUCCESS", "FAILED", "TIMEDOUT", "CANCELED", "MAXIMUM_CONCURRENT_RUNS_REACHED", "EXCLUDED"),
    *("SUCCESS_WITH_FAILURES", "UPSTREAM_FAILED", "UPSTREAM_CANCELED", "DISABLED"),
)
"""Results of a run that is over."""


def _user(code: str, retry: Retry = Retry.NEVER) -> Failure:
    return Failure(code=code, retry=retry, cause=Cause.USER)


def _platform(code: str) -> Failure:
    return Failure(code=code, retry=Retry.YES, cause=Cause.PLATFORM)


def _outside(code: str, retry: Retry = Retry.NEVER) -> Failure:
    return Failure(code=code, retry=retry, cause=Cause.CANCELLED_OUTSIDE)


TERMINATIONS: Final[dict[str, Failure]] = {
    failure.code: failure
    for failure in (
        _outside("USER_CANCELED"),
        _user("CANCELED", Retry.YES),  # by Databricks, as when the longest duration is exceeded
        _user("SKIPPED"),
        _platform("INTERNAL_ERROR"),
        _platform("DRIVER_ERROR"),
        _platform("CLUSTER_ERROR"),
        _platform("REPOSITORY_CHECKOUT_FAILED"),
        _user("INVALID_CLUSTER_REQUEST"),
        _platform("WORKSPACE_RUN_LIMIT_EXCEEDED"),
        _user("FEATURE_DISABLED"),
        _platform("CLUSTER_REQUEST_LIMIT_EXCEEDED"),
        _platform("STORAGE_ACCESS_ERROR"),
        _user("RUN_EXECUTION_ERROR", Retry.YES),  # the code raised; whether that is worth a retry, `retries` says
        _user("UNAUTHORIZED_ERROR"),
        _user("LIBRARY_INSTALLATION_ERROR"),
        _platform("MAX_CONCURRENT_RUNS_EXCEEDED"),
        _platform("MAX_SPARK_CONTEXTS_EXCEEDED"),
        _user("RESOURCE_NOT_FOUND"),
        _user("INVALID_RUN_CONFIGURATION"),
        _platform("CLOUD_FAILURE"),
        _platform("MAX_JOB_QUEUE_SIZE_EXCEEDED"),
        _outside("DISABLED"),
        _platform("BREAKING_CHANGE"),
        _outside("CLUSTER_TERMINATED_BY_USER", Retry.YES),
        _user("BUDGET_POLICY_LIMIT_EXCEEDED"),
    )
}
"""Every documented termination code but the successful ones."""

_BY_RESULT: Final[dict[str, Failure]] = {
    failure.code: failure
    for failure in (
        _user("FAILED", Retry.YES),
        _user("TIMEDOUT", Retry.YES),
        _outside("CANCELED"),
        _platform("MAXIMUM_CONCURRENT_RUNS_REACHED"),
        _user("EXCLUDED"),
        _user("UPSTREAM_FAILED", Retry.YES),
        _outside("UPSTREAM_CANCELED"),
        _outside("DISABLED"),
    )
}

_GUILTY: Final = (
    "CLUSTER_ERROR",
    "DRIVER_ERROR",
    "REPOSITORY_CHECKOUT_FAILED",
    "STORAGE_ACCESS_ERROR",
    "INTERNAL_ERROR",
)
"""Codes whose type tells whose doing it was: a wrong repository and one that is down have the same code."""

_PREEMPTED: Final = re.compile(
    r"spot[ _-]?(?:instance|vm|node)s?[ _-](?:was |were |has been |have been )?(?:terminat|preempt|interrupt|evict|lost|reclaim)"
    r"|SPOT_INSTANCE_TERMINATION|preempt|evicted by (?:azure|the cloud)",
    re.IGNORECASE,
)

_SUCCESSES: Final = ("SUCCESS", "SUCCESS_WITH_FAILURES")
_NEWER: Final = frozenset(("TERMINATED", code) for code in (*_SUCCESSES, *TERMINATIONS))

RUN_STATES: Final = StateMap(
    {
        "QUEUED": Phase.QUEUED,
        "BLOCKED": Phase.QUEUED,
        "WAITING": Phase.QUEUED,
        "PENDING": Phase.INITIALIZING,
        "WAITING_FOR_RETRY": Phase.WAITING_FOR_RESOURCES,
        "RUNNING": Phase.RUNNING,
        "TERMINATING": Phase.RUNNING,
        ("TERMINATING", "CANCELED"): cancelling(),
        **{("TERMINATED", code): failed(failure) for code, failure in TERMINATIONS.items()},
        **{("TERMINATED", result): failed(failure) for result, failure in _BY_RESULT.items()},
        **{("TERMINATED", result): succeeded() for result in _SUCCESSES},
        ("SKIPPED", ANY): failed(_user("SKIPPED")),
        ("INTERNAL_ERROR", ANY): failed(_platform("INTERNAL_ERROR")),
    },
    documented=frozenset(
        {
            *LIVE,
            *(("TERMINATED", result) for result in RESULTS),
            *(("SKIPPED", result) for result in RESULTS),
            *(("INTERNAL_ERROR", result) for result in RESULTS),
            *_NEWER,
        }
    ),
    source=SOURCE,
    ended=frozenset(ENDED),
)
"""All of `state` and `status`."""


def failure_of(result: str, code: str, kind: str, words: str) -> Failure:
    """Return why a run failed.

    Args:
        result: Its result, or its life-cycle state where that says it all; empty where there is none.
        code: Its termination code; empty where there is none.
        kind: The type of its termination: CLIENT_ERROR, CLOUD_FAILURE, INTERNAL_ERROR; empty where there is none.
        words: What Databricks says of it.
    """
    failure = TERMINATIONS.get(code)
    if failure is None and not (code and kind):
        failure = _BY_RESULT.get(result) or TERMINATIONS.get(result)
    if failure is None:
        failure = _by_type(code or result or "UNKNOWN", kind)
    elif kind == "CLIENT_ERROR" and failure.code in _GUILTY:
        failure = _user(failure.code)
    elif kind in ("CLOUD_FAILURE", "INTERNAL_ERROR") and failure.cause is Cause.USER:
        failure = _platform(failure.code)
    cause, retry = failure.cause, failure.retry
    if cause is not Cause.CANCELLED_OUTSIDE and _PREEMPTED.search(words):
        cause, retry = Cause.PREEMPTED, Retry.YES
    return Failure(code=failure.code, message=words, retry=retry, cause=cause)


def _by_type(code: str, kind: str) -> Failure:
    """Return what a code means that this release does not know."""
    return _platform(code) if kind in ("CLOUD_FAILURE", "INTERNAL_ERROR") else _user(code)
