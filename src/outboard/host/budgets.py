"""Budgets: what is left of an account's quotas, as token buckets.

A reservation takes a call now and says how long to wait before making it, so async and blocking callers share one
bucket: each waits in its own way. Buckets are kept per account and method; calls for which a platform declared no
rate are free.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from outboard.domain.quotas import Quotas, Rate


class TokenBucket:
    """Reserves calls at a sustained rate with a burst.

    >>> now = [0.0]
    >>> bucket = TokenBucket(Rate(per_second=2, burst=1), clock=lambda: now[0])
    >>> bucket.reserve(), bucket.reserve(), bucket.reserve()
    (0.0, 0.5, 1.0)
    """

    __slots__ = ("_clock", "_free_at", "_interval_s", "_lock", "_slack_s")

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval_s = 1.0 / rate.per_second
        self._slack_s = (rate.burst - 1) * self._interval_s
        self._free_at = clock() - self._slack_s
        self._lock = threading.Lock()

    def reserve(self, within_s: float = math.inf) -> float:
        """Return the seconds until a call may be made, and take it when they are at most `within_s`.

        Nobody comes for a call that was given up, so it must not be taken: with more callers than calls, the next free
        one would move ever further away, and in the end nobody would get any.
        """
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - self._slack_s)
            wait_s = max(0.0, start - now)
            if wait_s <= within_s:
                self._free_at = start + self._interval_s
            return wait_s


class AccountBudget:
    """The buckets of one account."""

    def __init__(self, quotas: Quotas) -> None:
        self._buckets = {method: TokenBucket(rate) for method, rate in quotas.rates.items()}

    def reserve(self, method: str, within_s: float = math.inf) -> float:
        """Return the seconds until a call of `method` may be made, taken when at most `within_s`; 0 without a rate."""
        bucket = self._buckets.get(method)
        return bucket.reserve(within_s) if bucket is not None else 0.0


class Budgets:
    """One budget per platform and account, for as long as anybody holds it: tasks may name ever new accounts."""

    def __init__(self) -> None:
        self._accounts: WeakValueDictionary[tuple[str, str], AccountBudget] = WeakValueDictionary()

    def of(self, platform: str, account: str, quotas: Quotas) -> AccountBudget:
        """Return the account's budget."""
        key = (platform, account)
        budget = self._accounts.get(key)
        if budget is None:
            budget = self._accounts[key] = AccountBudget(quotas)
        return budget
