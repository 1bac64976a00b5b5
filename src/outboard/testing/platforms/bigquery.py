"""A fake BigQuery: the REST API's jobs, over the ledger, with the parts that no emulator has.

Written from the API's documentation (https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs, discovery document revision
20261009), apart from the agent. It has

* `jobs.insert` with ids of the caller's choice, 409 `duplicate` for a second one, dry runs, labels, byte limits, locations: data
  are where `FakeQuery.location` says, a job elsewhere does not find them;
* `jobs.get` and `jobs.cancel`, which find jobs outside of US and EU only by their location;
* `jobs.list` with its filters, pages and children of scripts;
* field masks (`fields`), so what is not asked for is not there;
* quotas: so many calls of a method per second, and 403 `rateLimitExceeded` beyond;
* access tokens (`bigquery_tokens`): for a service account's signed assertion, for a workload's own token, for acting as another.

What a query does is said by its SQL text, in `queries`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Course, Ledger, NameTaken
from outboard.testing.ledger_jobs import CANCELLED, FAILED, LOST, QUEUED, SUCCEEDED, LedgerJob
from outboard.testing.meters import Window
from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import PlatformServer, operation
from outboard.testing.platforms.bigquery_jobs import job_document, masked
from outboard.testing.platforms.bigquery_tokens import METHOD, TokenIssuer, refusal

DATASET: Final = "analytics"
_METHODS: Final = ("jobs.insert", "jobs.get", "jobs.list", "jobs.cancel", METHOD)
_NEEDS_NO_LOCATION: Final = ("US", "EU", "us", "eu")
_DEFAULT_PAGE: Final = 50
_ENDS: Final = (SUCCEEDED, FAILED, LOST, CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeQuery:
    """What a statement does.

    Attributes:
        course: How its job goes.
        statement_type: The API's word for it.
        location: Where its data are.
        bytes_processed: What it reads; also what a dry run tells.
        slot_ms: Slot time.
        cache_hit: It is answered from the cache, and nothing is billed.
        error: Reason and words of the error that its job ends with, where the course says `FAILED`.
        warnings: Errors that the job gets over, as (reason, words).
        refused: Status, reason and words that `jobs.insert` answers instead.
        refuses_dry_runs: Dry runs of it are refused, as of what only makes sense in its session.
        target: The table that a DDL statement makes or a DML statement changes.
        affected_rows: Of a DML statement.
        reservation: It runs in a reservation.
        children: The statements of a script, in their order.
    """

    course: Course = field(default_factory=Course)
    statement_type: str = "SELECT"
    location: str = "US"
    bytes_processed: int = 10 * 2**20
    slot_ms: int = 1500
    cache_hit: bool = False
    error: tuple[str, str] = ("invalidQuery", "Division by zero: 1 / 0")
    warnings: tuple[tuple[str, str], ...] = ()
    refused: tuple[int, str, str] | None = None
    refuses_dry_runs: bool = False
    target: str = ""
    affected_rows: int | None = None
    reservation: str = ""
    children: tuple[FakeQuery, ...] = ()


@dataclass(slots=True)
class FakeJob:
    """A job as it was sent, beside what the ledger knows of it."""

    reference: Mapping[str, Any]
    configuration: Mapping[str, Any]
    query: FakeQuery
    ledger_id: str
    authorization: str


def _wanted(request: web.Request) -> str:
    body = request._read_bytes or b""  # noqa: SLF001 - aiohttp keeps the body that was read there
    return "dry_run" if b'"dryRun": true' in body else "create"


class FakeBigQuery(TokenIssuer, PlatformServer):
    """The API for every project.

    Args:
        queries: By SQL text; any other text is a `SELECT` of ten seconds.
        ledger: The jobs.
        faults: Which call meets which fault; operations are `create`, `dry_run`, `get`, `get_many`, `children`, `cancel`,
            `token`, `impersonate`.
        quota: Calls of one method in any second; None is no limit.
        page: Jobs on a page of a listing at most.

    Attributes:
        bodies: What `jobs.insert` was sent, dry runs too, in order.
        jobs: By the ledger's id.

    What it has of tokens is told by `TokenIssuer`.
    """

    def __init__(
        self,
        queries: Mapping[str, FakeQuery] | None = None,
        *,
        ledger: Ledger | None = None,
        faults: FaultPlan | None = None,
        quota: int | None = None,
        page: int = 1000,
    ) -> None:
        TokenIssuer.__init__(self)
        rates = {} if quota is None else dict.fromkeys(_METHODS, quota)
        PlatformServer.__init__(self, ledger, faults, meter=Window(rates))
        self.queries = dict(queries or {})
        self.page = page
        self.bodies: list[Mapping[str, Any]] = []
        self.jobs: dict[str, FakeJob] = {}
        self._numbers = itertools.count(1)

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the API's jobs, the token exchange and the IAM Credentials API."""
        jobs = "/bigquery/v2/projects/{project}/jobs"
        return (
            web.post(jobs, self._insert),
            web.get(jobs, self._list_jobs),
            web.get(jobs + "/{job}", self._get_job),
            web.post(jobs + "/{job}/cancel", self._cancel_job),
            *self.token_routes(),
        )

    def admit(self, request: web.Request, method: str) -> None:
        """Ask whether there is room, and for a token, but where tokens are had."""
        if not self.has_room(method):
            words = "Exceeded rate limits: too many api requests per user per method for this user_method"
            raise refusal(403, "rateLimitExceeded", words)
        if method != METHOD:
            self.check_token(request)

    @operation(_wanted, method="jobs.insert")
    async def _insert(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        reference, configuration = body.get("jobReference", {}), body.get("configuration", {})
        asked = configuration.get("query", {})
        query = self.queries.get(asked.get("query", ""), FakeQuery())
        project, location = request.match_info["project"], reference.get("location") or query.location
        if query.refused is not None:
            raise refusal(*query.refused)
        if location != query.location:
            words = f"Not found: Dataset {project}:{DATASET} was not found in location {location}"
            raise refusal(404, "notFound", words)
        if configuration.get("dryRun") and query.refuses_dry_runs:
            raise refusal(400, "invalidQuery", "Table temp must be qualified with a dataset")
        if configuration.get("dryRun"):
            document = job_document(_dry_run(project, location, configuration, query), now=0.0)
            return web.json_response(masked(document, request.query.get("fields")))
        return self._start(request, project, location, body, query)

    def _start(
        self, request: web.Request, project: str, location: str, body: Mapping[str, Any], query: FakeQuery
    ) -> web.Response:
        job_id = str(body.get("jobReference", {}).get("jobId") or f"job_{next(self._numbers)}")
        configuration = body["configuration"]
        name = f"{project}:{location}.{job_id}"
        limit = configuration["query"].get("maximumBytesBilled")
        if limit is not None and query.bytes_processed > int(limit):
            words = f"Query exceeded limit for bytes billed: {limit}. {query.bytes_processed} or higher required."
            query = FakeQuery(
                course=Course(outcome=FAILED), location=location, error=("bytesBilledLimitExceeded", words)
            )
        try:
            view = self.ledger.create(name=name, labels=configuration.get("labels", {}), course=query.course)
        except NameTaken:
            raise refusal(409, "duplicate", f"Already Exists: Job {name}") from None
        reference = {"projectId": project, "jobId": job_id, "location": location}
        job = FakeJob(reference, configuration, query, view.id, request.headers.get("Authorization", ""))
        self.jobs[view.id] = job
        return self._answer(job, request)

    @operation("get", method="jobs.get")
    async def _get_job(self, request: web.Request) -> web.Response:
        return self._answer(self._found(request), request)

    @operation("cancel", method="jobs.cancel")
    async def _cancel_job(self, request: web.Request) -> web.Response:
        job = self._found(request)
        self.ledger.cancel(job.ledger_id)
        document = {"kind": "bigquery#jobCancelResponse", "job": self._document(job)}
        return web.json_response(masked(document, request.query.get("fields")))

    @operation(lambda request: "children" if "parentJobId" in request.query else "get_many", method="jobs.list")
    async def _list_jobs(self, request: web.Request) -> web.Response:
        query = request.query
        listed = self._children(query["parentJobId"]) if "parentJobId" in query else self._own(request)
        start, size = int(query.get("pageToken", 0)), min(int(query.get("maxResults", _DEFAULT_PAGE)), self.page)
        page: dict[str, Any] = {"kind": "bigquery#jobList", "jobs": listed[start : start + size]}
        if start + size < len(listed):
            page["nextPageToken"] = str(start + size)
        return web.json_response(masked(page, query.get("fields")))

    def _found(self, request: web.Request) -> FakeJob:
        project, job_id, told = request.match_info["project"], request.match_info["job"], request.query.get("location")
        for location in (told,) if told else _NEEDS_NO_LOCATION:
            name = f"{project}:{location}.{job_id}"
            if self.ledger.get(name) is not None and name in self.jobs:
                return self.jobs[name]
        raise refusal(404, "notFound", f"Not found: Job {project}:{job_id}")

    def _own(self, request: web.Request) -> list[Mapping[str, Any]]:
        query, project = request.query, request.match_info["project"]
        since, until = int(query.get("minCreationTime", 0)), int(query.get("maxCreationTime", 2**62))
        states = {state.upper() for state in query.getall("stateFilter", ())}
        jobs = [
            job
            for job in self.jobs.values()
            if job.reference["projectId"] == project
            and job.authorization == request.headers.get("Authorization", "")
            and self.ledger.get(job.ledger_id) is not None
        ]
        documents = [self._document(job, is_listed=True) for job in jobs]
        fitting = [
            each
            for each in documents
            if since <= int(each["statistics"]["creationTime"]) <= until and (not states or each["state"] in states)
        ]
        return sorted(fitting, key=lambda each: int(each["statistics"]["creationTime"]), reverse=True)

    def _children(self, parent_id: str) -> list[Mapping[str, Any]]:
        parent = next((job for job in self.jobs.values() if job.reference["jobId"] == parent_id), None)
        if parent is None or not self._has_ended(parent):
            return []
        documents = [
            job_document(self._fields(parent, query, f"{parent_id}_{index}", parent_id), now=platform_time())
            for index, query in enumerate(parent.query.children)
        ]
        return [{**each, "state": "DONE"} for each in reversed(documents)]

    def _answer(self, job: FakeJob, request: web.Request) -> web.Response:
        return web.json_response(masked(self._document(job), request.query.get("fields")))

    def _document(self, job: FakeJob, *, is_listed: bool = False) -> dict[str, Any]:
        document = job_document(self._fields(job, job.query), now=platform_time())
        return {**document, "state": document["status"]["state"]} if is_listed else document

    def _fields(self, job: FakeJob, query: FakeQuery, child: str = "", parent: str = "") -> dict[str, Any]:
        record = self.ledger.jobs[job.ledger_id]
        reference = {**job.reference, "jobId": child} if child else job.reference
        return {
            "reference": reference,
            "configuration": job.configuration,
            "query": query,
            "state": SUCCEEDED if child else _shown(record),
            "started_at": record.started_at,
            "queued_s": record.course.queued_s,
            "ended_at": record.ended_at(),
            "parent": parent,
            "dataset": DATASET,
        }

    def _has_ended(self, job: FakeJob) -> bool:
        return self.ledger.jobs[job.ledger_id].state(platform_time()) in _ENDS


def _dry_run(project: str, location: str, configuration: Mapping[str, Any], query: FakeQuery) -> dict[str, Any]:
    return {
        "reference": {"projectId": project, "location": location},
        "configuration": configuration,
        "query": query,
        "state": SUCCEEDED,
        "started_at": platform_time(),
        "queued_s": 0.0,
        "ended_at": platform_time(),
        "parent": "",
        "dataset": DATASET,
        "is_dry_run": True,
    }


def _shown(record: LedgerJob) -> str:
    state = record.disguise or record.state(platform_time())
    return state if state != QUEUED else "PENDING"
