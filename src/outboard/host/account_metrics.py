"""Metrics of accounts, for Prometheus: made when somebody scrapes, so that calls only count in plain numbers.

Tasks name accounts, so the labels are bounded: accounts beyond the bound, or whose names are too long or hold a secret, share
the account `other` of their platform. Several hosts in one process are told as one: counts are added, and an account
is reachable when it is from all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSample:
    """What one account adds to the metrics.

    Attributes:
        is_reachable: None when it is not known.
        calls: How many, by outcome.
    """

    platform: str
    account: str
    is_reachable: bool | None
    silent_s: float
    calls: Mapping[str, int]


class AccountSource(Protocol):
    """What knows accounts."""

    def samples(self) -> Iterable[AccountSample]:
        """Return what it knows now; called from any thread."""
        ...


def expose(source: AccountSource) -> None:
    """Let the metrics tell of a source for as long as it lives."""
    _COLLECTOR.add(source)


class _Sum:
    """Samples under one label."""

    __slots__ = ("calls", "is_reachable", "silent_s")

    def __init__(self) -> None:
        self.is_reachable: bool | None = None
        self.silent_s = 0.0
        self.calls: dict[str, int] = {}

    def add(self, sample: AccountSample) -> None:
        if sample.is_reachable is not None:
            self.is_reachable = sample.is_reachable and self.is_reachable is not False
        self.silent_s = max(self.silent_s, sample.silent_s)
        for outcome, count in sample.calls.items():
            self.calls[outcome] = self.calls.get(outcome, 0) + count


class _Collector:
    def __init__(self) -> None:
        self._sources: WeakSet[AccountSource] = WeakSet()
        self._lock = threading.Lock()

    def add(self, source: AccountSource) -> None:
        with self._lock:
            self._sources.add(source)

    def collect(self) -> Iterator[Metric]:
        reachable = GaugeMetricFamily(
            "outboard_account_reachable",
            "Whether an account answers and takes our credentials (1), or has not for minutes (0), when asked last.",
            labels=["platform", "account"],
        )
        silent = GaugeMetricFamily(
            "outboard_account_silent_seconds",
            "How long an account has left every call unanswered, as far as it was asked.",
            labels=["platform", "account"],
        )
        calls = CounterMetricFamily(
            "outboard_account_calls",
            "Calls to an account by what they tell of it.",
            labels=["platform", "account", "outcome"],
        )
        for names, total in self._sums().items():
            if total.is_reachable is not None:
                reachable.add_metric(names, float(total.is_reachable))
                silent.add_metric(names, total.silent_s)
            for outcome, count in total.calls.items():
                calls.add_metric([*names, outcome], count)
        yield from (reachable, silent, calls)

    def _sums(self) -> Mapping[tuple[str, str], _Sum]:
        with self._lock:
            sources = list(self._sources)
        sums: dict[tuple[str, str], _Sum] = {}
        for source in sources:
            for sample in source.samples():
                sums.setdefault((sample.platform, sample.account), _Sum()).add(sample)
        return sums


_COLLECTOR: Final = _Collector()
REGISTRY.register(_COLLECTOR)
