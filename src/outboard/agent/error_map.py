"""Error maps: one table per platform from what its client raises or answers to errors that the host understands.

Each entry says who must act, whether a retry is worth it, and whether the call may have *arrived*. The last one is
what keeps a job from being started twice: whatever is not in the table counts as "maybe". Authors write no try/except
around their platform calls; the host applies the map.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from outboard.errors import (
    AgentError,
    ContractViolation,
    Forbidden,
    OutboardError,
    Sent,
    Throttled,
    Unauthorized,
    Unavailable,
)

_WORDS_LIMIT: Final = 2_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error means.

    Attributes:
        kind: The error class; it says who must act and whether a retry is worth it (see `outboard.errors`).
        sent: Whether the call may have taken effect; None takes the class's own default.
        retry_after: How long to wait, where the platform's rules say so.
    """

    kind: type[AgentError]
    sent: Sent | None = None
    retry_after: timedelta | None = None


ErrorKey = type[BaseException] | int | str
"""An exception class, an HTTP status, or the platform's own error code."""

# RFC 9110 for the statuses. 400 is missing on purpose: only the platform's author knows which 400 is final.
_BY_STATUS: Final[dict[int, Verdict]] = {
    401: Verdict(Unauthorized),
    403: Verdict(Forbidden),
    408: Verdict(Unavailable),
    425: Verdict(Throttled),
    429: Verdict(Throttled),
}


class ErrorMap:
    """A platform's table of errors.

    Args:
        table: Verdicts (or just the error class) by exception class, HTTP status or the platform's code. A code wins
            over a status, a status over an exception class, a subclass over its parents.
        source: The page that documents the codes.

    >>> errors = ErrorMap(
    ...     {"QUOTA": Throttled, 400: Verdict(AgentError, Sent.NO)}, source="https://example.com/errors"
    ... )
    >>> type(errors.classify(words="slow down", status=400, code="QUOTA")).__name__
    'Throttled'
    """

    def __init__(self, table: Mapping[ErrorKey, Verdict | type[AgentError]] | None = None, *, source: str = "") -> None:
        self.source = source
        self._table: dict[ErrorKey, Verdict] = {
            key: entry if isinstance(entry, Verdict) else Verdict(entry) for key, entry in (table or {}).items()
        }
        for key, verdict in self._table.items():
            kind: object = verdict.kind
            if not isinstance(kind, type) or not issubclass(kind, AgentError):
                raise ContractViolation(f"an ErrorMap says {kind!r} for {key!r}; say an AgentError or a Verdict")

    def classify(
        self,
        error: BaseException | None = None,
        *,
        words: str = "",
        status: int | None = None,
        code: str | None = None,
        retry_after: timedelta | None = None,
    ) -> AgentError | OutboardError:
        """Return the error that a failed platform call stands for.

        An error of our own tree passes unchanged. `words` are the platform's, for the user.
        """
        if isinstance(error, OutboardError):
            return error
        status = status if status is not None else _attribute(error, "status", int)
        code = code if code is not None else _attribute(error, "code", str)
        verdict = self._find(error, status, code)
        message = (words or _words(error))[:_WORDS_LIMIT]
        return verdict.kind(message, code=code, sent=verdict.sent, retry_after=retry_after or verdict.retry_after)

    def _find(self, error: BaseException | None, status: int | None, code: str | None) -> Verdict:
        if code is not None and code in self._table:
            return self._table[code]
        if status is not None:
            return self._table.get(status) or _BY_STATUS.get(status) or _unlisted(status)
        for parent in type(error).__mro__ if error is not None else ():
            if parent in self._table:
                return self._table[parent]
        return _transport(error)


def _unlisted(status: int) -> Verdict:
    if 400 <= status < 500:
        return Verdict(AgentError, Sent.NO)
    return Verdict(Unavailable)


def _transport(error: BaseException | None) -> Verdict:
    if isinstance(error, ConnectionRefusedError):
        return Verdict(Unavailable, Sent.NO)
    if isinstance(error, (OSError, asyncio.TimeoutError, TimeoutError, EOFError)):
        return Verdict(Unavailable)
    if isinstance(error, (TypeError, AttributeError, NameError, LookupError)):
        return Verdict(AgentError)
    return Verdict(Unavailable)


def _attribute(error: BaseException | None, name: str, expected: type[T]) -> T | None:
    try:
        value = getattr(error, name, None)
    except Exception:  # noqa: BLE001 - a library's property may do anything
        return None
    return value if isinstance(value, expected) else None


def _words(error: BaseException | None) -> str:
    if error is None:
        return "the platform gave no reason"
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error that cannot be shown is still an error
        return type(error).__name__
