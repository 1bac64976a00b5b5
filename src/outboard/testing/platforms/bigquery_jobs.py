"""The documents of a fake BigQuery: a job as the API shows it, and what a field mask leaves of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from outboard.testing.ledger_jobs import CANCELLED, CANCELLING, FAILED, LOST, RUNNING, SUCCEEDED

_MIB: Final = 2**20
_STATES: Final = {RUNNING: "RUNNING", CANCELLING: "RUNNING", "PENDING": "PENDING"}
_DML: Final = ("INSERT", "UPDATE", "DELETE", "MERGE")


def job_document(fields: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """Return a job as the API shows it in whole.

    Args:
        fields: What the fake knows of the job.
        now: The platform's time.
    """
    state, query = fields["state"], fields["query"]
    shown = _STATES.get(state, "DONE" if state in (SUCCEEDED, FAILED, LOST, CANCELLED) else state)
    return {
        "kind": "bigquery#job",
        "jobReference": dict(fields["reference"]),
        "status": _status(shown, state, query),
        "configuration": _configuration(fields, shown),
        "statistics": _statistics(fields, shown, now),
    }


def masked(document: Mapping[str, Any], mask: str | None) -> dict[str, Any]:
    """Return what a `fields` mask selects: `a,b/c,d(e,f/g)`; everything without one."""
    if not mask:
        return dict(document)
    kept: dict[str, Any] = {}
    for name, rest in _selectors(mask):
        if name in document:
            part = _selected(document[name], rest)
            old = kept.get(name)
            kept[name] = {**old, **part} if isinstance(old, dict) and isinstance(part, dict) else part
    return kept


def _selected(value: Any, mask: str) -> Any:
    if not mask:
        return value
    if isinstance(value, list):
        return [_selected(each, mask) for each in value]
    return masked(value, mask) if isinstance(value, Mapping) else value


def _selectors(mask: str) -> Iterator[tuple[str, str]]:
    depth, start = 0, 0
    for end, character in enumerate(f"{mask},"):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield _selector(mask[start:end].strip())
            start = end + 1


def _selector(text: str) -> tuple[str, str]:
    slash, bracket = text.find("/"), text.find("(")
    if bracket >= 0 and (slash < 0 or bracket < slash):
        return text[:bracket], text[bracket + 1 : -1]
    return (text, "") if slash < 0 else (text[:slash], text[slash + 1 :])


def _status(shown: str, state: str, query: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"state": shown}
    error = {
        FAILED: query.error,
        LOST: ("backendError", "Error encountered during execution. Retrying may solve the problem."),
        CANCELLED: ("stopped", "Job execution was cancelled: User requested cancellation"),
    }.get(state)
    listed = [*query.warnings, *([error] if error else [])] if shown == "DONE" else []
    if error:
        status["errorResult"] = {"reason": error[0], "message": error[1]}
    if listed:
        status["errors"] = [{"reason": reason, "message": words} for reason, words in listed]
    return status


def _configuration(fields: Mapping[str, Any], shown: str) -> dict[str, Any]:
    asked = {key: value for key, value in fields["configuration"].items() if key != "query"}
    query = dict(fields["configuration"].get("query", {}))
    kind = fields["query"].statement_type
    if fields.get("is_dry_run") or shown != "DONE":
        pass
    elif kind == "SELECT" and "destinationTable" not in query:
        query["destinationTable"] = _table(fields, "_anonymous", f"anon{fields['reference']['jobId']}")
    elif kind in _DML and fields["query"].target:
        query["destinationTable"] = _table(fields, fields["dataset"], fields["query"].target)
    return {**asked, "query": query, "jobType": "QUERY"}


def _statistics(fields: Mapping[str, Any], shown: str, now: float) -> dict[str, Any]:
    query, state = fields["query"], fields["state"]
    times: dict[str, Any] = {"creationTime": _ms(fields["started_at"])}
    if shown != "PENDING":
        times["startTime"] = _ms(fields["started_at"] + fields["queued_s"])
    if shown != "DONE":
        return times
    ended = fields["ended_at"]
    times["endTime"] = _ms(ended if math.isfinite(ended) else now)
    is_run = not fields.get("is_dry_run") and state == SUCCEEDED
    spent = {
        "totalBytesProcessed": str(query.bytes_processed),
        "totalSlotMs": str(query.slot_ms if is_run else 0),
    }
    details: dict[str, Any] = {
        **spent,
        "statementType": query.statement_type,
        "cacheHit": query.cache_hit,
        "totalBytesBilled": str(0 if query.cache_hit or not is_run else max(query.bytes_processed, 10 * _MIB)),
        "queryPlan": [{"name": "S00: Input", "steps": [{"kind": "READ", "substeps": ["never asked for"]}]}],
    }
    if query.affected_rows is not None:
        details["numDmlAffectedRows"] = str(query.affected_rows)
    if query.target and query.statement_type not in _DML:
        details["ddlTargetTable"] = _table(fields, fields["dataset"], query.target)
    if query.children:
        times["numChildJobs"] = str(len(query.children))
    if query.reservation:
        times["reservation_id"] = query.reservation
    if fields["parent"]:
        times["parentJobId"] = fields["parent"]
        times["scriptStatistics"] = {"evaluationKind": "STATEMENT"}
    return {**times, **spent, "query": details}


def _table(fields: Mapping[str, Any], dataset: str, table: str) -> dict[str, str]:
    return {"projectId": fields["reference"]["projectId"], "datasetId": dataset, "tableId": table}


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))
