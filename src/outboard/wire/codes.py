"""Errors to gRPC's status codes and back.

The table names every class of the error tree, and a test proves that it does. What travels is one sentence (the message, with
everything that has the form of a credential removed, at most 1 KiB) that ends with the error's id, and as trailing metadata
what a program needs: the class, the id, whether a retry is worth it and, for platform errors, whether the call may have
arrived. Causes stay in the log of whoever raised them.

An engine that talks to Outboard gets the same class back. From any other service, only the code is there to go by: what cannot
be told apart is read as "ask again", never as "the job is dead", since other services answer INTERNAL for a slow platform too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from grpc import StatusCode

from outboard import errors
from outboard.domain.secret_refs import redact_forms
from outboard.errors import AgentError, OutboardError, Sent

DETAILS_LIMIT_BYTES: Final = 1024
"""Clients bound the size of an answer's metadata; C-core ones break the call beyond 8 to 16 KiB."""

ERROR: Final = "outboard-error"
ERROR_ID: Final = "outboard-error-id"
RETRY: Final = "outboard-retry"
RETRY_AFTER: Final = "outboard-retry-after-s"
SENT: Final = "outboard-sent"
PUSHBACK: Final = "grpc-retry-pushback-ms"
"""What gRPC's own clients read who were given a retry policy (gRFC A6)."""

CODES: Final[Mapping[type[OutboardError], StatusCode]] = {
    errors.OutboardError: StatusCode.INTERNAL,
    errors.TaskError: StatusCode.INVALID_ARGUMENT,
    errors.InvalidTask: StatusCode.INVALID_ARGUMENT,
    errors.InvalidInputs: StatusCode.INVALID_ARGUMENT,
    errors.UnknownTaskType: StatusCode.NOT_FOUND,
    errors.HandleError: StatusCode.INVALID_ARGUMENT,
    errors.ForeignHandle: StatusCode.INVALID_ARGUMENT,
    errors.UnreadableHandle: StatusCode.UNAVAILABLE,
    errors.HandleTooLarge: StatusCode.RESOURCE_EXHAUSTED,
    errors.AgentError: StatusCode.UNAVAILABLE,
    errors.Rejected: StatusCode.INVALID_ARGUMENT,
    errors.Unauthorized: StatusCode.FAILED_PRECONDITION,
    errors.Forbidden: StatusCode.FAILED_PRECONDITION,
    errors.Throttled: StatusCode.RESOURCE_EXHAUSTED,
    errors.BudgetSpent: StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: StatusCode.UNAVAILABLE,
    errors.SecretsUnavailable: StatusCode.UNAVAILABLE,
    errors.OutcomeUnknown: StatusCode.INTERNAL,
    errors.AgentFault: StatusCode.INTERNAL,
    errors.ContractViolation: StatusCode.INTERNAL,
    errors.InvalidOutputs: StatusCode.INTERNAL,
    errors.Unsupported: StatusCode.UNIMPLEMENTED,
    errors.OperatorError: StatusCode.FAILED_PRECONDITION,
    errors.InvalidSettings: StatusCode.FAILED_PRECONDITION,
    errors.MissingSecret: StatusCode.FAILED_PRECONDITION,
    errors.StoreUnavailable: StatusCode.UNAVAILABLE,
    errors.EndpointUnreachable: StatusCode.UNAVAILABLE,
    errors.JournalUnwritable: StatusCode.FAILED_PRECONDITION,
    errors.RunOwned: StatusCode.FAILED_PRECONDITION,
    errors.Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownCaller: StatusCode.UNAUTHENTICATED,
    errors.UnverifiedCaller: StatusCode.UNAVAILABLE,
    errors.RefusedCaller: StatusCode.PERMISSION_DENIED,
    errors.DrainingError: StatusCode.UNAVAILABLE,
    errors.TaskFailed: StatusCode.INTERNAL,
}

_ERROR_ID: Final = re.compile(r"\s*\(error id ([0-9a-f]{1,32})\)$")
_SHOWN_CHARACTERS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class WireError:
    """An error as gRPC carries it."""

    code: StatusCode
    details: str
    trailing: tuple[tuple[str, str], ...]


