"""The calls: `jobs.insert`, `jobs.get`, `jobs.list`, `jobs.cancel` of the REST API, version 2.

Answers are asked for with a field mask: a job as the API shows it by default carries its query plan, hundreds of kilobytes that
nobody here reads. An answer that is no job is no proof of anything.

Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs, discovery document revision 20261009.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from outboard.agent import Http
from outboard.errors import AgentError, Forbidden, Unavailable
from outboard.platforms.bigquery.credentials import Tokens
from outboard.platforms.bigquery.errors import NOT_FOUND, explained

INSERT: Final = "jobs.insert"
GET: Final = "jobs.get"
LIST: Final = "jobs.list"
CANCEL: Final = "jobs.cancel"
PAGE: Final = 1000
_MARGIN_S: Final = 0.5
_NO_SUCH_JOB: Final = (NOT_FOUND, "NOT_FOUND")

_STATISTICS: Final = (
    "creationTime,startTime,endTime,totalBytesProcessed,totalSlotMs,numChildJobs,parentJobId,reservation_id,edition,"
    "quotaDeferments,scriptStatistics/evaluationKind,query(statementType,cacheHit,totalBytesProcessed,totalBytesBilled,"
    "totalSlotMs,billingTier,numDmlAffectedRows,ddlOperationPerformed,ddlTargetTable,ddlDestinationTable,"
    "totalBytesProcessedAccuracy)"
)
_JOB: Final = (
    f"jobReference,status,configuration(labels,query(destinationTable,maximumBytesBilled)),statistics({_STATISTICS})"
)
_LIVE: Final = (
    "nextPageToken,unreachable,jobs(jobReference,state,status,statistics(creationTime,startTime,quotaDeferments))"
)
_CHILD: Final = (
    f"jobReference,state,status,errorResult,configuration(query(destinationTable)),statistics({_STATISTICS})"
)
_CHILDREN: Final = f"nextPageToken,jobs({_CHILD})"

Job = Mapping[str, Any]


class BigQueryClient:
    """The API for one project, as one identity.

    Args:
        http: The host's session.
        endpoint: Where the API is.
        project: Whom jobs are billed to.
        tokens: Where access tokens come from.
        agent_name: Sent as `User-Agent`.
    """

    def __init__(self, http: Http, endpoint: str, project: str, tokens: Tokens, agent_name: str) -> None:
        self._http = http
        self._jobs = f"{endpoint}/bigquery/v2/projects/{quote(project, safe=':')}/jobs"
        self._tokens = tokens
        self._agent_name = agent_name

    async def insert(self, body: Mapping[str, Any], *, timeout_s: float) -> Job:
        """Start a job, or estimate one where the body says `dryRun`; return it as BigQuery answers.

        Raises:
            AgentError: Refused; its code is `duplicate` where there is a job of that id already.
        """
        reference = body["jobReference"]
        try:
            found = await self._ask("POST", self._jobs, INSERT, timeout_s, {"fields": _JOB}, body)
        except AgentError as error:
            error.message = explained(error.code, error.message, reference.get("location", ""))
            error.args = (error.message,)
            raise
        return _checked(found, reference.get("jobId"))

    async def get(self, job_id: str, location: str, *, timeout_s: float) -> Job | None:
        """Return a job; None where there is none of that id at that location."""
        try:
            found = await self._ask(
                "GET", f"{self._jobs}/{quote(job_id)}", GET, timeout_s, {"fields": _JOB, **_located(location)}
            )
        except AgentError as error:
            if error.code in _NO_SUCH_JOB:
                return None
            raise
        return _checked(found, job_id)

    async def cancel(self, job_id: str, location: str, *, timeout_s: float) -> None:
        """Ask a job to end; one that is not there any more has."""
        url = f"{self._jobs}/{quote(job_id)}/cancel"
        try:
            await self._ask("POST", url, CANCEL, timeout_s, {"fields": "kind", **_located(location)})
        except AgentError as error:
            if error.code not in _NO_SUCH_JOB:
                raise

    async def live_jobs(self, since_ms: int, until_ms: int, *, pages: int, timeout_s: float) -> AsyncIterator[Job]:
        """Yield this identity's jobs of a time that have not ended, the latest first, from so many pages at most."""
        query = {
            "projection": "full",
            "minCreationTime": str(since_ms),
            "maxCreationTime": str(until_ms),
            "maxResults": str(PAGE),
            "fields": _LIVE,
        }
        async for job in self._listed(query, ("pending", "running"), pages, timeout_s):
            yield job

    async def whereabouts(self, job_id: str, *, timeout_s: float, pages: int = 10) -> str:
        """Return where this identity's job of an id runs, as listings of all locations tell; empty where they do not."""
        query = {"projection": "full", "maxResults": str(PAGE), "fields": "nextPageToken,jobs(jobReference)"}
        try:
            async for job in self._listed(query, (), pages, timeout_s):
                if job_id_of(job) == job_id:
                    return location_of(job)
        except Forbidden:
            return ""  # an identity that may read its jobs but list none
        return ""

    async def children(self, job_id: str, *, timeout_s: float, pages: int = 10) -> list[Job]:
        """Return the jobs that a script ran, the latest first."""
        query = {"projection": "full", "parentJobId": job_id, "maxResults": str(PAGE), "fields": _CHILDREN}
        return [job async for job in self._listed(query, (), pages, timeout_s)]

    async def _listed(
        self, query: Mapping[str, str], states: tuple[str, ...], pages: int, timeout_s: float
    ) -> AsyncIterator[Job]:
        token, seen = "", set[str]()
        filters = "&".join(f"stateFilter={state}" for state in states)
        url = f"{self._jobs}?{filters}" if filters else self._jobs
        for _ in range(pages):
            page = await self._ask("GET", url, LIST, timeout_s, {**query, **({"pageToken": token} if token else {})})
            jobs = page.get("jobs", [])
            if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
                if states:
                    return  # a listing of the living saves calls, and nothing hangs on it
                raise Unavailable("BigQuery answered something that is no list of jobs")
            for job in jobs:
                yield job
            token = page.get("nextPageToken") or ""
            if not isinstance(token, str) or not token or token in seen:
                return  # pages that go round would never end
            seen.add(token)

    async def _ask(
        self,
        verb: str,
        url: str,
        method: str,
        timeout_s: float,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        # Our own limit ends first: "no budget before then" says more than "took too long".
        give_up = time.monotonic() + max(timeout_s - _MARGIN_S, timeout_s / 2)
        token = await self._tokens.token()
        headers = {"User-Agent": self._agent_name, **({"Authorization": f"Bearer {token}"} if token else {})}
        answer = await self._http.request(
            verb,
            url,
            method=method,
            params={"prettyPrint": "false", **query},
            json_body=body,
            headers=headers,
            timeout_s=max(give_up - time.monotonic(), 0.0),
        )
        content = answer.json()
        if not isinstance(content, dict):
            raise Unavailable("BigQuery answered something that is no JSON object")
        return content


def job_id_of(job: Job) -> str:
    """Return a job's id; empty where it has none, as a dry run has."""
    return str(_reference(job).get("jobId") or "")


def location_of(job: Job) -> str:
    """Return where a job runs; empty where BigQuery does not say."""
    return str(_reference(job).get("location") or "")


def _reference(job: Job) -> Mapping[str, Any]:
    reference = job.get("jobReference")
    return reference if isinstance(reference, Mapping) else {}


def _located(location: str) -> dict[str, str]:
    return {"location": location} if location else {}


def _checked(job: Mapping[str, Any], job_id: str | None) -> Job:
    status = job.get("status")
    if not isinstance(status, Mapping) or not isinstance(status.get("state"), str):
        raise Unavailable("BigQuery answered something that is no job")
    if job_id is not None and job_id_of(job) != job_id:
        raise Unavailable("BigQuery answered another job than the one that was asked about")
    return job
