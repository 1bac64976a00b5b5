"""Trino's errors: whose they are, and whether the same statement may pass later, by type and name.

Types and names: StandardErrorCode of https://github.com/trinodb/trino (core/trino-spi, release 435), and
https://trino.io/docs/current/develop/client-protocol.html (read 2026-11-22). A type answers for all its names but those listed
here; connectors have names of their own, whose type counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from outboard.platforms.sql.databases.meanings import BROKEN, CANCELLED, OPERATOR, PLATFORM, USER, Meaning
from outboard.platforms.sql.databases.port import Complaint, first_line, without_values

TYPES: dict[str, Meaning] = {
    "USER_ERROR": USER,
    "INTERNAL_ERROR": PLATFORM,
    "INSUFFICIENT_RESOURCES": PLATFORM,
    "EXTERNAL": PLATFORM,
}
NAMES: dict[str, Meaning] = {
    **dict.fromkeys(("USER_CANCELED", "ADMINISTRATIVELY_KILLED", "ADMINISTRATIVELY_PREEMPTED"), CANCELLED),
    **dict.fromkeys(("PERMISSION_DENIED", "CATALOG_NOT_AVAILABLE", "CONFIGURATION_INVALID"), OPERATOR),
    **dict.fromkeys(("CONFIGURATION_UNAVAILABLE", "HTTP_401", "HTTP_403", "HTTP_407"), OPERATOR),
    **dict.fromkeys(("EXCEEDED_TIME_LIMIT", "EXCEEDED_CPU_LIMIT", "EXCEEDED_SCAN_LIMIT"), USER),
    **dict.fromkeys(("EXCEEDED_LOCAL_MEMORY_LIMIT", "EXCEEDED_GLOBAL_MEMORY_LIMIT", "EXCEEDED_SPILL_LIMIT"), USER),
    **dict.fromkeys(("COMPILER_ERROR", "GENERIC_INTERNAL_ERROR", "FUNCTION_IMPLEMENTATION_ERROR"), BROKEN),
    **dict.fromkeys(("TRANSACTION_CONFLICT", "ABANDONED_QUERY", "ABANDONED_TASK"), PLATFORM),
    **dict.fromkeys(("HTTP_429", "HTTP_502", "HTTP_503", "HTTP_504"), PLATFORM),
    "QUERY_HAS_TOO_MANY_STAGES": USER,
    "OPTIMIZER_TIMEOUT": USER,
    **dict.fromkeys(("QUERY_REJECTED", "INVALID_RESOURCE_GROUP", "EXCHANGE_MANAGER_NOT_CONFIGURED"), OPERATOR),
    **dict.fromkeys(("FUNCTION_IMPLEMENTATION_MISSING", "AMBIGUOUS_FUNCTION_IMPLEMENTATION"), BROKEN),
    "INVALID_PROCEDURE_DEFINITION": BROKEN,
}
_BROKEN_OFF: Final = ("ABANDONED_QUERY", "SERVER_SHUTTING_DOWN", "SERVER_STARTING_UP")


class TrinoError(Exception):
    """What the cluster answered.

    Attributes:
        name: `errorName`, or `HTTP_<status>` of an answer that is none of the protocol's.
        kind: `errorType`.
    """

    def __init__(self, name: str, kind: str, words: str) -> None:
        super().__init__(words)
        self.name = name
        self.kind = kind


class QueryGone(Exception):
    """The cluster lost the query: nobody can tell how far it came."""


def error_of(error: Mapping[str, Any], values: Sequence[Any]) -> TrinoError:
    """Return the error that an answer tells; the texts of parameters are left out of its words."""
    words = first_line(error.get("message") or error.get("errorName"))
    return TrinoError(str(error.get("errorName")), str(error.get("errorType")), without_values(words, values))


def meaning_of(error: BaseException) -> Complaint | None:
    """Return what an error means; None for one that is neither the cluster's nor the transport's."""
    if isinstance(error, QueryGone):
        return Complaint(code="QueryGone", words=first_line(error), actor="platform", is_retryable=True, is_broken=True)
    if isinstance(error, TrinoError):
        actor, is_retryable = NAMES.get(error.name) or TYPES.get(error.kind, BROKEN)
        is_broken = error.name in _BROKEN_OFF or error.name.startswith("HTTP_")  # the query may go on
        return Complaint(
            code=error.name, words=first_line(error), actor=actor, is_retryable=is_retryable, is_broken=is_broken
        )
    from outboard.platforms.sql.databases.pools import transport_complaint  # noqa: PLC0415 - the tables are read without it

    return transport_complaint(error)