def status_code(error: OutboardError) -> StatusCode:
    """Return the code of an error; a class that is not in the table has that of its nearest parent."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def encode_error(error: OutboardError, message: str | None = None) -> WireError:
    """Return an error as gRPC carries it.

    Args:
        error: What was raised.
        message: The message with the secrets that its sender knows removed; without one the error's own is taken.
    """
    trailing = [(ERROR, _public_name(error)), (ERROR_ID, error.error_id), (RETRY, error.retry.value)]
    if error.retry_after is not None:
        trailing.append((RETRY_AFTER, f"{error.retry_after.total_seconds():.3f}"))
        trailing.append((PUSHBACK, str(max(0, round(error.retry_after.total_seconds() * 1000)))))
    if isinstance(error, AgentError):
        trailing.append((SENT, error.sent.value))
    return WireError(
        code=status_code(error),
        details=_sentence(error.message if message is None else message, error.error_id),
        trailing=tuple(trailing),
    )


def decode_error(code: StatusCode, details: str, trailing: Mapping[str, str], operation: str) -> OutboardError:
    """Return the error that a service answered.

    Args:
        code: The status code.
        details: Its text.
        trailing: The trailing metadata.
        operation: The RPC's name (`CreateTask`), which decides what INVALID_ARGUMENT is about.
    """
    kind = _BY_NAME.get(trailing.get(ERROR, ""))
    if kind is None:
        return _decode_foreign(code, details, operation)
    error = _build(kind, _ERROR_ID.sub("", details), trailing)
    error.error_id = trailing.get(ERROR_ID, error.error_id)
    return error


def _sentence(message: str, error_id: str) -> str:
    """Return one line of at most 1 KiB that ends with the id."""
    end = f" (error id {error_id})"
    text = " ".join(redact_forms(message).split()).encode(errors="replace")
    return text[: DETAILS_LIMIT_BYTES - len(end)].decode(errors="ignore") + end


def _public_name(error: OutboardError) -> str:
    return next(kind.__name__ for kind in type(error).__mro__ if kind in CODES)


def _build(kind: type[OutboardError], message: str, trailing: Mapping[str, str]) -> OutboardError:
    retry_after = _seconds(trailing.get(RETRY_AFTER))
    if issubclass(kind, AgentError):
        sent = trailing.get(SENT)
        return kind(message, sent=Sent(sent) if sent in _SENT else None, retry_after=retry_after)
    error = kind(message)
    error.retry_after = retry_after
    return error


def _seconds(text: str | None) -> timedelta | None:
    try:
        return timedelta(seconds=float(text)) if text else None
    except (ValueError, OverflowError):
        return None


def _decode_foreign(code: StatusCode, details: str, operation: str) -> OutboardError:
    """Return the nearest error for a code of a service that is not Outboard."""
    words = _last_line(details) or f"the service answered {code.name} without a word"
    if code is StatusCode.INVALID_ARGUMENT:
        return errors.ForeignHandle(words) if operation in _BY_HANDLE else errors.InvalidTask(words)
    if code is StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return errors.InvalidInputs(f"the request or its answer is too large ({words}); pass large values by reference")
    if code is StatusCode.UNKNOWN and "NotImplementedError" in details:
        return errors.Unsupported(f"the service does not offer {operation}")  # how flytekit's and Flyte 2's say it
    if code in _FOREIGN:
        return _FOREIGN[code](words)
    return errors.Unavailable(f"{code.name}: {words}", code=code.name)


def _last_line(details: str) -> str:
    """Return the last line of a text, which in a traceback is the exception: all that flytekit's service says."""
    lines = [line.strip() for line in details.splitlines() if line.strip()]
    return redact_forms(lines[-1])[:_SHOWN_CHARACTERS] if lines else ""


_BY_HANDLE: Final = frozenset({"GetTask", "DeleteTask", "GetTaskLogs", "GetTaskMetrics"})
_SENT: Final = frozenset(sent.value for sent in Sent)
_BY_NAME: Final = {kind.__name__: kind for kind in CODES}
_FOREIGN: Final[Mapping[StatusCode, type[OutboardError]]] = {
    StatusCode.NOT_FOUND: errors.UnknownTaskType,
    StatusCode.UNIMPLEMENTED: errors.Unsupported,
    StatusCode.UNAUTHENTICATED: errors.Unauthorized,
    StatusCode.PERMISSION_DENIED: errors.Forbidden,
    StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    StatusCode.FAILED_PRECONDITION: errors.Rejected,
}
