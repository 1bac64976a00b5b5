"""What a statement that succeeded tells about itself, and where its result is.

The result stays in Snowflake, which keeps it for 24 hours; the output is its address, `snowflake://...`, that the SDKs' own
readers split into user, account, warehouse, database, schema and query id. flytekit writes `user:account`, Flyte 2
`user/account`. Of several statements the last one's result counts, as nobody wants the first one's "executed successfully".

The SQL API tells rows, bytes and partitions of the result and rows that were changed. It tells neither bytes scanned nor
credits nor durations: see `history`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from outboard.agent import JobRef, StructuredDataset
from outboard.platforms.snowflake.connections import SnowflakeConnection

_CHANGED: Final = {
    "numRowsInserted": "rows_inserted",
    "numRowsUpdated": "rows_updated",
    "numRowsDeleted": "rows_deleted",
    "numDuplicateRowsUpdated": "duplicate_rows_updated",
}


class SnowflakeQuery(JobRef):
    """A statement, and where its result is to be found.

    Attributes:
        output: The name of the output that the result is; empty for none.
        warehouse, database, schema_name: As the task writes them.
        role: Under which the statement runs.
        is_flyte2: Whether Flyte 2's form of the address is wanted.
    """

    output: str = ""
    warehouse: str = ""
    database: str = ""
    schema_name: str = ""
    role: str = ""
    is_flyte2: bool = False


def result_of(job: SnowflakeQuery, connection: SnowflakeConnection, answer: Mapping[str, Any]) -> StructuredDataset:
    """Return the address of a statement's result.

    Args:
        job: The statement.
        connection: Where it ran and as whom.
        answer: The last look at it.
    """
    handles = answer.get("statementHandles")
    last = handles[-1] if isinstance(handles, list) and handles and isinstance(handles[-1], str) else job.id
    who = f"{connection.user}{'/' if job.is_flyte2 else ':'}{connection.account}"
    return StructuredDataset(f"snowflake://{who}/{job.warehouse}/{job.database}/{job.schema_name}/{last}")


def facts_of(job_id: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a console shows about a statement that succeeded."""
    facts: dict[str, Any] = {"query_id": job_id}
    told = answer.get("resultSetMetaData")
    if isinstance(told, Mapping):
        parts = told.get("partitionInfo")
        sizes = (
            [part.get("uncompressedSize") for part in parts if isinstance(part, dict)]
            if isinstance(parts, list)
            else []
        )
        facts["rows"] = _count(told.get("numRows"))
        facts["result_partitions"] = len(sizes) or None
        facts["result_bytes"] = sum(_count(size) or 0 for size in sizes) or None
    changes = answer.get("stats")
    if isinstance(changes, Mapping):
        facts.update({ours: _count(changes.get(theirs)) for theirs, ours in _CHANGED.items()})
    handles = answer.get("statementHandles")
    if isinstance(handles, list) and handles:
        facts["statements"] = len(handles)
    return {name: value for name, value in facts.items() if value is not None}


def told(facts: Mapping[str, Any]) -> str:
    """Return one line about a statement that succeeded."""
    changed = [f"{facts[name]:,} {name.replace('_', ' ')}" for name in _CHANGED.values() if facts.get(name)]
    if changed:
        return ", ".join(changed)
    return f"{facts['rows']:,} rows" if "rows" in facts else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
