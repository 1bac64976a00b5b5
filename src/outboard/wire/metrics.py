"""Metric series to Flyte 1's `ExecutionMetricResult` and back.

`data` is what flyteidl/core/metrics.proto asks for: the result of a Prometheus range query
(https://prometheus.io/docs/prometheus/latest/querying/api/#range-vectors), a matrix whose points are pairs of Unix seconds
and the value as Prometheus spells it (`1.5`, `NaN`, `+Inf`). The unit stands as a label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from flyteidl.core import metrics_pb2
from google.protobuf import timestamp_pb2

from outboard.domain.statuses import MetricSeries
from outboard.errors import InvalidTask
from outboard.wire.structs import decode_struct, encode_struct


def encode_metrics(series: Iterable[MetricSeries]) -> list[metrics_pb2.ExecutionMetricResult]:
    """Return series as results of range queries, one each."""
    return [
        metrics_pb2.ExecutionMetricResult(
            metric=each.name.encode(errors="replace").decode(), data=encode_struct(_matrix(each))
        )
        for each in series
    ]


def decode_metrics(results: Iterable[metrics_pb2.ExecutionMetricResult]) -> Sequence[MetricSeries]:
    """Return the series of any service's results; what is no matrix is left out."""
    return tuple(series for result in results for series in _read(result))


def read_time(message: timestamp_pb2.Timestamp, field: str) -> datetime:
    """Return a request's time; `InvalidTask` when it lies outside the years 1 to 9999."""
    try:
        at: datetime = message.ToDatetime(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        raise InvalidTask(f"{field} is no time between the years 1 and 9999; correct it", field=field) from None
    return at


def _matrix(series: MetricSeries) -> dict[str, Any]:
    labels = {"__name__": series.name, **({"unit": series.unit} if series.unit else {})}
    values = [[_seconds(at), _spell(float(value))] for at, value in series.points]
    return {"resultType": "matrix", "result": [{"metric": labels, "values": values}]}


def _seconds(at: datetime) -> float:
    return (at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)).timestamp()


def _spell(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else f"{value:+}".title()


def _read(result: metrics_pb2.ExecutionMetricResult) -> Iterator[MetricSeries]:
    found = decode_struct(result.data).get("result")
    for each in found if isinstance(found, list) else ():
        labels = each.get("metric") if isinstance(each, Mapping) else None
        values = each.get("values") if isinstance(each, Mapping) else None
        if isinstance(labels, Mapping) and isinstance(values, list):
            points = [point for point in map(_point, values) if point is not None]
            yield MetricSeries(name=result.metric, points=points, unit=str(labels.get("unit", "")))


def _point(value: Any) -> tuple[datetime, float] | None:
    try:
        at, number = value
        return datetime.fromtimestamp(float(at), tz=timezone.utc), float(number)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
