"""Metrics of the process that serves: what it is, how many calls it is at, and whether its event loop keeps up.

Plain numbers, which become Prometheus' samples when somebody scrapes, in the scraper's thread: also while the loop is blocked.
The loop is asked once a second by the watchdog, so its lag costs no call anything.
"""

from __future__ import annotations

import platform
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Final, Protocol
from weakref import WeakSet

import grpc
from prometheus_client import REGISTRY
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from outboard._version import __version__

_LAG_BUCKETS_S: Final = (0.01, 0.05, 0.2, 1.0, 5.0, 30.0)
REFUSED_FOR: Final = ("excess", "draining", "headers", "no_request")


class Serving(Protocol):
    """What knows how many calls are in flight."""

    in_flight: int


class LoopLag:
    """How late the beats of an event loop come.

    Args:
        beat_s: How often it beats.
        clock: Monotonic seconds.
    """

    def __init__(self, beat_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._beat_s = beat_s
        self._clock = clock
        self._beat_at = clock()
        self.seconds = 0.0
        self.buckets = [0] * (len(_LAG_BUCKETS_S) + 1)

    def beat(self) -> None:
        """Take note of a beat; the first one counts from when this was made."""
        now = self._clock()
        late_s = max(0.0, now - self._beat_at - self._beat_s)
        self._beat_at = now
        self.seconds += late_s
        self.buckets[bisect_left(_LAG_BUCKETS_S, late_s)] += 1

    @property
    def silent_s(self) -> float:
        """For how long the next beat is overdue."""
        return max(0.0, self._clock() - self._beat_at - self._beat_s)


class _Collector:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.edges: WeakSet[Serving] = WeakSet()
        self.lags: WeakSet[LoopLag] = WeakSet()
        self.refused: Counter[str] = Counter()
        self._ended_seconds = 0.0
        self._ended_buckets = [0] * (len(_LAG_BUCKETS_S) + 1)

    def end(self, lag: LoopLag) -> None:
        """Keep what a loop that is no longer watched has counted."""
        with self.lock:
            if lag in self.lags:
                self.lags.discard(lag)
                self._ended_seconds += lag.seconds
                self._ended_buckets = [a + b for a, b in zip(self._ended_buckets, lag.buckets, strict=True)]

    def collect(self) -> Iterator[Metric]:
        with self.lock:
            in_flight = sum(edge.in_flight for edge in self.edges)
            lags = list(self.lags)
            seconds = self._ended_seconds + sum(lag.seconds for lag in lags)
            counts = [sum(column) for column in zip(self._ended_buckets, *(lag.buckets for lag in lags), strict=True)]
        yield GaugeMetricFamily(
            "outboard_calls_in_flight", "Calls that are being answered, without health checks.", value=in_flight
        )
        refused = CounterMetricFamily(
            "outboard_calls_refused", "Calls that were refused before anything was done for them.", labels=["reason"]
        )
        for reason in REFUSED_FOR:
            refused.add_metric([reason], self.refused[reason])
        yield refused
        lag_family = HistogramMetricFamily(
            "outboard_event_loop_lag_seconds", "How late the event loop came to what was due, asked once a second."
        )
        bounds = [*map(str, _LAG_BUCKETS_S), "+Inf"]
        lag_family.add_metric([], list(zip(bounds, accumulate(counts), strict=True)), seconds)
        yield lag_family
        yield GaugeMetricFamily(
            "outboard_event_loop_silent_seconds",
            "For how long the event loop has been overdue at this moment.",
            value=max((lag.silent_s for lag in lags), default=0.0),
        )
        build = GaugeMetricFamily(
            "outboard_build_info", "What is running; the value is always 1.", labels=["version", "python", "grpc"]
        )
        build.add_metric([__version__, platform.python_version(), str(grpc.__version__)], 1.0)
        yield build


_COLLECTOR: Final = _Collector()
REGISTRY.register(_COLLECTOR)


def watch_calls(edge: Serving) -> None:
    """Let the metrics tell how many calls an edge is at, for as long as it lives."""
    with _COLLECTOR.lock:
        _COLLECTOR.edges.add(edge)


def watch_loop(lag: LoopLag) -> None:
    """Let the metrics tell of a loop's lag, until `end_watch`."""
    with _COLLECTOR.lock:
        _COLLECTOR.lags.add(lag)


def end_watch(lag: LoopLag) -> None:
    """Take a loop that ends out of the gauges; what it counted stays."""
    _COLLECTOR.end(lag)


def count_refused(reason: str) -> None:
    """Count a call that was refused; one of `REFUSED_FOR`."""
    _COLLECTOR.refused[reason] += 1
