"""What Databricks' refusals mean: its `error_code`s, and HTTP's statuses where it gives none.

A request that Databricks refuses as invalid fails the task; what a change of credentials, time or room mends does not. Whether
a request may have arrived matters for `sql/statements` only, since runs have a token: what comes out of the service after it
took the request (INTERNAL_ERROR, a deadline) may have.

Sources: https://docs.databricks.com/api/workspace/introduction (error codes), the exceptions of databricks-sdk 0.156, and
https://kb.databricks.com/jobs/job-rate-limit for INVALID_STATE and QUOTA_EXCEEDED; read 2026-11-22.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from outboard.agent import ErrorMap, Verdict
from outboard.errors import AgentError, Forbidden, Rejected, Sent, Throttled, Unauthorized, Unavailable

SOURCE: Final = "https://docs.databricks.com/api/workspace/introduction"

_LATER: Final = Verdict(AgentError, Sent.NO)
_CONFLICT: Final = Verdict(AgentError, Sent.MAYBE)
_QUOTA: Final = Verdict(Throttled, Sent.NO, timedelta(minutes=1))

ERRORS: Final = ErrorMap(
    {
        "INVALID_PARAMETER_VALUE": Rejected,
        "MALFORMED_REQUEST": Rejected,
        "BAD_REQUEST": Rejected,
        "INVALID_ARGUMENT": Rejected,
        "MISSING_PARAMETER": Rejected,
        "MAX_REQUEST_SIZE_EXCEEDED": Rejected,
        "RESOURCE_DOES_NOT_EXIST": Rejected,
        "NOT_FOUND": Rejected,
        "ENDPOINT_NOT_FOUND": Forbidden,
        "UNAUTHENTICATED": Unauthorized,
        "INVALID_TOKEN": Unauthorized,
        "CUSTOMER_UNAUTHORIZED": Unauthorized,
        403: Unauthorized,  # "Invalid access token." comes with this status and no word as its code
        "PERMISSION_DENIED": Forbidden,
        "FEATURE_DISABLED": Forbidden,
        "NOT_IMPLEMENTED": Forbidden,
        "INVALID_STATE": _LATER,
        "RESOURCE_CONFLICT": _CONFLICT,
        "ABORTED": _CONFLICT,
        "ALREADY_EXISTS": _CONFLICT,
        "RESOURCE_ALREADY_EXISTS": _CONFLICT,
        "REQUEST_LIMIT_EXCEEDED": Throttled,
        "RESOURCE_EXHAUSTED": Throttled,
        "TOO_MANY_REQUESTS": Throttled,
        "RESOURCE_LIMIT_EXCEEDED": _QUOTA,
        "QUOTA_EXCEEDED": _QUOTA,
        "TEMPORARILY_UNAVAILABLE": Unavailable,
        "SERVICE_UNDER_MAINTENANCE": Unavailable,
        "WORKSPACE_TEMPORARILY_UNAVAILABLE": Unavailable,
        "INTERNAL_ERROR": Unavailable,
        "UNKNOWN": Unavailable,
        "DATA_LOSS": Unavailable,
        "IO_ERROR": Unavailable,
        "DEADLINE_EXCEEDED": Unavailable,
        "CANCELLED": Unavailable,
        409: _CONFLICT,
        413: Rejected,
    },
    source=SOURCE,
)
"""By `error_code`, or HTTP status."""

_CREATED_TOO_MANY: Final = re.compile(r"rate limit|jobs? creat\w+ (?:in|per)", re.IGNORECASE)
_GONE: Final = re.compile(r"\bdoes(?: not|n't) exist|\bnot found\b", re.IGNORECASE)


def is_missing(error: AgentError) -> bool:
    """Tell whether a refusal of a question about a run or a statement says that there is none.

    `runs/get` says so with INVALID_PARAMETER_VALUE and "Run 1 does not exist" (status 400); newer endpoints with 404.
    """
    if error.platform_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
        return True
    return error.platform_code == "INVALID_PARAMETER_VALUE" and bool(_GONE.search(error.message))


def is_creation_limit(error: AgentError) -> bool:
    """Tell whether INVALID_STATE means "too many jobs created within an hour"."""
    return error.platform_code == "INVALID_STATE" and bool(_CREATED_TOO_MANY.search(error.message))
