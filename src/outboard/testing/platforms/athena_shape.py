"""A life for the queries of an Athena emulator: moto's, which answers a repeated token with another query and knows no batches.

All calls of Athena's API go to one address, so operations are told by the header `X-Amz-Target`, and jobs are known by the id
that the emulator gave while repetitions are known by their token. A batch is asked of the emulator id by id.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from outboard.testing.faults import FaultPlan
from outboard.testing.lifecycle_proxy import (
    CANCELLED,
    ENDED,
    PENDING,
    Asked,
    JobShape,
    Life,
    LifecycleProxy,
    ProxiedJob,
)
from outboard.testing.platforms.athena import refusal
from outboard.testing.virtual_time import real_work

_TARGET: Final = "X-Amz-Target"
_OPERATIONS: Final = {
    "AmazonAthena.StartQueryExecution": "create",
    "AmazonAthena.GetQueryExecution": "get",
    "AmazonAthena.BatchGetQueryExecution": "get_many",
    "AmazonAthena.StopQueryExecution": "cancel",
}


class AthenaShape(JobShape):
    """How Athena writes queries."""

    def started_id(self, asked: Asked, answer: Any) -> str:  # noqa: ARG002 - of the shape
        """See `JobShape.started_id`."""
        return str(answer.get("QueryExecutionId") or "")

    def asked_id(self, asked: Asked) -> str:
        """See `JobShape.asked_id`."""
        return str(asked.document.get("QueryExecutionId") or "")

    def shown(self, job: ProxiedJob, state: str, answer: Any) -> Any:  # noqa: ARG002 - same
        """See `JobShape.shown`."""
        execution = answer.get("QueryExecution")
        if execution is None or state == ENDED:
            return answer
        status: dict[str, Any] = {"State": {PENDING: "QUEUED", CANCELLED: "CANCELLED"}.get(state, "RUNNING")}
        if state == CANCELLED:
            status["StateChangeReason"] = "Query cancelled by user"
        status["SubmissionDateTime"] = execution.get("Status", {}).get("SubmissionDateTime")
        return {"QueryExecution": {**execution, "Status": status}}

    def duplicate(self, asked: Asked, job: ProxiedJob) -> web.Response:
        """Return the first query's id, or a refusal where the statement is another."""
        if asked.document.get("QueryString") != job.asked.document.get("QueryString"):
            words, code = "Idempotent parameters do not match", "IDEMPOTENT_PARAMETER_MISMATCH"
            return refusal(400, "InvalidRequestException", words, code=code).answer
        return web.json_response({"QueryExecutionId": job.id})

    def cancel_answer(self, job: ProxiedJob) -> web.Response:  # noqa: ARG002 - same
        """See `JobShape.cancel_answer`."""
        return web.json_response({})


class AthenaProxy(LifecycleProxy):
    """Stands in front of an emulator of Athena.

    Args:
        target_url: Where the emulator is.
        life: How queries go; or a function that tells it from the request.
        faults: Which request meets which fault.
    """

    def __init__(
        self, target_url: str, life: Life | Callable[[Asked], Life] | None = None, faults: FaultPlan | None = None
    ) -> None:
        super().__init__(target_url, {}, AthenaShape(), life, faults)
        self._by_token: dict[str, ProxiedJob] = {}

    def _operation_of(self, request: web.Request) -> str:
        return _OPERATIONS.get(request.headers.get(_TARGET, ""), "other")

    async def _begin(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        token = str(asked.document.get("ClientRequestToken") or "")
        async with self._starting.setdefault(token, asyncio.Lock()):
            known = self._by_token.get(token)
            if known is None:
                before = set(self.jobs)
                answer = await self._start_job(request, asked)
                self._by_token.update((token, self.jobs[each]) for each in set(self.jobs) - before)
                return answer
        self.duplicates += 1
        return self._shape.duplicate(asked, known)

    async def _show_many(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        found: list[Any] = []
        unknown: list[Mapping[str, str]] = []
        for query_id in asked.document.get("QueryExecutionIds", []):
            job = self.jobs.get(query_id)
            document = None if job is None else await self._ask_one(request, query_id)
            if job is None or document is None:
                unknown.append(
                    {"QueryExecutionId": query_id, "ErrorMessage": f"QueryExecution {query_id} was not found"}
                )
                continue
            found.append(self._shape.shown(job, job.state, document)["QueryExecution"])
            job.polls += 1
        return web.json_response({"QueryExecutions": found, "UnprocessedQueryExecutionIds": unknown})

    async def _ask_one(self, request: web.Request, query_id: str) -> Any:
        if self._session is None:
            raise RuntimeError("the proxy is not running; enter it with `async with` or `with`")
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            _TARGET: "AmazonAthena.GetQueryExecution",
            "Authorization": request.headers.get("Authorization", ""),
        }
        body = json.dumps({"QueryExecutionId": query_id}).encode()
        with real_work():
            async with self._session.post(f"{self._target}/", data=body, headers=headers) as answer:
                return json.loads(await answer.read()) if answer.status == web.HTTPOk.status_code else None
