"""The service's metrics, under the names that flytekit's connector service has, so that dashboards go on working.

Differences, on purpose: the latency is a histogram (its `_sum` and `_count` are those of flytekit's summary), `error_code` is
gRPC's name of the code, calls that a client gave up are counted (`CANCELLED`), and task types that nobody serves share the
label value `unknown`, because a caller must not be able to make new series.

A call pays one increment and one observation; the labelled children are looked up once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import Counter, Histogram, Summary

from outboard.errors import InvalidSettings

_SUCCESS: Final = Counter(
    "flyte_connector_requests_success_total", "Calls that were answered.", ["task_type", "operation"]
)
_FAILURE: Final = Counter(
    "flyte_connector_requests_failure_total",
    "Calls that were answered with an error, or given up by the client.",
    ["task_type", "operation", "error_code"],
)
_LATENCY: Final = Histogram(
    "flyte_connector_request_latency_seconds",
    "How long calls took.",
    ["task_type", "operation"],
    buckets=(0.002, 0.01, 0.05, 0.2, 1, 3, 10, 60),
)
_INPUT_BYTES: Final = Summary("flyte_connector_input_literal_bytes", "The size of tasks' inputs.", ["task_type"])
_UNKNOWN: Final = "unknown"


class CallMetrics:
    """Counts calls.

    Args:
        task_types: The names that may stand as labels.
    """

    __slots__ = ("_answered", "_inputs", "_known")

    def __init__(self, task_types: Iterable[str]) -> None:
        self._known = frozenset(task_types)
        self._answered: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._inputs: dict[str, Any] = {}

    def succeeded(self, operation: str, task_type: str, seconds: float) -> None:
        """Count a call that was answered."""
        children = self._answered.get((operation, task_type))
        if children is None:
            children = self._open(operation, self._label(task_type))
        success, latency = children
        success.inc()
        latency.observe(seconds)

    def failed(self, operation: str, task_type: str, seconds: float, code: str) -> None:
        """Count a call that ended with a code other than OK."""
        label = self._label(task_type)
        _FAILURE.labels(label, operation, code).inc()
        _LATENCY.labels(label, operation).observe(seconds)

    def took_inputs(self, task_type: str, size_bytes: int) -> None:
        """Record the size of a task's inputs."""
        label = self._label(task_type)
        child = self._inputs.get(label)
        if child is None:
            child = self._inputs[label] = _INPUT_BYTES.labels(label)
        child.observe(size_bytes)

    def _open(self, operation: str, label: str) -> tuple[Any, Any]:
        children = (_SUCCESS.labels(label, operation), _LATENCY.labels(label, operation))
        self._answered[operation, label] = children
        return children

    def _label(self, task_type: str) -> str:
        return task_type if task_type in self._known or not task_type else _UNKNOWN


class MetricsServer:
    """Answers Prometheus on a port of its own, in a thread of its own: also while the event loop is blocked."""

    def __init__(self, host: str, port: int) -> None:
        from prometheus_client import start_http_server  # noqa: PLC0415 - only who asks for the port pays for it

        try:
            self._server, self._thread = start_http_server(port, addr=host)
        except OSError as error:
            raise InvalidSettings(
                f"cannot serve metrics on {host} port {port} ({error.strerror or 'not possible'}); choose another port",
                field="metrics_port",
            ) from None
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
