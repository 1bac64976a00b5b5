"""What Athena's refusals mean, and why queries fail.

A refused call tells its exception (`__type`) and, for an invalid request, a code of its own beside it (`AthenaErrorCode`). A
query that failed tells a category (1 system, 2 user, 3 other), a number from Athena's error catalog and whether the same query
might succeed (`Retryable`). Athena's own word on that counts; the catalog decides where it says nothing, and for throttling,
which Athena does not always call retryable. Older queries have words only, of which a few are known.

Sources: https://docs.aws.amazon.com/athena/latest/APIReference/API_StartQueryExecution.html and CommonErrors.html beside it;
https://docs.aws.amazon.com/athena/latest/ug/error-reference.html; the model of botocore 1.43; all read 2026-11-22. The codes of
invalid requests are documented nowhere; those here were measured on AWS by the makers of athena-local (README, 2026-09-17).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from outboard.agent import Cause, ErrorMap, Failure, Retry, Verdict
from outboard.errors import AgentError, Forbidden, Rejected, Sent, Throttled, Unauthorized, Unavailable

SOURCE: Final = "https://docs.aws.amazon.com/athena/latest/APIReference/CommonErrors.html"
CATALOG_SOURCE: Final = "https://docs.aws.amazon.com/athena/latest/ug/error-reference.html"
SHORT: Final = timedelta(seconds=1)
FULL: Final = timedelta(seconds=15)
NOT_FOUND: Final = "QUERY_EXECUTION_NOT_FOUND"
MISMATCH: Final = "IDEMPOTENT_PARAMETER_MISMATCH"
CONCURRENT: Final = "CONCURRENT_QUERY_LIMIT_EXCEEDED"

_INVALID: Final = (
    *("InvalidRequestException", "MetadataException", "ResourceNotFoundException", "SessionAlreadyExistsException"),
    *("ValidationException", "ValidationError", "MalformedHttpRequestException", "SerializationException"),
    *("UnknownOperationException", "RequestEntityTooLargeException"),
)
_WHO: Final = (
    *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "UnrecognizedClientException", "InvalidClientTokenId"),
    *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException"),
    *("MissingAuthenticationToken", "MissingAuthenticationTokenException", "NotAuthorized", "InvalidAccessKeyId"),
)

ERRORS: Final = ErrorMap(
    {
        **dict.fromkeys(_INVALID, Rejected),
        **dict.fromkeys(_WHO, Unauthorized),
        NOT_FOUND: Rejected,
        MISMATCH: Verdict(Rejected, Sent.NO),
        **dict.fromkeys(("AccessDenied", "AccessDeniedException", "OptInRequired"), Forbidden),
        "TooManyRequestsException": Verdict(Throttled, Sent.NO, SHORT),
        CONCURRENT: Verdict(Throttled, Sent.NO, FULL),
        **dict.fromkeys(
            ("ThrottlingException", "Throttling", "RequestLimitExceeded"), Verdict(Throttled, Sent.NO, SHORT)
        ),
        **dict.fromkeys(("InternalServerException", "InternalFailure", "InternalError"), Unavailable),
        **dict.fromkeys(("ServiceUnavailable", "ServiceUnavailableException", "RequestTimeoutException"), Unavailable),
        "RequestAbortedException": Unavailable,
    },
    source=SOURCE,
)
"""For calls. An unknown code of an invalid request stands beside its exception, which is known."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a number of the error catalog means.

    Attributes:
        words: The catalog's description.
        retry: Whether the same query is worth another attempt, where Athena does not say.
        cause: Whose doing the failure is.
    """

    words: str
    retry: Retry = Retry.NEVER
    cause: Cause = Cause.USER


def _meanings() -> Iterator[tuple[int, Meaning]]:
    engine = Meaning("Query engine had an internal error", Retry.YES, Cause.PLATFORM)
    service = Meaning("Internal service error", Retry.YES, Cause.PLATFORM)
    for number in range(9):
        yield number, Meaning("Query exhausted resources at this scale factor")
    for number in (*range(200, 233), 235, 236, 1012, 1013, 1102, 1104, 1105, 1304, 1305, 1308):
        yield number, engine
    for number in (100, *range(300, 304), 400, 1010, 9999):
        yield number, service
    for number, words in _PLATFORM.items():
        yield number, Meaning(words, Retry.YES, Cause.PLATFORM)
    for number, words in _USER.items():
        yield number, Meaning(words)
    for number in (206, 210):
        yield number, Meaning("Query timed out")
    for number in (1011, 1014):
        yield number, Meaning("Query canceled by user", Retry.NEVER, Cause.CANCELLED_OUTSIDE)


_PLATFORM: Final = {
    203: "Driver error",
    204: "The metastore had an error",
    209: "Failed to cancel query",
    239: "General persistence error",
    240: "Failed to submit query",
    238: "Failed to upload metadata to Amazon S3",
    401: "Failed to write query results to Amazon S3",
    402: "Failed to write query results to Amazon S3",
    1400: "Throttling error",
    1401: "Query failed due to AWS Glue throttling",
    1403: "Query failed due to Amazon S3 throttling",
    1404: "Query failed due to Amazon Athena throttling",
    1405: "Query failed due to Amazon Athena throttling",
    1406: "Query failed due to Amazon Athena throttling",
    1602: "Exceeded reserved capacity limit",
    1700: "Query failed due to a Lake Formation internal exception",
    1701: "Query failed due to an AWS Glue internal exception",
}
_USER: Final = {
    233: "Iceberg error",
    234: "Lake Formation error",
    237: "Serialization error",
    1000: "User error",
    1001: "Data error",
    1002: "Data error",
    1003: "DDL task failed",
    1004: "Schema error",
    1005: "Serialization error",
    1006: "Syntax error",
    1007: "Data error",
    1008: "Query rejected",
    1009: "Query failed",
    1100: "Invalid argument provided",
    1101: "Invalid property provided",
    1103: "Invalid table property provided",
    1106: "Invalid function argument provided",
    1107: "Invalid view",
    1108: "Failed to register function",
    1109: "Provided Amazon S3 path not found",
    1110: "Provided table or view does not exist",
    1200: "Query not supported",
    1201: "Provided decoder not supported",
    1202: "Query type not supported",
    1300: "General not found error",
    1301: "General entity not found",
    1302: "File not found",
    1303: "Provided function or function implementation not found",
    1306: "Amazon S3 bucket not found",
    1307: "Selected engine not found",
    1402: "Query failed due to too many table versions in AWS Glue",
    1500: "Permission error",
    1501: "Amazon S3 permission error",
}
CATALOG: Final[Mapping[int, Meaning]] = dict(_meanings())
"""Athena's error catalog, by `ErrorType`."""
_THROTTLING: Final = frozenset({1400, 1401, 1403, 1404, 1405, 1406, 1602})
_PASSING: Final = (
    *("slowdown", "slow down", "rate exceeded", "throttlingexception", "internal_error", "internal error"),
    *("iceberg_commit_error", "service unavailable", "concurrentmodification"),
)


