"""Metrics on their way from a child to its parent: plain lists that JSON can carry.

Not Prometheus' text: reading that is the slowest part of `prometheus_client`, and JSON is read in C.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import Metric

Page = Sequence[Metric]


def write_page(families: Iterable[Metric]) -> list[Any]:
    """Return metrics as JSON can carry them."""
    return [
        [family.name, family.documentation, family.type, [[s.name, s.labels, s.value] for s in family.samples]]
        for family in families
    ]


def read_page(written: Any) -> Page:
    """Return the metrics that `write_page` wrote; `ValueError` for anything else."""
    page = []
    try:
        for name, documentation, kind, samples in written:
            family = Metric(name, documentation, kind)
            for sample, labels, value in samples:
                family.add_sample(sample, labels, value)
            page.append(family)
    except (TypeError, ValueError):
        raise ValueError("no page of metrics") from None
    return page
