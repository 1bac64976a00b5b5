"""Quotas as data: what a platform allows per account and method, with the page that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A sustained rate with a burst.

    Attributes:
        per_second: Calls per second that may go on for ever.
        burst: Calls that may be made at once after a pause.
        source: The page that states the limit.
    """

    per_second: float
    burst: int = 1
    source: str = ""

    def __post_init__(self) -> None:
        if self.per_second <= 0 or self.burst < 1:
            raise ValueError("a rate needs per_second > 0 and burst >= 1")


@dataclass(frozen=True, slots=True)
class Quotas:
    """Rates by method name; a method without an entry is unlimited."""

    rates: Mapping[str, Rate] = field(default_factory=dict)
