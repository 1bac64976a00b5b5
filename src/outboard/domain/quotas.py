"""Quotas as data: what a platform allows per method, by what it counts, with the page that says so.

A method may have several rates at once (35 a second and 10,000 an hour): a call must fit all of them. Rates under
`ANY_METHOD` ("*") are spent by every method, beside the method's own. What a platform declares is what *it* allows to all
callers together; how many replicas share it is no business of the declaration (see `host.shares`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812 - `date` is a field here
from enum import Enum
from typing import Final

from typing_extensions import Self

from outboard.errors import ContractViolation

ANY_METHOD: Final = "*"
"""The method name under which a rate is spent by every call."""


class QuotaScope(str, Enum):
    """What a platform counts calls by."""

    ACCOUNT = "account"
    """By what `Platform.account` names: a project, a workspace, an AWS account and region."""
    CONNECTION = "connection"
    """By who calls: a user or service identity, which is a connection of ours."""
    PLATFORM = "platform"
    """All calls together: one server for everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A sustained rate with a burst: at most `per_second * t + burst` calls in any `t` seconds.

    Attributes:
        per_second: Calls per second that may go on for ever.
        burst: Calls that may be made at once after a pause.
        scope: What the platform counts them by.
        source: The page that states the limit.
        date: When that page was read, as YYYY-MM-DD.

    Raises:
        ContractViolation: A number or the date is none.
    """

    per_second: float
    burst: int = 1
    scope: QuotaScope = QuotaScope.ACCOUNT
    source: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        if not _is_number(self.per_second) or not 0 < self.per_second < math.inf:
            raise ContractViolation(f"a Rate of {self.per_second!r} calls per second: give a number above 0")
        if not _is_count(self.burst, 1):
            raise ContractViolation(f"a Rate with a burst of {self.burst!r}: give a whole number of at least 1")
        scopes = ", ".join(f"QuotaScope.{scope.name}" for scope in QuotaScope)
        if self.scope not in tuple(QuotaScope):
            raise ContractViolation(f"a Rate counted by {self.scope!r}: give one of {scopes}")
        if self.date and not _is_date(self.date):
            raise ContractViolation(f"a Rate whose page was read on {self.date!r}: give the date as YYYY-MM-DD")

    @classmethod
    def per_minute(
        cls,
        calls: int,
        *,
        burst: int | None = None,
        scope: QuotaScope = QuotaScope.ACCOUNT,
        source: str = "",
        date: str = "",
    ) -> Self:
        """Return a rate that never makes more than `calls` in any minute; see `per_hour`."""
        return cls._within(60.0, calls, burst, scope=scope, source=source, date=date)

    @classmethod
    def per_hour(
        cls,
        calls: int,
        *,
        burst: int | None = None,
        scope: QuotaScope = QuotaScope.ACCOUNT,
        source: str = "",
        date: str = "",
    ) -> Self:
        """Return a rate that never makes more than `calls` in any hour, however the platform's hours begin.

        The burst counts within: of 10,000 an hour with a burst of 1,000, the other 9,000 are spread over the hour.

        Args:
            calls: How many.
            burst: How many of them at once; a tenth where it is not given.
            scope: What the platform counts them by.
            source: The page that states the limit.
            date: When it was read.

        >>> Rate.per_hour(10_000, source="https://example.com/limits").per_second
        2.5
        """
        return cls._within(3600.0, calls, burst, scope=scope, source=source, date=date)

    @classmethod
    def _within(
        cls, seconds: float, calls: int, burst: int | None, *, scope: QuotaScope, source: str, date: str
    ) -> Self:
        if not _is_count(calls, 2):
            raise ContractViolation(f"a Rate of {calls!r} calls: give a whole number of at least 2, or per_second")
        at_once = max(1, calls // 10) if burst is None else burst
        if not _is_count(at_once, 1) or at_once >= calls:
            raise ContractViolation(f"a Rate of {calls} calls with a burst of {at_once!r}: give 1 to {calls - 1}")
        return cls(per_second=(calls - at_once) / seconds, burst=at_once, scope=scope, source=source, date=date)


@dataclass(frozen=True, slots=True)
class Quotas:
    """Rates by method name, one or several each; a method without an entry is free until the platform throttles it.

    >>> quotas = Quotas({"runs/submit": (Rate(per_second=35), Rate.per_hour(10_000)), "*": Rate(per_second=100)})
    >>> [rate.per_second for rate in quotas.of("runs/submit")]
    [35, 2.5]

    Raises:
        ContractViolation: A name is empty, or a value is no `Rate`.
    """

    rates: Mapping[str, Rate | Sequence[Rate]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for method, rates in self.rates.items():
            if not _is_name(method):
                raise ContractViolation(f"Quotas name the method {method!r}: give the platform's name of the call")
            if not rates_of(rates) or not all(isinstance(rate, Rate) for rate in rates_of(rates)):
                raise ContractViolation(f"Quotas for {method} are {rates!r}: give a Rate or several")

    def of(self, method: str) -> tuple[Rate, ...]:
        """Return the rates of a method by its own name; none where it has no entry."""
        return tuple(rates_of(self.rates.get(method, ())))

    def __iter__(self) -> Iterator[tuple[str, Rate]]:
        return ((method, rate) for method, rates in self.rates.items() for rate in rates_of(rates))


def rates_of(value: Rate | Iterable[Rate]) -> Sequence[Rate]:
    """Return one rate or several as several."""
    return (value,) if isinstance(value, Rate) else tuple(value) if isinstance(value, (tuple, list)) else ()


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_date(text: object) -> bool:
    try:
        return isinstance(text, str) and len(text) == 10 and bool(Date.fromisoformat(text))
    except ValueError:
        return False
