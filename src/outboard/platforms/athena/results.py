"""Where the rows of a query lie.

====================================  ==========================================================================
statement                             result
====================================  ==========================================================================
`UNLOAD (...) TO 's3://...'`          that folder, in the format that it says (ours says Parquet)
`CREATE TABLE ... AS SELECT`          the table's folder: `external_location`, else what Athena chose; Parquet
                                      unless it says another format
anything else                         Athena's own file: CSV of a SELECT, text of DDL, SHOW and the like
====================================  ==========================================================================

The statement is read as Athena shows it, so a handle needs no address in it. A workgroup may put results elsewhere than was
asked; what the execution says counts. One that keeps results itself (managed query results) gives no address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from outboard.agent import Schema, StructuredDataset
from outboard.platforms.athena.statement import kind_of, uncommented

_UNLOAD: Final = re.compile(
    r"\)\s*TO\s+'(?P<place>s3://[^']+)'(?:\s*WITH\s*\((?P<options>(?:[^()']|'[^']*')*)\))?\s*;?\Z", re.IGNORECASE
)
_EXTERNAL: Final = re.compile(r"\bexternal_location\s*=\s*'(s3://[^']+)'", re.IGNORECASE)
_FORMAT: Final = re.compile(r"\bformat\s*=\s*'(\w+)'", re.IGNORECASE)
_BODY: Final = re.compile(r"\bAS(?:\s*\()?\s*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
_CTAS: Final = "CREATE_TABLE_AS_SELECT"


def result_of(execution: Mapping[str, Any], *, is_schema: bool) -> StructuredDataset | Schema | None:
    """Return the result of a query that succeeded; None where it has no address.

    Args:
        execution: As the API shows it.
        is_schema: The task declares a Flyte schema.
    """
    place, kind = _place(execution)
    if not place:
        return None
    return Schema(place) if is_schema else StructuredDataset(place, kind)


def is_ctas(execution: Mapping[str, Any]) -> bool:
    """Tell whether a query made a table of its rows."""
    return str(execution.get("SubstatementType") or "").upper() == _CTAS


def output_location(execution: Mapping[str, Any]) -> str:
    """Return where Athena put its own result file; empty where there is none."""
    configuration = execution.get("ResultConfiguration")
    return str(configuration.get("OutputLocation") or "") if isinstance(configuration, Mapping) else ""


def _place(execution: Mapping[str, Any]) -> tuple[str, str]:
    sql = str(execution.get("Query") or "")
    if kind_of(sql) == "UNLOAD" and (unloaded := _UNLOAD.search(uncommented(sql).strip())) is not None:
        return unloaded.group("place"), _format(unloaded.group("options") or "", "parquet")
    if is_ctas(execution):
        head = _BODY.split(sql, maxsplit=1)[0]
        external = _EXTERNAL.search(head)
        return (external.group(1) if external else output_location(execution)), _format(head, "parquet")
    place = output_location(execution)
    return place, "csv" if place.endswith(".csv") else ""


def _format(options: str, default: str) -> str:
    found = _FORMAT.search(options)
    return found.group(1).lower() if found else default
