"""How BigQuery writes jobs, for the life-cycle proxy in front of an emulator (see `lifecycle_proxy`).

Beside the life, it puts back what emulators drop: the labels and the location that a job was sent with.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from outboard.testing.lifecycle_proxy import CANCELLED, ENDED, PENDING, RUNNING, Asked, JobShape, ProxiedJob
from outboard.testing.platforms.bigquery_tokens import refusal

OPERATIONS: Final = {
    "cancel": "POST /bigquery/v2/projects/*/jobs/*/cancel",
    "create": "POST /bigquery/v2/projects/*/jobs",
    "get": "GET /bigquery/v2/projects/*/jobs/*",
    "get_many": "GET /bigquery/v2/projects/*/jobs",
}
"""By operation, as `FaultProxy` takes them."""

_STATES: Final = {PENDING: "PENDING", RUNNING: "RUNNING"}
_ONLY_AT_THE_END: Final = ("endTime", "totalBytesProcessed", "totalSlotMs", "query", "numChildJobs")


class BigQueryShape(JobShape):
    """Jobs of the REST API, version 2."""

    def chosen_id(self, asked: Asked) -> str:
        """Return `jobReference.jobId`; empty for a dry run, which leaves no job."""
        document = asked.document if isinstance(asked.document, dict) else {}
        if document.get("configuration", {}).get("dryRun"):
            return ""
        return str(document.get("jobReference", {}).get("jobId") or "")

    def started_id(self, asked: Asked, answer: Any) -> str:
        """Return the id that the emulator answers; empty for a dry run."""
        if isinstance(asked.document, dict) and asked.document.get("configuration", {}).get("dryRun"):
            return ""
        return str(answer.get("jobReference", {}).get("jobId") or "")

    def asked_id(self, asked: Asked) -> str:
        """Return the id in the path."""
        return asked.path.removesuffix("/cancel").rpartition("/jobs/")[2]

    def shown(self, job: ProxiedJob, state: str, answer: Any) -> Any:
        """Return the job with the status, statistics and reference that belong to its state."""
        sent = job.asked.document
        document = copy.deepcopy(answer)
        document["configuration"] = {
            **document.get("configuration", {}),
            "labels": sent["configuration"].get("labels", {}),
        }
        place = sent.get("jobReference", {}).get("location")
        document["jobReference"] = {**document.get("jobReference", {}), **({"location": place} if place else {})}
        statistics = {**document.get("statistics", {}), "creationTime": str(round(job.started_at * 1000))}
        if state != ENDED:
            statistics = {name: value for name, value in statistics.items() if name not in _ONLY_AT_THE_END}
            document["status"] = {"state": _STATES.get(state, "DONE")}
            document["configuration"]["query"] = dict(sent["configuration"].get("query", {}))
        if state == CANCELLED:
            error = {"reason": "stopped", "message": "Job execution was cancelled: User requested cancellation"}
            document["status"] = {"state": "DONE", "errorResult": error, "errors": [error]}
            statistics["endTime"] = str(round((job.cancelled_at or job.started_at) * 1000))
        document["statistics"] = statistics
        return document

    def duplicate(self, asked: Asked, job: ProxiedJob) -> web.Response:
        """Return 409 `duplicate`."""
        reference = asked.document["jobReference"]
        place = f"{reference.get('projectId')}:{reference.get('location', 'US')}.{job.id}"
        return refusal(409, "duplicate", f"Already Exists: Job {place}").answer

    def cancel_answer(self, job: ProxiedJob) -> web.Response:
        """Return the job as it stands."""
        document = {"kind": "bigquery#jobCancelResponse", "job": self.shown(job, job.state, job.final)}
        return web.json_response(document)

    def list_query(self, asked: Asked) -> Mapping[str, str] | None:
        """Return the query without filters: for the emulator every job is done."""
        kept = ("projection", "maxResults", "parentJobId")
        return {name: asked.query[name] for name in kept if name in asked.query}

    def listed(self, asked: Asked, jobs: Mapping[str, ProxiedJob], answer: Any) -> Any:
        """Return the jobs in the states that are asked for, each as it stands; children of scripts as they are."""
        if "parentJobId" in asked.query:
            return answer
        states = {state.upper() for state in getattr(asked.query, "getall", lambda *_: ())("stateFilter", ())}
        shown = []
        for item in answer.get("jobs", []):
            job = jobs.get(item.get("jobReference", {}).get("jobId", ""))
            document = self.shown(job, job.state, item) if job is not None else item
            state = document.get("status", {}).get("state") or document.get("state")
            if not states or state in states:
                shown.append({**document, "state": state})
        return {**answer, "jobs": shown}
