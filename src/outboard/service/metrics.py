"""The service's metrics, under the names that flytekit's connector service has, so that dashboards go on working.

Differences, on purpose: the latency is a histogram (its `_sum` and `_count` are those of flytekit's summary), `error_code` is
gRPC's name of the code, calls that a client gave up are counted (`CANCELLED`), and task types that nobody serves share the
label value `unknown`, because a caller must not be able to make new series.

Every poll is counted, so counting is plain numbers that only the loop's thread changes; they become Prometheus samples when
somebody scrapes, in the scraper's thread. They claim no names in the registry of Prometheus' client: an agent may import one of
Flyte's SDKs, whose own service would otherwise be refused these names, and the agent's import with it.
"""

from __future__ import annotations

import ssl
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, Summary
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from outboard.host.logs import TaskLog

_BUCKETS_S: Final = (0.002, 0.01, 0.05, 0.2, 1.0, 3.0, 10.0, 60.0)
_INPUT_BYTES: Final = Summary(
    "flyte_connector_input_literal_bytes", "The size of tasks' inputs.", ["task_type"], registry=None
)
_UNKNOWN: Final = "unknown"


class _Tally:
    """Calls of one operation and task type: how many succeeded, and how long all of them took."""

    __slots__ = ("buckets", "seconds", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(_BUCKETS_S) + 1)

    def took(self, seconds: float) -> None:
        self.seconds += seconds
        self.buckets[bisect_left(_BUCKETS_S, seconds)] += 1


class _Tallies:
    """All calls of this process; a Prometheus collector."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], _Tally] = {}
        self.failures: dict[tuple[str, str, str], int] = {}

    def of(self, task_type: str, operation: str) -> _Tally:
        return self.calls.setdefault((task_type, operation), _Tally())

    def collect(self) -> Iterator[Metric]:
        labels = ["task_type", "operation"]
        success = CounterMetricFamily("flyte_connector_requests_success", "Calls that were answered.", labels=labels)
        failure = CounterMetricFamily(
            "flyte_connector_requests_failure",
            "Calls that were answered with an error, or given up by the client.",
            labels=[*labels, "error_code"],
        )
        latency = HistogramMetricFamily(
            "flyte_connector_request_latency_seconds", "How long calls took.", labels=labels
        )
        for names, tally in list(self.calls.items()):
            if tally.successes:
                success.add_metric(names, tally.successes)
            bounds = [*map(str, _BUCKETS_S), "+Inf"]
            latency.add_metric(names, list(zip(bounds, accumulate(tally.buckets), strict=True)), tally.seconds)
        for names_and_code, count in list(self.failures.items()):
            failure.add_metric(names_and_code, count)
        yield from (success, failure, latency)
        yield from _INPUT_BYTES.collect()

    def describe(self) -> Iterable[Metric]:
        """Claim no names."""
        return ()


_TALLIES: Final = _Tallies()
REGISTRY.register(_TALLIES)


class CallMetrics:
    """Counts calls.

    Args:
        task_types: The names that may stand as labels.
    """

    __slots__ = ("_known", "_tallies")

    def __init__(self, task_types: Iterable[str]) -> None:
        self._known = frozenset(task_types)
        self._tallies: dict[tuple[str, str], _Tally] = {}

    def succeeded(self, operation: str, task_type: str, seconds: float) -> None:
        """Count a call that was answered."""
        tally = self._tallies.get((operation, task_type))
        if tally is None:
            label = self._label(task_type)
            tally = _TALLIES.of(label, operation)
            if label == task_type:  # what callers make up is not remembered
                self._tallies[operation, task_type] = tally
        tally.successes += 1
        tally.took(seconds)

    def failed(self, operation: str, task_type: str, seconds: float, code: str) -> None:
        """Count a call that ended with a code other than OK."""
        label = self._label(task_type)
        key = (label, operation, code)
        _TALLIES.failures[key] = _TALLIES.failures.get(key, 0) + 1
        _TALLIES.of(label, operation).took(seconds)

    def took_inputs(self, task_type: str, size_bytes: int) -> None:
        """Record the size of a task's inputs."""
        _INPUT_BYTES.labels(self._label(task_type)).observe(size_bytes)

    def _label(self, task_type: str) -> str:
        return task_type if task_type in self._known or not task_type else _UNKNOWN


class MetricsServer:
    """Answers Prometheus on a port of its own, in a thread of its own: also while the event loop is blocked.

    Every path answers with the page. See `admin.http_server` for what strangers may do to it.
    """

    def __init__(
        self, host: str, port: int, registry: Collector = REGISTRY, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        from outboard.service.admin.http_server import HttpServer  # noqa: PLC0415 - only who asks for the port pays for it
        from outboard.service.admin.pages import metrics_page  # noqa: PLC0415 - same

        pages = {"": metrics_page(lambda: registry)}
        self._server = HttpServer(host, port, pages, setting="metrics_port", ssl_context=ssl_context)
        self.port: int = self._server.port
        TaskLog().info("metrics are served", port=self.port)

    def close(self) -> None:
        """Close the port."""
        self._server.close()
