"""Metrics of platform calls, for Prometheus: made when somebody scrapes from what `agent.platform_calls` counted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import accumulate

from prometheus_client import REGISTRY
from prometheus_client.core import HistogramMetricFamily, Metric

from outboard.agent.platform_calls import BUCKETS_S, TALLIES


class _Collector:
    def collect(self) -> Iterator[Metric]:
        calls = HistogramMetricFamily(
            "outboard_platform_call_seconds",
            "How long calls to platforms took, without their wait for budget.",
            labels=["agent", "method", "outcome"],
        )
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        for kind, tally in list(TALLIES.items()):
            calls.add_metric(kind, list(zip(bounds, accumulate(tally.buckets), strict=True)), tally.seconds)
        yield calls


@cache
def expose() -> None:
    """Let the metrics tell of platform calls; asking again changes nothing."""
    REGISTRY.register(_Collector())
