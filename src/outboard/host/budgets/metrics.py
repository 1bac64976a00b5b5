"""Metrics of budgets, for Prometheus: made when somebody scrapes, so that calls only count in plain numbers.

Accounts are labelled as `labels` allows. Several hosts in one process are told as one: counts, waiting calls and rates are
added, because each of them takes its own part. The rate is left out where calls are free, and for accounts that share a label.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from outboard.host.labels import OTHER

_LABELS: Final = ("platform", "account", "method")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSample:
    """What one method of an account adds to the metrics.

    Attributes:
        spent: Calls that were made, or are about to be.
        throttled: How often the platform said "slow down".
        waited_s: How long calls waited that had their turn in the end.
        waiting: Calls that wait now.
        per_second: How many calls may go on for ever; None when they are free.
    """

    platform: str
    account: str
    method: str
    spent: int = 0
    throttled: int = 0
    waited_s: float = 0.0
    waiting: int = 0
    per_second: float | None = None


class BudgetSource(Protocol):
    """What knows budgets."""

    def samples(self) -> Iterable[BudgetSample]:
        """Return what it knows now; called from any thread."""
        ...


def expose(source: BudgetSource) -> None:
    """Let the metrics tell of a source for as long as it lives."""
    _COLLECTOR.add(source)


class _Sum:
    """Samples under one label."""

    __slots__ = ("per_second", "spent", "throttled", "waited_s", "waiting")

    def __init__(self) -> None:
        self.spent = self.throttled = self.waiting = 0
        self.waited_s = 0.0
        self.per_second: float | None = None

    def add(self, sample: BudgetSample) -> None:
        self.spent += sample.spent
        self.throttled += sample.throttled
        self.waited_s += sample.waited_s
        self.waiting += sample.waiting
        if sample.per_second is not None and sample.account != OTHER:
            self.per_second = (self.per_second or 0.0) + sample.per_second


class _Collector:
    def __init__(self) -> None:
        self._sources: WeakSet[BudgetSource] = WeakSet()
        self._lock = threading.Lock()

    def add(self, source: BudgetSource) -> None:
        with self._lock:
            self._sources.add(source)

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "outboard_budget_calls", "Calls to a platform's method that its budget let go.", labels=_LABELS
        )
        throttled = CounterMetricFamily(
            "outboard_budget_throttled", 'Calls that the platform answered with "slow down".', labels=_LABELS
        )
        waited = CounterMetricFamily(
            "outboard_budget_wait_seconds", "How long calls waited for their turn in the budget.", labels=_LABELS
        )
        waiting = GaugeMetricFamily(
            "outboard_budget_waiting", "Calls that wait for their turn in the budget.", labels=_LABELS
        )
        rate = GaugeMetricFamily(
            "outboard_budget_rate", "Calls per second that may go at present, where they are limited.", labels=_LABELS
        )
        for names, total in self._sums().items():
            calls.add_metric(names, total.spent)
            throttled.add_metric(names, total.throttled)
            waited.add_metric(names, total.waited_s)
            waiting.add_metric(names, total.waiting)
            if total.per_second is not None:
                rate.add_metric(names, total.per_second)
        yield from (calls, throttled, waited, waiting, rate)

    def _sums(self) -> Mapping[tuple[str, str, str], _Sum]:
        with self._lock:
            sources = list(self._sources)
        sums: dict[tuple[str, str, str], _Sum] = {}
        for source in sources:
            for sample in source.samples():
                sums.setdefault((sample.platform, sample.account, sample.method), _Sum()).add(sample)
        return sums


_COLLECTOR: Final = _Collector()
REGISTRY.register(_COLLECTOR)
