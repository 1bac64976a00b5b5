"""Buckets: when the next call of one method may be made.

A `Meter` is one rate as a token bucket: it fills by `per_second` up to `burst`, and each call takes one, so no window of `t`
seconds ever sees more than `per_second * t + burst` calls, and a clock that leaps ahead (a process that was suspended) gains
no more than a burst. A `Bucket` is what the calls of one method share that a platform counts together: a meter for each
declared rate, of which a call needs all, and whatever a throttle adds for a while.

Everything here is a function of the `now` that is passed in; the queue's lock guards it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from outboard.domain.quotas import Rate
from outboard.host.budgets.throttles import Throttle

LONGEST_BLOCK_S: Final = 300.0
"""The longest that a Retry-After is believed: a platform that says "tomorrow" is asked in five minutes."""
_ROUNDING: Final = 1e-6
_SEEN_S: Final = 5.0
_SEEN_CALLS: Final = 128


class Meter:
    """One rate.

    >>> meter = Meter(per_second=2.0, burst=1, now=0.0)
    >>> meter.take(0.0)
    >>> meter.free_at(0.0)
    0.5
    """

    __slots__ = ("_at", "_tokens", "burst", "per_second")

    def __init__(self, per_second: float, burst: int, now: float) -> None:
        self.per_second = per_second
        self.burst = burst
        self._tokens = float(burst)
        self._at = now

    def free_at(self, now: float) -> float:
        """Return when the next call may be made; `now` when it may at once."""
        missing = 1.0 - self._tokens
        if missing <= _ROUNDING:
            return now
        missing -= (now - self._at) * self.per_second if now > self._at else 0.0
        return now if missing <= _ROUNDING else now + missing / self.per_second

    def free_after(self, now: float) -> float:
        """Return when another call may be made if one is made now."""
        missing = 2.0 - self._tokens_at(now)
        return now if missing <= _ROUNDING else now + missing / self.per_second

    def take(self, now: float) -> None:
        """Count a call."""
        self._settle(now)
        self._tokens -= 1.0

    def give_back(self) -> None:
        """Count a call out again that was not made after all."""
        self._tokens = min(self._tokens + 1.0, float(self.burst))

    def change(self, per_second: float, burst: int, now: float) -> None:
        """Go on at another rate."""
        self._settle(now)
        self.per_second = per_second
        self.burst = burst
        self._tokens = min(self._tokens, float(burst))

    def _tokens_at(self, now: float) -> float:
        return min(float(self.burst), self._tokens + max(0.0, now - self._at) * self.per_second)

    def _settle(self, now: float) -> None:
        if now > self._at:
            tokens = self._tokens + (now - self._at) * self.per_second
            self._tokens = tokens if tokens < self.burst else float(self.burst)
            self._at = now


class Bucket:
    """What the calls of one method share that are counted together.

    Args:
        rates: What was declared; nothing leaves the calls free until they are throttled.
        share: The part of the rates that is ours, above 0 and at most 1.
        now: Monotonic seconds.

    Attributes:
        recovered: Called when a throttle is over.
    """

    __slots__ = ("_blocked_until", "_brake", "_meters", "_rates", "_recent", "_throttle", "recovered")

    def __init__(self, rates: Sequence[Rate], share: float, now: float) -> None:
        self._rates = tuple(rates)
        self._meters = tuple(Meter(*_part(rate, share), now) for rate in rates)
        self._recent: deque[float] = deque(maxlen=_SEEN_CALLS)
        self._throttle: Throttle | None = None
        self._brake: Meter | None = None
        self._blocked_until = -math.inf
        self.recovered: Callable[[Bucket], None] | None = None

    @property
    def is_throttled(self) -> bool:
        """Whether the platform's "slow down" still has effect."""
        return self._throttle is not None

    @property
    def declared_per_second(self) -> float:
        """What our part of the declared rates allows; infinite without any."""
        return min((meter.per_second for meter in self._meters), default=math.inf)

    def per_second(self, now: float) -> float:
        """Return how many calls per second may go on at present; infinite when they are free."""
        self.settle(now)
        if self._throttle is None:
            return self.declared_per_second
        return min(self.declared_per_second, self._throttle.per_second(now))

    def free_at(self, now: float) -> float:
        """Return when the next call may be made; `now` when it may at once."""
        free = now
        if self._throttle is not None:
            self.settle(now)
            free = max(now, self._blocked_until)
            if self._brake is not None:
                free = max(free, self._brake.free_at(now))
        for meter in self._meters:
            at = meter.free_at(now)
            if at > free:  # noqa: PLR1730 - every call comes by, and `max` costs a call
                free = at
        return free

    def free_after(self, now: float) -> float:
        """Return when another call may be made if one is made now."""
        brakes = () if self._brake is None else (self._brake,)
        return max((meter.free_after(now) for meter in (*self._meters, *brakes)), default=now)

    def take(self, now: float) -> None:
        """Count a call."""
        self._recent.append(now)
        for meter in self._meters:
            meter.take(now)
        if self._brake is not None:
            self._brake.take(now)

    def give_back(self) -> None:
        """Count a call out again that was not made after all."""
        for meter in self._meters:
            meter.give_back()
        if self._brake is not None:
            self._brake.give_back()

    def slow_down(self, now: float, sent_at: float, retry_after_s: float = 0.0) -> bool:
        """Answer a platform's "slow down" to a call that was made at `sent_at`; tell whether it was news."""
        is_news = True
        if self._throttle is None or self._throttle.is_over(now):
            self._throttle = Throttle(
                now, seen_per_second=self._seen_per_second(now), declared_per_second=self.declared_per_second
            )
            self._brake = Meter(self._throttle.per_second(now), 1, now)
            self._brake.take(now)  # the call that was refused
        else:
            is_news = self._throttle.cut(now, sent_at)
        if retry_after_s > 0:
            self._blocked_until = max(self._blocked_until, now + min(retry_after_s, LONGEST_BLOCK_S))
        self.settle(now)
        return is_news

    def settle(self, now: float) -> None:
        """Let the rate that a throttle allows grow up to this moment."""
        if self._throttle is None or self._brake is None:
            return
        if now >= self._blocked_until and self._throttle.is_over(now):
            self._throttle = self._brake = None
            if self.recovered is not None:
                self.recovered(self)
            return
        self._brake.change(self._throttle.per_second(now), 1, now)

    def rescale(self, share: float, now: float) -> None:
        """Take another part of the declared rates from now on."""
        for rate, meter in zip(self._rates, self._meters, strict=True):
            meter.change(*_part(rate, share), now)

    def _seen_per_second(self, now: float) -> float:
        recent = [at for at in self._recent if now - at <= _SEEN_S]
        if not recent:
            return 1.0 / _SEEN_S
        # A row that is full began later than the window; a burst of a moment counts as a second's calls.
        return len(recent) / max(1.0, now - recent[0]) if len(recent) == _SEEN_CALLS else len(recent) / _SEEN_S


def _part(rate: Rate, share: float) -> tuple[float, int]:
    return rate.per_second * share, max(1, int(rate.burst * share))
