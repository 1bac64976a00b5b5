"""Metric series as a Prometheus range query answers them."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from outboard.domain.statuses import MetricSeries
from outboard.wire.metrics import decode_metrics, encode_metrics

NOON = datetime(2024, 1, 31, 12, tzinfo=timezone.utc)


class PlatformFloat(float):
    """A number whose `repr` is no number, as those of numpy are."""

    def __repr__(self) -> str:
        return f"platform.float({float(self)})"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (2, "2.0"),
        (PlatformFloat(1.5), "1.5"),
        (float("nan"), "NaN"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
    ],
)
def test_a_value_is_spelt_as_prometheus_spells_it(value: float, text: str) -> None:
    encoded = encode_metrics([MetricSeries(name="memory", points=((NOON, value),))])
    (point,) = encoded[0].data["result"][0]["values"]
    assert list(point) == [NOON.timestamp(), text]


def test_a_time_without_a_zone_is_utc() -> None:
    naive = MetricSeries(name="memory", points=((NOON.replace(tzinfo=None), 1.0), (datetime(1, 1, 1), 1.0)))  # noqa: DTZ001
    first, second = decode_metrics(encode_metrics([naive]))[0].points
    assert (first[0], second[0]) == (NOON, datetime(1, 1, 1, tzinfo=timezone.utc))


def test_a_name_that_is_not_unicode_does_not_cost_the_values() -> None:
    (series,) = decode_metrics(encode_metrics([MetricSeries(name="m\ud800", points=((NOON, 1.0),), unit="\ud800")]))
    assert (series.name, series.unit, len(series.points)) == ("m?", "?", 1)
