"""What BigQuery's error reasons mean: for a call that was refused, and for a job that ended.

One row per reason of the documentation's error table, and a few that the API sends beside it. The same word means
different things in the two places. A call that BigQuery could not serve (`backendError`) may have arrived, and is asked
again under the same job id. A job that ended so is over: only another attempt, with another id, can succeed. A call that
is slowed down waits; a job that was refused for its quota ends, and is worth another attempt.

Two kinds of "too much": `rateLimitExceeded` is over within seconds; `quotaExceeded` lasts ten minutes or longer.

Sources: https://cloud.google.com/bigquery/docs/error-messages#errortable and
https://cloud.google.com/bigquery/docs/troubleshoot-quotas, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from outboard.agent import Cause, ErrorMap, Failure, Retry, Verdict
from outboard.errors import AgentError, Forbidden, Rejected, Sent, Throttled, Unauthorized, Unavailable

SOURCE: Final = "https://cloud.google.com/bigquery/docs/error-messages#errortable"
SHORT: Final = timedelta(seconds=5)
LONG: Final = timedelta(minutes=10)
DUPLICATE: Final = "duplicate"
NOT_FOUND: Final = "notFound"
NO_RESULT: Final = "noResult"
"""Our own word for a job that succeeded without the table that its task declares."""


@dataclass(frozen=True, slots=True)
class Reason:
    """What a reason means.

    Attributes:
        call: For a call.
        retry: Whether a job that ended so is worth another attempt.
        cause: Whose doing such an end is.
        documented: Whether it stands in the error table.
    """

    call: Verdict
    retry: Retry
    cause: Cause
    documented: bool = True


def _user(kind: type[AgentError] = Rejected) -> Reason:
    return Reason(Verdict(kind), Retry.NEVER, Cause.USER)


def _google(call: Verdict | None = None, retry: Retry = Retry.YES) -> Reason:
    return Reason(call or Verdict(Unavailable), retry, Cause.PLATFORM)


def _too_much(wait: timedelta) -> Reason:
    return Reason(Verdict(Throttled, Sent.NO, wait), Retry.YES, Cause.PLATFORM)


REASONS: Final[Mapping[str, Reason]] = {
    "accessDenied": _user(Forbidden),
    "backendError": _google(),
    "badRequest": _user(),
    "billingNotEnabled": _user(),
    "billingTierLimitExceeded": _user(),
    "blocked": _google(Verdict(Forbidden, Sent.NO), Retry.NEVER),
    DUPLICATE: _user(),
    "internalError": _google(),
    "invalid": _user(),
    "invalidQuery": _user(),
    "invalidUser": _user(Unauthorized),
    "jobBackendError": _google(),
    "jobInternalError": _google(),
    "jobRateLimitExceeded": _too_much(SHORT),
    NOT_FOUND: _user(),
    "notImplemented": _google(Verdict(Rejected), Retry.NEVER),
    "proxyAuthenticationRequired": _google(Verdict(Unauthorized), Retry.YES),
    "quotaExceeded": _too_much(LONG),
    "rateLimitExceeded": _too_much(SHORT),
    "resourceInUse": _google(Verdict(Unavailable, Sent.NO)),
    "resourcesExceeded": _user(),
    "responseTooLarge": _user(),
    "stopped": Reason(Verdict(Rejected), Retry.NEVER, Cause.CANCELLED_OUTSIDE),
    "tableUnavailable": _google(Verdict(Unavailable, Sent.NO)),
    "timeout": Reason(Verdict(Unavailable), Retry.NEVER, Cause.USER),
    "bytesBilledLimitExceeded": Reason(Verdict(Rejected), Retry.NEVER, Cause.USER, documented=False),
}
"""By the API's `ErrorProto.reason`."""


def _reason_in(body: object) -> str | None:
    """Return the reason of an error that came with a good status, as some of Google's front ends send it."""
    error = body.get("error") if isinstance(body, Mapping) else None
    listed = error.get("errors") if isinstance(error, Mapping) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    return str(first.get("reason")) if isinstance(first, Mapping) else None


ERRORS: Final = ErrorMap(
    {
        **{reason: meaning.call for reason, meaning in REASONS.items()},
        "userRateLimitExceeded": Verdict(Throttled, Sent.NO, SHORT),
        "RESOURCE_EXHAUSTED": Throttled,
        "authError": Unauthorized,
        "UNAUTHENTICATED": Unauthorized,
        "PERMISSION_DENIED": Forbidden,
        "required": Rejected,
        "parseError": Rejected,
        "responsePreparationFailure": Unavailable,
        407: Verdict(Unauthorized),
    },
    source=SOURCE,
    in_body=_reason_in,
)
"""For calls. The last ones are codes of Google's API front end, of the IAM Credentials API, and an HTTP status."""

_LATER: Final = ("could not serialize access", "streaming buffer", "transaction is aborted due to concurrent update")
_NO_LOGIN: Final = ("authError", "UNAUTHENTICATED")
_ELSEWHERE: Final = ("was not found in location", "in different locations", "not found in region")


def failure_of(reason: str, message: str, location: str) -> Failure:
    """Return why a job failed, by its `errorResult`.

    Args:
        reason: The API's word.
        message: BigQuery's own words.
        location: Where the job ran; told where the words are about another location.
    """
    known = REASONS.get(reason)
    retry = known.retry if known is not None else Retry.NEVER
    if any(words in message.lower() for words in _LATER):
        retry = Retry.YES  # conflicting changes, and rows that cannot be changed yet: the same statement passes later
    return Failure(
        code=reason,
        message=explained(reason, message, location),
        retry=retry,
        cause=known.cause if known is not None else Cause.PLATFORM,
    )


def explained(reason: str, message: str, location: str) -> str:
    """Return BigQuery's words with what to do, where they do not say it."""
    if any(words in message.lower() for words in _ELSEWHERE):
        where = f"the job ran in {location}" if location else "the task names no location"
        return f"{message} ({where}; if the data are elsewhere, set the task's Location to where all of them are)"
    if reason == "bytesBilledLimitExceeded":
        return f"{message} (nothing was billed: read less, or raise maximum_bytes_billed of the QueryJobConfig)"
    if reason == "accessDenied":
        return f"{message} (grant the job's service account what is missing; see the README's least privileges)"
    if reason in _NO_LOGIN:
        return f"{message} (renew the credentials: the secret of platforms.bigquery, or what the engine provides)"
    return message
