"""Meters: how often a platform lets itself be called, by its methods. Real ones limit in one of two ways.

`Window` counts the calls of the last second; `Bucket` fills while nobody calls, so that a pause buys a burst. Both go by the
platform's clock, and neither knows what the agents of this project do to keep within.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from outboard.testing.platform_clock import platform_time


class Meter(Protocol):
    """Says which calls are too many."""

    def takes(self, method: str) -> bool:
        """Say whether one more call of a method is served, and count it if so."""


class Window:
    """Serves so many calls of a method in any second.

    Args:
        rates: Calls in a second, by method; methods that are not there have no limit.

    >>> window = Window({"get": 1})
    >>> window.takes("get"), window.takes("get"), window.takes("cancel")
    (True, False, True)
    """

    def __init__(self, rates: Mapping[str, int]) -> None:
        self._rates = dict(rates)
        self._served: dict[str, deque[float]] = {}

    def takes(self, method: str) -> bool:
        """See `Meter.takes`."""
        if method not in self._rates:
            return True
        now, served = platform_time(), self._served.setdefault(method, deque())
        while served and served[0] <= now - 1.0:
            served.popleft()
        if len(served) >= self._rates[method]:
            return False
        served.append(now)
        return True


class Bucket:
    """Serves a burst, and then as many calls of a method as have come in since.

    Args:
        rates: Calls in a second and the burst, by method; methods that are not there have no limit.

    >>> bucket = Bucket({"get": (0.001, 2)})
    >>> bucket.takes("get"), bucket.takes("get"), bucket.takes("get")
    (True, True, False)
    """

    def __init__(self, rates: Mapping[str, tuple[float, int]]) -> None:
        self._rates = dict(rates)
        self._left: dict[str, tuple[float, float]] = {}

    def takes(self, method: str) -> bool:
        """See `Meter.takes`."""
        if method not in self._rates:
            return True
        rate, burst = self._rates[method]
        now = platform_time()
        left, at = self._left.get(method, (float(burst), now))
        left = min(float(burst), left + rate * (now - at))
        is_served = left >= 1.0
        self._left[method] = (left - is_served, now)
        return is_served
