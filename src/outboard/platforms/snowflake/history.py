"""Snowflake's query history: where a statement is found by its key, and what one consumed.

The history is a table function of the information schema. We take it that asking takes a running warehouse, as other
queries of that schema do, though the page on it could not be read; so nothing is asked here to learn where statements
stand. It is asked

* for a key, when an answer was lost and its statement must be stopped, and for earlier attempts of a task that is tried again;
* for consumption, once per statement and right after its end, while its own warehouse still runs, where the operator says so
  (`query_history`).

`BY_USER` shows the queries of the user who asks, of the last seven days at most; those that run are among them, since no
end of the range is given. That this takes no privilege, and that all statements of one request share a session of which
the first is the request itself, is what we count on; no account of Snowflake's was asked.

Credits of a warehouse are for the time that it runs, whoever uses it. `estimated_credits` is what a warehouse of that size
takes for the statement's own time, as if it ran alone.

Source: https://docs.snowflake.com/en/sql-reference/functions/query_history (read 2026-11-22: range, limit, whose
queries). Credits per hour double from size to size, beginning with one, as is well known; the page that says so was not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from outboard.agent import Key, Usage
from outboard.errors import AgentError
from outboard.platforms.snowflake.client import SnowflakeClient
from outboard.platforms.snowflake.statements import KEY_TAG

SOURCE: Final = "https://docs.snowflake.com/en/sql-reference/functions/query_history"
_HISTORY: Final = (
    "TABLE(INFORMATION_SCHEMA.QUERY_HISTORY_BY_USER("
    "END_TIME_RANGE_START => DATEADD('hour', -24, CURRENT_TIMESTAMP()), RESULT_LIMIT => 10000))"
)
FIND: Final = (
    f"SELECT query_id FROM {_HISTORY} WHERE CONTAINS(query_tag, ?) "  # noqa: S608 - nothing but our own text
    "QUALIFY ROW_NUMBER() OVER (PARTITION BY session_id ORDER BY start_time) = 1 ORDER BY start_time"
)
MEASURE: Final = (
    "SELECT total_elapsed_time, execution_time, compilation_time, queued_overload_time, queued_provisioning_time, "  # noqa: S608 - same
    f"bytes_scanned, rows_produced, credits_used_cloud_services, warehouse_size FROM {_HISTORY} WHERE query_id = ?"
)
_COUNTS: Final = {
    "bytes_scanned": "bytes_scanned",
    "rows_produced": "rows_produced",
    "total_elapsed_time": "elapsed_ms",
    "execution_time": "execution_ms",
    "compilation_time": "compilation_ms",
    "queued_overload_time": "queued_ms",
    "queued_provisioning_time": "provisioning_ms",
}
CREDITS_PER_HOUR: Final = {
    "X-Small": 1,
    "Small": 2,
    "Medium": 4,
    "Large": 8,
    "X-Large": 16,
    "2X-Large": 32,
    "3X-Large": 64,
    "4X-Large": 128,
    "5X-Large": 256,
    "6X-Large": 512,
}
"""Of a standard warehouse, by its size."""
_MOST: Final = 2**56
"""Of bytes, milliseconds and credits: what is beyond, or below nothing, was not measured."""
_HOUR_MS: Final = Decimal(3_600_000)
_DIGITS: Final = Decimal("0.000001")


async def found(client: SnowflakeClient, key: Key, where: Mapping[str, str]) -> list[str]:
    """Return the handles of the statements of a key, oldest first.

    Args:
        client: The account's.
        key: The submission key.
        where: Warehouse, database, schema and role to ask with.
    """
    rows = await client.query(FIND, [f'"{KEY_TAG}":"{key.text}"'], where)
    return [row["query_id"] for row in rows if row.get("query_id")]


async def consumption(
    client: SnowflakeClient, query_id: str, where: Mapping[str, str], price: Decimal | None
) -> tuple[dict[str, Any], Usage | None]:
    """Return what a statement consumed, for the console and for the metric.

    Nothing where the history cannot be asked, since the statement is over all the same.
    """
    try:
        rows = await client.query(MEASURE, [query_id], where)
    except AgentError:
        return {}, None
    if not rows:
        return {}, None
    row = rows[0]
    facts: dict[str, Any] = {
        ours: int(n) for theirs, ours in _COUNTS.items() if (n := _number(row.get(theirs))) is not None
    }
    billed = {"bytes_scanned": Decimal(facts.get("bytes_scanned", 0))}
    services = _number(row.get("credits_used_cloud_services"))
    if services is not None:
        billed["cloud_services_credits"] = services
    rate = CREDITS_PER_HOUR.get(row.get("warehouse_size", ""))
    if rate is not None and "execution_ms" in facts:
        billed["estimated_credits"] = (rate * facts["execution_ms"] / _HOUR_MS).quantize(_DIGITS)
    facts.update({name: float(amount) for name, amount in billed.items() if name != "bytes_scanned"})
    if "warehouse_size" in row:
        facts["warehouse_size"] = row["warehouse_size"]
    amount = (price * billed.get("estimated_credits", Decimal(0))).quantize(_DIGITS) if price is not None else None
    elapsed = facts.get("elapsed_ms")
    duration = timedelta(milliseconds=elapsed) if elapsed is not None else None
    return facts, Usage(duration=duration, billed=billed, currency_amount=amount, source=SOURCE)


def _number(text: str | None) -> Decimal | None:
    try:
        number = Decimal(text) if text is not None else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() and 0 <= number <= _MOST else None
