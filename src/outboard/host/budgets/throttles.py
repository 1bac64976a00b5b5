"""Throttles: how fast calls may go after a platform said "slow down", as a function of time.

Additive increase, multiplicative decrease, as TCP does it (Chiu and Jain 1989): the first "slow down" halves the rate that
calls were made at just before; from there it grows by a sixtieth of that rate each second, so what was lost is back after
half a minute, unless the platform says it again. It never falls below one call in 30 s: whoever stops asking never learns
that it is over.

Many calls may be under way when the first is refused. Only a call that was made after the last cut says anything about
the rate it left, so the others count for nothing.

A throttle is over when it allows what was declared; where nothing was, when it has allowed twice what was ever seen.
"""

from __future__ import annotations

import math
from typing import Final

FLOOR_PER_SECOND: Final = 1 / 30
_RECOVERY_S: Final = 60.0
_LONGEST_RECOVERY_S: Final = 600.0
_FREE_AGAIN: Final = 2.0


class Throttle:
    """The slow-down of one bucket, from its first refusal on.

    Args:
        now: Monotonic seconds, as everywhere here.
        seen_per_second: How fast calls were made just before.
        declared_per_second: What the platform's quotas allow; infinite where they say nothing.

    >>> throttle = Throttle(0.0, seen_per_second=10.0)
    >>> [throttle.per_second(second) for second in (0, 30, 60)]
    [5.0, 10.0, 15.0]
    """

    __slots__ = ("_base", "_cut_at", "_declared", "_growth", "_highest")

    def __init__(self, now: float, *, seen_per_second: float, declared_per_second: float = math.inf) -> None:
        self._declared = declared_per_second
        self._highest = min(seen_per_second, declared_per_second)
        self._cut_from(self._highest, now)

    def cut(self, now: float, sent_at: float) -> bool:
        """Halve the rate for a refusal of a call that was made at `sent_at`; tell whether that was after the last cut."""
        if sent_at <= self._cut_at:
            return False
        self._cut_from(self.per_second(now), now)
        return True

    def per_second(self, now: float) -> float:
        """Return how fast calls may go."""
        return min(self._base + self._growth * max(0.0, now - self._cut_at), self._declared)

    def is_over(self, now: float) -> bool:
        """Tell whether it restrains nobody any more."""
        if math.isinf(self._declared):
            return self.per_second(now) >= max(self._highest, FLOOR_PER_SECOND) * _FREE_AGAIN
        return self.per_second(now) >= self._declared

    def _cut_from(self, rate: float, now: float) -> None:
        self._highest = max(self._highest, rate)
        top = self._highest if math.isinf(self._declared) else self._declared
        self._base = max(min(FLOOR_PER_SECOND, self._declared / 2), rate / 2)
        self._growth = max(rate / _RECOVERY_S, top / _LONGEST_RECOVERY_S, FLOOR_PER_SECOND / _RECOVERY_S)
        self._cut_at = now
