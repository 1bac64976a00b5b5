"""Error maps: one table per platform from what its client raises or answers to errors that the host understands.

Each entry says who must act, whether a retry is worth it, and whether the call may have *arrived*. The last one is
what keeps a job from being started twice: whatever is not in the table counts as "maybe". Authors write no try/except
around their platform calls; the host applies the map.

Which status, codes and Retry-After an answer or an SDK's exception carries is read by `error_facts`. What a table makes
`Throttled` slows the account's calls (see `spending`), so it is worth listing each way in which a platform says "slow down":
403 with a code, or a body that comes with status 200 (`in_body`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from outboard.agent.error_facts import facts_of_error
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
            over a status, a status over an exception class, a subclass over its parents. What is not in the table falls
            back on what HTTP says of 401, 403, 408, 425 and 429, before exception classes are looked for.
        source: The page that documents the codes.
        in_body: Reads the code out of the JSON of an answer *below* 400, for platforms that refuse with status 200; None
            where it is no refusal. Codes that are not in the table leave the answer an answer.

    >>> errors = ErrorMap(
    ...     {"QUOTA": Throttled, 400: Verdict(AgentError, Sent.NO)}, source="https://example.com/errors"
    ... )
    >>> type(errors.classify(words="slow down", status=400, code="QUOTA")).__name__
    'Throttled'
    """

    def __init__(
        self,
        table: Mapping[ErrorKey, Verdict | type[AgentError]] | None = None,
        *,
        source: str = "",
        in_body: Callable[[Any], str | None] | None = None,
    ) -> None:
        self.source = source
        self.in_body = in_body
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
        code: str | Sequence[str] | None = None,
        retry_after: timedelta | None = None,
    ) -> AgentError | OutboardError:
        """Return the error that a failed platform call stands for.

        An error of our own tree passes unchanged.

        Args:
            error: What was raised; it tells what is not given here.
            words: The platform's, for the user.
            status: The HTTP status.
            code: The platform's code; of several, the first that is listed counts.
            retry_after: When to come back.
        """
        if isinstance(error, OutboardError):
            return error
        facts = facts_of_error(error)
        status = status if status is not None else facts.status
        codes = facts.codes if code is None else (code,) if isinstance(code, str) else tuple(code)
        told = next((each for each in codes if each in self._table), codes[0] if codes else None)
        verdict = self._find(error, status, told)
        message = (words or _words(error))[:_WORDS_LIMIT]
        wait = retry_after or facts.retry_after or verdict.retry_after
        return verdict.kind(message, code=told, sent=verdict.sent, retry_after=wait)

    def refusal_in(self, content: Any) -> OutboardError | None:
        """Return the error that an answer below 400 stands for, as `in_body` reads its JSON; None when it is none."""
        code = None if self.in_body is None else self.in_body(content)
        if code is None or code not in self._table:
            return None
        return self.classify(words=f"the platform answers {code}", code=code)

    def _find(self, error: BaseException | None, status: int | None, code: str | None) -> Verdict:
        if code is not None and code in self._table:
            return self._table[code]
        if status is not None and (known := self._table.get(status) or _BY_STATUS.get(status)) is not None:
            return known
        for parent in type(error).__mro__ if error is not None else ():
            if parent in self._table:
                return self._table[parent]
        return _unlisted(status) if status is not None else _transport(error)


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


def _words(error: BaseException | None) -> str:
    if error is None:
        return "the platform gave no reason"
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - an error that cannot be shown is still an error
        return type(error).__name__
