"""Which table is the result of a job.

=====================================  ==============================================================================
statement                              result
=====================================  ==============================================================================
`SELECT`                               the destination table: the task's own, or BigQuery's anonymous one, kept a day
DDL that makes a table, view or model  its target
DDL that drops or alters               none, but for a renamed table
DML                                    none; where BigQuery names the changed table as the destination, that one
a script                               that of its last statement that has one
=====================================  ==============================================================================

Source: `JobConfigurationQuery.destinationTable`, `JobStatistics2.ddlTargetTable` and `statementType`, discovery document revision
20261009.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from outboard.agent import StructuredDataset
from outboard.platforms.bigquery.states import OK, state_of

SCRIPT: Final = "SCRIPT"
_EXPRESSION: Final = "EXPRESSION"
_MAKES: Final = (
    *("CREATE_TABLE", "CREATE_TABLE_AS_SELECT", "CREATE_SNAPSHOT_TABLE", "CREATE_EXTERNAL_TABLE"),
    *("CREATE_VIEW", "CREATE_MATERIALIZED_VIEW"),
)
_DML: Final = ("INSERT", "UPDATE", "DELETE", "MERGE")
_HIDDEN: Final = "_"
"""Datasets whose names begin so are BigQuery's own, for anonymous results."""
_NO_TABLE: Final = (
    "DROP_",
    "ALTER_",
    "CREATE_",
    "EXPORT_",
    "GRANT",
    "REVOKE",
    "ASSERT",
    "BEGIN_",
    "COMMIT_",
    "ROLLBACK_",
)


def query_statistics(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a job's `statistics.query`; empty where it has none."""
    return _part(_part(job, "statistics"), "query")


def statement_type(job: Mapping[str, Any]) -> str:
    """Return what kind of statement a job ran, in the API's word; empty where it does not say."""
    return str(query_statistics(job).get("statementType") or "")


def is_script(job: Mapping[str, Any]) -> bool:
    """Tell whether a job ran statements of its own jobs."""
    return statement_type(job) == SCRIPT or number(_part(job, "statistics").get("numChildJobs")) > 0


def result_of(job: Mapping[str, Any], children: Iterable[Mapping[str, Any]] = ()) -> StructuredDataset | None:
    """Return the table that a job that succeeded made; None where its statement makes none.

    Args:
        job: The job.
        children: A script's own jobs, the latest first.
    """
    if not is_script(job):
        return _table(job)
    done = [child for child in children if state_of(child) == ("DONE", OK) and not _is_expression(child)]
    found = (_table(child) for child in sorted(done, key=_ended_at, reverse=True))
    return next((table for table in found if table is not None), None) or _destination(job)


def number(value: object) -> int:
    """Return an int64 of the API, which comes as text; 0 for anything else."""
    try:
        return int(str(value))
    except ValueError:
        return 0


def _table(job: Mapping[str, Any]) -> StructuredDataset | None:
    statistics, statement = query_statistics(job), statement_type(job)
    if statement in _MAKES:
        return _dataset(statistics.get("ddlTargetTable")) or _destination(job)
    renamed = _dataset(statistics.get("ddlDestinationTable"))
    if renamed is not None or statement.startswith(_NO_TABLE):
        return renamed
    return _destination(job, may_be_hidden=statement not in _DML)


def _destination(job: Mapping[str, Any], *, may_be_hidden: bool = True) -> StructuredDataset | None:
    table = _part(_part(job, "configuration"), "query").get("destinationTable")
    dataset = str(table.get("datasetId", "")) if isinstance(table, Mapping) else ""
    return _dataset(table) if may_be_hidden or not dataset.startswith(_HIDDEN) else None


def _dataset(table: object) -> StructuredDataset | None:
    if not isinstance(table, Mapping):
        return None
    project, dataset, name = (table.get(part) for part in ("projectId", "datasetId", "tableId"))
    return StructuredDataset(f"bq://{project}:{dataset}.{name}") if project and dataset and name else None


def _is_expression(child: Mapping[str, Any]) -> bool:
    return _part(_part(child, "statistics"), "scriptStatistics").get("evaluationKind") == _EXPRESSION


def _ended_at(job: Mapping[str, Any]) -> tuple[int, int]:
    times = _part(job, "statistics")
    return number(times.get("endTime")), number(times.get("creationTime"))


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}
