"""Runs as the Jobs API 2.2 shows them: from a job of the ledger to a run with both spellings of its state, and its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outboard.testing.ledger_jobs import ENDS, LedgerJob
from outboard.testing.platform_clock import platform_time

_SETUP_MS: Final = 5_000
_CLEANUP_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended: the older pair of words, the newer code and type, and what Databricks says."""

    life_cycle_state: str = "TERMINATED"
    result_state: str = "FAILED"
    code: str = "RUN_EXECUTION_ERROR"
    type: str = "CLIENT_ERROR"
    message: str = ""


_ENDINGS: Final[Mapping[str, Ending]] = {
    "SUCCEEDED": Ending(result_state="SUCCESS", code="SUCCESS", type="SUCCESS"),
    "FAILED": Ending(message="Workload failed, see run output for details"),
    "LOST": Ending(
        life_cycle_state="INTERNAL_ERROR",
        code="CLOUD_FAILURE",
        type="CLOUD_FAILURE",
        message="Cluster terminated. Reason: Cloud Provider Shutdown",
    ),
    "CANCELLED": Ending(result_state="CANCELED", code="USER_CANCELED", type="SUCCESS", message="Run cancelled."),
}
_LIVE: Final = {"QUEUED": "PENDING", "CANCELLING": "TERMINATING"}


def task_run_id(run_id: int, index: int = 0, attempt: int = 0) -> int:
    """Return the run id of a run's task."""
    return run_id * 1_000 + index * 100 + attempt + 1


def run_view(
    run_id: int,
    job: LedgerJob,
    state: str,
    body: Mapping[str, Any],
    ending: Ending | None,
    repairs: int,
    url: str,
) -> dict[str, Any]:
    """Return a run as `runs/get` has it."""
    words = state_of(state, ending, job)
    times = _times(job, state)
    run: dict[str, Any] = {
        "run_id": run_id,
        "job_id": 900_000 + run_id,
        "run_name": body.get("run_name", "Untitled"),
        "run_type": "SUBMIT_RUN",
        "run_page_url": f"{url.replace('http://', 'https://')}/?o=1#job/{900_000 + run_id}/run/{run_id}",
        "creator_user_name": "service@example.com",
        **words,
        **times,
        "run_duration": sum(times[name] for name in ("setup_duration", "execution_duration", "cleanup_duration")),
    }
    run["tasks"] = [
        {
            **{name: value for name, value in task.items() if name != "libraries"},
            "run_id": task_run_id(run_id, index, attempt),
            "attempt_number": attempt,
            "cluster_instance": {"cluster_id": task.get("existing_cluster_id", f"1122-{run_id:06}")},
            **(_FAILED_BEFORE if attempt < repairs else words),
            **times,
            "start_time": times["start_time"] + attempt,
        }
        for index, task in enumerate(body["tasks"])
        for attempt in range(repairs + 1)
    ]
    if repairs:
        run["repair_history"] = [{"type": "ORIGINAL"}] + [{"type": "REPAIR", "id": 70 + n} for n in range(repairs)]
    return run


_FAILED_BEFORE: Final = {
    "state": {"life_cycle_state": "TERMINATED", "result_state": "FAILED", "state_message": "the first attempt failed"},
    "status": {"state": "TERMINATED", "termination_details": {"code": "RUN_EXECUTION_ERROR", "type": "CLIENT_ERROR"}},
}


def state_of(state: str, ending: Ending | None, job: LedgerJob) -> dict[str, Any]:
    """Return `state` and `status` of a job in a state of the ledger, or of another word."""
    told = ending or _ENDINGS.get(state)
    if told is None or (ending is None and state not in ENDS):
        life = _LIVE.get(state, state)
        older: dict[str, Any] = {
            "life_cycle_state": life,
            "state_message": "In run",
            "user_cancelled_or_timedout": False,
        }
        newer: dict[str, Any] = {"state": life}
        if state == "CANCELLING":
            older["user_cancelled_or_timedout"] = True
            newer["termination_details"] = {"code": "USER_CANCELED", "type": "SUCCESS"}
        return {"state": older, "status": newer}
    message = told.message or job.course.message
    older = {"life_cycle_state": told.life_cycle_state, "result_state": told.result_state, "state_message": message}
    details = {"code": told.code, "type": told.type, "message": message}
    return {"state": older, "status": {"state": "TERMINATED", "termination_details": details}}


def _times(job: LedgerJob, state: str) -> dict[str, int]:
    now = platform_time()
    is_over = state in ENDS
    end = min(now, job.ended_at()) if is_over else now
    execution_ms = int(max(0.0, end - job.started_at) * 1000)
    return {
        "start_time": int(job.started_at * 1000),
        "end_time": int(end * 1000) if is_over else 0,
        "setup_duration": _SETUP_MS if is_over else 0,
        "execution_duration": execution_ms if is_over else 0,
        "cleanup_duration": _CLEANUP_MS if is_over else 0,
    }
