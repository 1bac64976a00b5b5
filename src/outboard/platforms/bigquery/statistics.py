"""What a job consumed, for the console (`custom_info`) and for the metric (`Usage`).

The price is an estimate by the operator's settings: bytes billed by the on-demand price of the job's location, or slot time where
the job ran in a reservation. It knows no discounts, no free tier and no minimum of slots; BigQuery's bill decides.

A script's own totals are those of its children together; where it has none they are added up here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from outboard.agent import Usage
from outboard.platforms.bigquery.client import Job, job_id_of, location_of
from outboard.platforms.bigquery.results import number, query_statistics, statement_type
from outboard.platforms.bigquery.settings import BigQuerySettings
from outboard.platforms.bigquery.states import state_of

SOURCE: Final = "BigQuery jobs.get statistics"
_TIB: Final = Decimal(2**40)
_SLOT_HOUR_MS: Final = Decimal(3_600_000)
_CENT_OF_A_CENT: Final = Decimal("0.000001")
_SHOWN_CHILDREN: Final = 20


def usage_of(job: Job, children: Sequence[Job], settings: BigQuerySettings) -> Usage:
    """Return what a job that ended was billed for, with the estimated price where the operator set one."""
    times = _statistics(job)
    billed = {
        "bytes_billed": Decimal(_total("totalBytesBilled", job, children)),
        "slot_ms": Decimal(_total("totalSlotMs", job, children)),
    }
    began, ended = number(times.get("startTime")) or number(times.get("creationTime")), number(times.get("endTime"))
    return Usage(
        duration=timedelta(milliseconds=ended - began) if 0 < began <= ended else None,
        billed=billed,
        currency_amount=_price(job, billed, settings),
        source=SOURCE,
    )


def facts_of(job: Job, children: Sequence[Job] = ()) -> dict[str, Any]:
    """Return what a console shows about a job: where it ran, what it was, what it cost."""
    query = query_statistics(job)
    facts: dict[str, Any] = {
        "job_id": job_id_of(job),
        "location": location_of(job),
        "statement_type": statement_type(job),
        "cache_hit": query.get("cacheHit"),
        "bytes_processed": _total("totalBytesProcessed", job, children),
        "bytes_billed": _total("totalBytesBilled", job, children),
        "slot_ms": _total("totalSlotMs", job, children),
        "billing_tier": query.get("billingTier"),
        "affected_rows": number(query["numDmlAffectedRows"]) if "numDmlAffectedRows" in query else None,
        "ddl_operation": query.get("ddlOperationPerformed"),
        "reservation": _statistics(job).get("reservation_id"),
        "edition": _statistics(job).get("edition"),
        "child_jobs": number(_statistics(job).get("numChildJobs")) or None,
        "children": [_child(child) for child in children[:_SHOWN_CHILDREN]] or None,
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def deferments_of(job: Job) -> str:
    """Return which quotas a pending job waits for, in BigQuery's words."""
    quotas = _statistics(job).get("quotaDeferments")
    return f"waiting for quota: {', '.join(map(str, quotas))}" if isinstance(quotas, list) and quotas else ""


def _child(child: Job) -> dict[str, Any]:
    state = state_of(child)
    return {
        "job_id": job_id_of(child),
        "statement_type": statement_type(child),
        "state": state if isinstance(state, str) else state[1],
        "bytes_billed": _total("totalBytesBilled", child, ()),
        "slot_ms": _total("totalSlotMs", child, ()),
    }


def _price(job: Job, billed: Mapping[str, Decimal], settings: BigQuerySettings) -> Decimal | None:
    if _statistics(job).get("reservation_id"):
        price, amount = settings.price_per_slot_hour, billed["slot_ms"] / _SLOT_HOUR_MS
    else:
        price = settings.price_per_tib_by_location.get(location_of(job), settings.price_per_tib)
        amount = billed["bytes_billed"] / _TIB
    return None if price is None else (price * amount).quantize(_CENT_OF_A_CENT)


def _total(name: str, job: Job, children: Sequence[Job]) -> int:
    own = number(query_statistics(job).get(name)) or number(_statistics(job).get(name))
    return own or sum(_total(name, child, ()) for child in children)


def _statistics(job: Job) -> Mapping[str, Any]:
    found = job.get("statistics")
    return found if isinstance(found, Mapping) else {}