def failure_of(execution_error: Mapping[str, Any], reason: str, region: str) -> Failure:
    """Return why a query failed.

    Args:
        execution_error: The API's `AthenaError`; empty where there is none.
        reason: The query's `StateChangeReason`.
        region: Where it ran; told where the words are about another region.
    """
    told, category = execution_error.get("ErrorType"), execution_error.get("ErrorCategory")
    number = told if isinstance(told, int) and not isinstance(told, bool) else None
    known = CATALOG.get(number) if number is not None else None
    words = (
        reason or str(execution_error.get("ErrorMessage") or "") or (known.words if known else "Athena gives no reason")
    )
    cause = known.cause if known is not None else Cause.PLATFORM if category == 1 else Cause.USER
    return Failure(
        code=str(number) if number is not None else "FAILED",
        message=_explained(words, known, region),
        retry=Retry.YES if number in _THROTTLING else _retry(execution_error, known, words),
        cause=cause,
    )


def _retry(error: Mapping[str, Any], known: Meaning | None, words: str) -> Retry:
    told = error.get("Retryable")
    if any(each in words.lower() for each in _PASSING):
        return Retry.YES
    if isinstance(told, bool):
        return Retry.YES if told else Retry.NEVER
    if known is not None:
        return known.retry
    return Retry.YES if error.get("ErrorCategory") == 1 else Retry.NEVER


def _explained(words: str, known: Meaning | None, region: str) -> str:
    lower = words.lower()
    if "permanentredirect" in lower or "must be addressed using the specified endpoint" in lower:
        return (
            f"{words} (the query ran in {region}, and the data or results lie in another region; set the task's region)"
        )
    if known is not None and known.words.startswith("Query exhausted"):
        return f"{words} (the query needs more memory than Athena has for one: sort, join or group less at once)"
    return words


def explained(error: AgentError) -> AgentError:
    """Return a refusal with what to do, where AWS's words do not say it."""
    hint = ""
    lower = error.message.lower()
    if isinstance(error, Forbidden):
        hint = "allow it to the role that queries run as; see the README's least privileges"
    elif error.platform_code == MISMATCH or lower.startswith("idempotent parameters"):
        hint = "settings changed after a query of this attempt had been started; run the task again"
    elif isinstance(error, Unauthorized) and "signature expired" in lower:
        hint = "the clock of this machine is wrong"
    elif "output location" in lower:
        hint = (
            "the operator sets platforms.athena.output_location, or the workgroup's; or the task names outputLocation"
        )
    if hint:
        error.message = f"{error.message} ({hint})"
        error.args = (error.message,)
    return error
