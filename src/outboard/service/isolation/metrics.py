"""Metrics of children, read when somebody scrapes: also while the event loop is blocked."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from outboard.service.isolation.child import PlatformChild


class _Collector:
    """Makes Prometheus' samples of all children of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: weakref.WeakSet[PlatformChild] = weakref.WeakSet()

    def add(self, children: Iterable[PlatformChild]) -> None:
        with self._lock:
            self._children.update(children)

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            children = list(self._children)
        up = GaugeMetricFamily(
            "outboard_isolated_up", "1 while the child process of a platform answers.", labels=["source"]
        )
        restarts = CounterMetricFamily(
            "outboard_isolated_restarts", "How often the child process was started again.", labels=["source"]
        )
        rss = GaugeMetricFamily(
            "outboard_isolated_rss_bytes", "Resident memory of the child process.", labels=["source"]
        )
        for child in children:
            up.add_metric([child.source], float(child.is_up))
            restarts.add_metric([child.source], child.restarts)
            rss.add_metric([child.source], child.rss_bytes)
        yield from (up, restarts, rss)


_COLLECTOR: Final = _Collector()
REGISTRY.register(_COLLECTOR)


def expose(children: Iterable[PlatformChild]) -> None:
    """Show these children for as long as they exist."""
    _COLLECTOR.add(children)
