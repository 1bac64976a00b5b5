"""The calls: StartQueryExecution, GetQueryExecution, BatchGetQueryExecution and StopQueryExecution.

Each is a POST of JSON (`application/x-amz-json-1.1`) whose header `X-Amz-Target` names the operation, signed with the keys of the
moment. An answer that is no execution is no proof of anything.

Source: https://docs.aws.amazon.com/athena/latest/APIReference/, read 2026-11-22; the model of botocore 1.43.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from outboard.agent import Http
from outboard.errors import AgentError, Rejected, Unavailable
from outboard.platforms.athena.credentials import KeySource
from outboard.platforms.athena.errors import CONCURRENT, ERRORS, NOT_FOUND, explained
from outboard.platforms.athena.signing import signed_headers

START: Final = "StartQueryExecution"
GET: Final = "GetQueryExecution"
BATCH: Final = "BatchGetQueryExecution"
STOP: Final = "StopQueryExecution"
MOST: Final = 50
"""Ids that BatchGetQueryExecution takes."""
_MARGIN_S: Final = 0.5
_ID: Final = re.compile(r"[!-~]{1,128}")
_GONE: Final = ("was not found", "not found", "has expired", "does not exist")
_CONCURRENT_WORDS: Final = ("concurrent", "number of queries", "active dml", "active ddl")

Execution = Mapping[str, Any]


class AthenaClient:
    """The API of one region, as one identity.

    Args:
        http: The host's session.
        endpoint: Where the API is.
        region: The region, which signatures name.
        keys: Where access keys come from.
        agent_name: Sent as `User-Agent`.
    """

    def __init__(self, http: Http, endpoint: str, region: str, keys: KeySource, agent_name: str) -> None:
        self.region = region
        self._http = http
        self._endpoint = endpoint
        self._keys = keys
        self._agent_name = agent_name

    async def start(self, body: Mapping[str, Any], *, timeout_s: float) -> str:
        """Start a query, or find the one that was started with the same token; return its id."""
        answer = await self._ask(START, body, timeout_s)
        query_id = answer.get("QueryExecutionId")
        if not isinstance(query_id, str) or not _ID.fullmatch(query_id):
            raise Unavailable("Athena answered no query id")
        return query_id

    async def get(self, query_id: str, *, timeout_s: float) -> Execution | None:
        """Return a query; None where Athena knows none of that id."""
        try:
            answer = await self._ask(GET, {"QueryExecutionId": query_id}, timeout_s)
        except Rejected as error:
            if is_gone(error.platform_code, error.message):
                return None
            raise
        return _checked(answer.get("QueryExecution"), (query_id,))

    async def get_many(self, query_ids: Sequence[str], *, timeout_s: float) -> dict[str, Execution | AgentError | None]:
        """Return up to 50 queries by their ids; None for those that Athena does not know, an error where it could not look."""
        answer = await self._ask(BATCH, {"QueryExecutionIds": list(query_ids)}, timeout_s)
        listed, failed = answer.get("QueryExecutions", []), answer.get("UnprocessedQueryExecutionIds", [])
        if not isinstance(listed, list) or not isinstance(failed, list):
            raise Unavailable("Athena answered something that is no list of queries")
        executions = [_checked(each, query_ids) for each in listed]
        found: dict[str, Execution | AgentError | None] = {each["QueryExecutionId"]: each for each in executions}
        for each in failed:
            if isinstance(each, Mapping) and each.get("QueryExecutionId") in query_ids:
                found.setdefault(each["QueryExecutionId"], _unprocessed(each))
        return found

    async def stop(self, query_id: str, *, timeout_s: float) -> None:
        """Ask a query to end; one that is not there any more has."""
        try:
            await self._ask(STOP, {"QueryExecutionId": query_id}, timeout_s)
        except Rejected as error:
            if not is_gone(error.platform_code, error.message):
                raise

    async def _ask(self, operation: str, body: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        # Our own limit ends first: "no budget before then" says more than "took too long".
        give_up = time.monotonic() + max(timeout_s - _MARGIN_S, timeout_s / 2)
        keys = await self._keys.keys()
        content = json.dumps(body).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AmazonAthena.{operation}",
            "User-Agent": self._agent_name,
        }
        try:
            answer = await self._http.post(
                f"{self._endpoint}/",
                method=operation,
                data=content,
                headers=signed_headers(self._endpoint, content, headers, keys, self.region),
                timeout_s=max(give_up - time.monotonic(), 0.0),
            )
        except AgentError as error:
            raise explained(_particular(error)) from None
        told = answer.json()
        if not isinstance(told, dict):
            raise Unavailable("Athena answered something that is no JSON object")
        return told


def is_gone(code: str | None, words: str) -> bool:
    """Tell whether a refusal says that there is no such query."""
    lower = words.lower()
    return code == NOT_FOUND or ("queryexecution" in lower.replace(" ", "") and any(each in lower for each in _GONE))


def _particular(error: AgentError) -> AgentError:
    """Return "too many queries at once" for what it is: it lasts longer than too many calls."""
    if error.platform_code == "TooManyRequestsException" and any(
        each in error.message.lower() for each in _CONCURRENT_WORDS
    ):
        particular = ERRORS.classify(words=error.message, code=CONCURRENT)
        return particular if isinstance(particular, AgentError) else error
    return error


def _unprocessed(told: Mapping[str, Any]) -> AgentError | None:
    code, words = str(told.get("ErrorCode") or ""), str(told.get("ErrorMessage") or "Athena gives no reason")
    if is_gone(code, words):
        return None
    if "accessdenied" in code.lower().replace("_", "") or "not authorized" in words.lower():
        refusal = ERRORS.classify(words=words, code="AccessDeniedException")
    else:
        refusal = ERRORS.classify(words=words, code="InternalServerException")
    return refusal if isinstance(refusal, AgentError) else Unavailable(words)


def _checked(execution: object, query_ids: Sequence[str]) -> Execution:
    status = execution.get("Status") if isinstance(execution, Mapping) else None
    if (
        not isinstance(execution, Mapping)
        or not isinstance(status, Mapping)
        or not isinstance(status.get("State"), str)
    ):
        raise Unavailable("Athena answered something that is no query")
    if execution.get("QueryExecutionId") not in query_ids:
        raise Unavailable("Athena answered another query than the one that was asked about")
    return execution
