"""The metrics that a query names, and those of them that nobody documents."""

from __future__ import annotations

import re
from typing import Final

from metric_documents import client_names, metric_rows

_OTHERS: Final = frozenset({"up", "ALERTS"})
_NAME: Final = re.compile(r"\b((?:outboard|flyte_connector|process|python)_\w+|up)\b(?!\s*[=!]~?)")


def metric_names_of(query: str) -> set[str]:
    """Return the metrics that a query names."""
    bare = re.sub(r'"[^"]*"', '""', query)
    return set(_NAME.findall(re.sub(r"\b(?:by|without|on|ignoring)\s*\([^)]*\)", "", bare)))


def unknown_names(query: str) -> set[str]:
    """Return the metrics of a query that docs/metrics.md does not have."""
    known = {sample for row in metric_rows().values() for sample in row.samples}
    return metric_names_of(query) - known - client_names() - _OTHERS
