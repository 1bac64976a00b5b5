"""What a query consumed, for the console (`custom_info`) and for the metric (`Usage`).

Athena bills bytes scanned, rounded up to a megabyte, 10 MB at least; nothing for DDL, for queries that failed, and for results
that were given again. A query that was stopped is billed for what it had scanned. On reserved capacity it bills hours
of processing units. The price is an estimate by the operator's settings: it knows no discounts, and no share of S3, KMS
or Glue. Source: https://aws.amazon.com/athena/pricing/, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeGuard

from outboard.agent import Usage
from outboard.platforms.athena.results import is_ctas, output_location
from outboard.platforms.athena.settings import AthenaSettings
from outboard.platforms.athena.states import status_of

SOURCE: Final = "Athena GetQueryExecution statistics"
_MB: Final = 2**20
_LEAST_MB: Final = 10
_TB: Final = Decimal(2**40)
_HOUR_MS: Final = Decimal(3_600_000)
_SHOWN: Final = Decimal("0.000001")
_FREE: Final = ("DDL", "UTILITY")
_MOST: Final = 2**56
"""Of bytes and milliseconds: what is beyond, or below nothing, was not measured."""
_MOST_DPUS: Final = 10**6


def usage_of(execution: Mapping[str, Any], settings: AthenaSettings) -> Usage:
    """Return what a query that ended is billed for, with the estimated price where the operator set one."""
    numbers = _statistics(execution)
    billed = {
        "bytes_scanned": Decimal(_number(numbers, "DataScannedInBytes")),
        "bytes_billed": Decimal(bytes_billed(execution)),
    }
    total_ms = _number(numbers, "TotalExecutionTimeInMillis")
    return Usage(
        duration=timedelta(milliseconds=total_ms) if total_ms else None,
        billed=billed,
        currency_amount=price_of(execution, settings),
        source=SOURCE,
    )


def bytes_billed(execution: Mapping[str, Any]) -> int:
    """Return the bytes that a query is billed for."""
    scanned = _number(_statistics(execution), "DataScannedInBytes")
    state = status_of(execution).get("State")
    is_free = str(execution.get("StatementType") or "") in _FREE and not is_ctas(execution)
    if (
        is_free
        or state == "FAILED"
        or _is_reused(execution)
        or _dpus(execution)
        or (state == "CANCELLED" and not scanned)
    ):
        return 0
    return max(-(-scanned // _MB), _LEAST_MB) * _MB


def price_of(execution: Mapping[str, Any], settings: AthenaSettings) -> Decimal | None:
    """Return the estimated price; None where the operator set none for it."""
    dpus = _dpus(execution)
    if dpus:
        hours = Decimal(_number(_statistics(execution), "EngineExecutionTimeInMillis")) / _HOUR_MS
        rate = settings.price_per_dpu_hour
        return None if rate is None else (rate * dpus * hours).quantize(_SHOWN)
    if settings.price_per_tb is None:
        return None
    return (settings.price_per_tb * bytes_billed(execution) / _TB).quantize(_SHOWN)


def facts_of(execution: Mapping[str, Any], settings: AthenaSettings, region: str) -> dict[str, Any]:
    """Return what a console shows about a query: where it ran, what it was, what it cost."""
    numbers = _statistics(execution)
    engine = execution.get("EngineVersion")
    price = price_of(execution, settings)
    facts: dict[str, Any] = {
        "query_execution_id": execution.get("QueryExecutionId"),
        "region": region,
        "workgroup": execution.get("WorkGroup"),
        "statement_type": execution.get("SubstatementType") or execution.get("StatementType"),
        "bytes_scanned": _number(numbers, "DataScannedInBytes"),
        "bytes_billed": bytes_billed(execution),
        "estimated_price": float(price) if price is not None else None,
        "queue_ms": _number(numbers, "QueryQueueTimeInMillis"),
        "planning_ms": _number(numbers, "QueryPlanningTimeInMillis"),
        "engine_ms": _number(numbers, "EngineExecutionTimeInMillis"),
        "total_ms": _number(numbers, "TotalExecutionTimeInMillis"),
        "dpu_count": float(_dpus(execution)) or None,
        "result_reused": _is_reused(execution) or None,
        "output_location": output_location(execution),
        "data_manifest": numbers.get("DataManifestLocation"),
        "engine_version": engine.get("EffectiveEngineVersion") if isinstance(engine, Mapping) else None,
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _statistics(execution: Mapping[str, Any]) -> Mapping[str, Any]:
    found = execution.get("Statistics")
    return found if isinstance(found, Mapping) else {}


def _is_reused(execution: Mapping[str, Any]) -> bool:
    told = _statistics(execution).get("ResultReuseInformation")
    return isinstance(told, Mapping) and told.get("ReusedPreviousResult") is True


def _dpus(execution: Mapping[str, Any]) -> Decimal:
    count = _statistics(execution).get("DpuCount")
    return Decimal(str(count)) if _is_counted(count, _MOST_DPUS) else Decimal(0)


def _number(numbers: Mapping[str, Any], name: str) -> int:
    value = numbers.get(name)
    return int(value) if _is_counted(value, _MOST) else 0


def _is_counted(value: object, most: int) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most
