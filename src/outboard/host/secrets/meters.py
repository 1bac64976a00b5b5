"""Metrics of remote stores: how questions ended, how long they took, how old what is used has become."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Final, Protocol
from weakref import WeakSet

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

LOOKUPS: Final = Counter(
    "outboard_secret_lookups",
    "Questions to remote stores of secrets, by how they ended.",
    ["store", "outcome"],
)
SECONDS: Final = Histogram(
    "outboard_secret_lookup_seconds",
    "How long remote stores of secrets took to answer, or not to.",
    ["store"],
    buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class AgedStore(Protocol):
    """What knows how old its values are."""

    name: str

    def ages(self) -> tuple[float, float]:
        """Return the age of the oldest value in use, and for how long the store has been silent; from any thread."""
        ...


class _Collector:
    def __init__(self) -> None:
        self._stores: WeakSet[AgedStore] = WeakSet()
        self._lock = threading.Lock()

    def add(self, store: AgedStore) -> None:
        with self._lock:
            self._stores.add(store)

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            stores = list(self._stores)
        found: dict[str, tuple[float, float]] = {}
        for store in stores:
            age, silent = store.ages()
            known = found.get(store.name, (0.0, 0.0))
            found[store.name] = max(age, known[0]), max(silent, known[1])
        yield from self._families(found)

    def _families(self, found: dict[str, tuple[float, float]]) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "outboard_secret_age_seconds",
            "When a store last confirmed the oldest value that is in use.",
            labels=["store"],
        )
        silent = GaugeMetricFamily(
            "outboard_secret_store_silent_seconds",
            "For how long a store of secrets has left every question unanswered.",
            labels=["store"],
        )
        for name, (age_s, silent_s) in found.items():
            ages.add_metric([name], age_s)
            silent.add_metric([name], silent_s)
        yield from (ages, silent)


_COLLECTOR: Final = _Collector()
REGISTRY.register(_COLLECTOR)


def expose(store: AgedStore) -> None:
    """Let the metrics tell of a store for as long as it lives."""
    _COLLECTOR.add(store)
