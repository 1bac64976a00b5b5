"""The calls that the agents make of a workspace: Jobs API 2.2, SQL Statement Execution 2.0, Query History 2.0.

Each returns the JSON object that Databricks answers, or None where it says that there is no such thing; an answer that is none
is `Unavailable`, which proves nothing. Sources: https://docs.databricks.com/api/workspace/jobs and .../statementexecution.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from outboard.agent import Http
from outboard.errors import AgentError, Throttled, Unauthorized, Unavailable
from outboard.platforms.databricks import quotas
from outboard.platforms.databricks.errors import is_creation_limit, is_missing
from outboard.platforms.databricks.logins import Login

_JOBS: Final = "/api/2.2/jobs/runs"
_STATEMENTS: Final = "/api/2.0/sql/statements"
_HISTORY: Final = "/api/2.0/sql/history/queries"
RUNS_PER_PAGE: Final = 24
"""`limit` "must be greater than 0 and less than 25"."""
QUERIES_PER_PAGE: Final = 100
_DOWNLOAD_S: Final = 300.0
_AT_ONCE: Final = 8

Json = Mapping[str, Any]


class Workspace:
    """A workspace's API over the host's HTTP session.

    Args:
        http: The session.
        url: The workspace's address, without a slash at the end.
        host: The workspace's own host, which its pages are at.
        login: Who we are.
    """

    def __init__(self, http: Http, url: str, host: str, login: Login) -> None:
        self._http = http
        self._url = url
        self._login = login
        self.host = host
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def submit(self, body: Json) -> str:
        """Start a one-time run, or learn of the one that its idempotency token has started; return its id."""
        try:
            answer = await self._ask("POST", f"{_JOBS}/submit", quotas.SUBMIT, json_body=body)
        except AgentError as error:
            if is_creation_limit(error):
                raise Throttled(error.message, code=error.platform_code, retry_after=error.retry_after) from None
            raise
        run_id = identifier(answer, "run_id")
        if not (run_id.isascii() and run_id.isdigit()):
            raise Unavailable("Databricks answered with something that is no run_id")
        return run_id

    async def run(self, run_id: str) -> Json | None:
        """Return a run with its tasks and repairs."""
        query = {"run_id": run_id, "include_history": "true"}
        return _checked(await self._ask_known("GET", f"{_JOBS}/get", quotas.GET, params=query), "run_id", run_id)

    async def runs(self, **filters: str) -> AsyncIterator[Sequence[Json]]:
        """Return one-time runs page by page, the latest first.

        Args:
            filters: As `runs/list` has them: `active_only="true"`.
        """
        query = {"run_type": "SUBMIT_RUN", "limit": str(RUNS_PER_PAGE), **filters}
        seen: set[str] = set()
        while True:
            answer = await self._ask("GET", f"{_JOBS}/list", quotas.LIST, params=query)
            yield objects(answer.get("runs"))
            token = answer.get("next_page_token")
            if not isinstance(token, str) or not token:
                return
            query["page_token"] = _fresh(token, seen)

    async def output(self, run_id: str) -> Json | None:
        """Return what the run of one task left: logs, error, a notebook's exit value."""
        return await self._ask_known("GET", f"{_JOBS}/get-output", quotas.OUTPUT, params={"run_id": run_id})

    async def cancel_run(self, run_id: str) -> None:
        """Ask for the end of a run and of its repairs; one that is over, or is not there, is left alone."""
        await self._ask_known("POST", f"{_JOBS}/cancel", quotas.CANCEL, json_body={"run_id": _number(run_id)})

    async def ping(self) -> None:
        """List one run at most; raises as every call does."""
        await self._ask("GET", f"{_JOBS}/list", quotas.LIST, params={"run_type": "SUBMIT_RUN", "limit": "1"})

    async def execute(self, body: Json) -> Json:
        """Start a SQL statement."""
        answer = await self._ask("POST", _STATEMENTS, quotas.EXECUTE, json_body=body)
        identifier(answer, "statement_id")
        return answer

    async def statement(self, statement_id: str) -> Json | None:
        """Return where a statement stands and, where it succeeded, its manifest and first chunk."""
        path = f"{_STATEMENTS}/{quote(statement_id, safe='')}"
        return _checked(await self._ask_known("GET", path, quotas.STATEMENT), "statement_id", statement_id)

    async def cancel_statement(self, statement_id: str) -> None:
        """Ask for the end of a statement; one that is not there is left alone."""
        path = f"{_STATEMENTS}/{quote(statement_id, safe='')}/cancel"
        await self._ask_known("POST", path, quotas.CANCEL_STATEMENT, json_body={})

    async def chunk(self, statement_id: str, index: int) -> Json:
        """Return a chunk of a statement's result: rows, or fresh links to them."""
        path = f"{_STATEMENTS}/{quote(statement_id, safe='')}/result/chunks/{index}"
        return await self._ask("GET", path, quotas.CHUNK)

    async def download(self, link: Json) -> bytes:
        """Return what an external link of a result leads to; our login is never sent there."""
        url, headers = link.get("external_link"), link.get("http_headers")
        if not isinstance(url, str) or not url.startswith(("https://", f"{self._url}/")):
            raise Unavailable("Databricks gave no usable link to the result")
        sent = {str(name): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {}
        answer = await self._http.get(url, method=quotas.DOWNLOAD, headers=sent, timeout_s=_DOWNLOAD_S)
        return answer.body

    async def queries(
        self, filters: Sequence[tuple[str, str]], *, has_metrics: bool = False
    ) -> AsyncIterator[Sequence[Json]]:
        """Return entries of the query history page by page, the latest first.

        Args:
            filters: As `filter_by` has them, in dot notation and without that name; a name may come several times.
            has_metrics: With what each query read and took.
        """
        query = [("max_results", str(QUERIES_PER_PAGE)), *((f"filter_by.{name}", value) for name, value in filters)]
        if has_metrics:
            query.append(("include_metrics", "true"))
        token: Any = None
        seen: set[str] = set()
        while True:
            paged = [*query, ("page_token", token)] if token else query
            answer = await self._ask("GET", f"{_HISTORY}?{urlencode(paged)}", quotas.HISTORY)
            yield objects(answer.get("res"))
            token = answer.get("next_page_token")
            if not answer.get("has_next_page") or not isinstance(token, str) or not token:
                return
            _fresh(token, seen)

    async def one_by_one(self, calls: Iterable[Any]) -> list[Any]:
        """Await calls, a few at a time; each result or `AgentError` in its place.

        Raises:
            Unauthorized: The login was refused, which is about none of the calls: the host logs in again, and asks again.
        """

        async def bounded(call: Any) -> Any:
            async with self._gate:
                try:
                    return await call
                except AgentError as error:
                    return error

        found = list(await asyncio.gather(*(bounded(call) for call in calls)))
        refused = next((each for each in found if isinstance(each, Unauthorized)), None)
        if refused is not None:
            raise refused
        return found

    async def _ask_known(self, verb: str, path: str, method: str, **options: Any) -> Json | None:
        try:
            return await self._ask(verb, path, method, **options)
        except AgentError as error:
            if is_missing(error):
                return None
            raise

    async def _ask(self, verb: str, path: str, method: str, **options: Any) -> Json:
        headers = {"Authorization": await self._login.header()}
        try:
            answer = await self._http.request(verb, f"{self._url}{path}", method=method, headers=headers, **options)
        except Unauthorized as error:
            error.message = f"{error.message.rstrip('.')}; {self._login.remedy}"
            error.args = (error.message,)
            raise
        content = answer.json()
        if content is None:
            return {}
        # A task's output tells its error as a text; an error as an object is a refusal that came with status 200.
        if isinstance(content, dict) and "error_code" not in content and not isinstance(content.get("error"), dict):
            return content
        raise Unavailable("Databricks answered something that is no answer to the question")


def _checked(answer: Json | None, name: str, wanted: str) -> Json | None:
    """Return an answer that is about what was asked; any other proves nothing."""
    if answer is not None and str(answer.get(name, "")) != wanted:
        raise Unavailable(f"Databricks answered something without the {name} that was asked about")
    return answer


def _fresh(token: str, seen: set[str]) -> str:
    """Return the token of a page that has not been read; pages that go round would never end."""
    if token in seen:
        raise Unavailable("Databricks' pages go round")
    seen.add(token)
    return token


def identifier(answer: Json, name: str) -> str:
    """Return the id in an answer; `Unavailable` where there is none, and then something may have been started."""
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not value:
        raise Unavailable(f"Databricks answered without a {name}")
    return str(value)


def objects(value: object) -> list[Json]:
    """Return the JSON objects of a list; nothing where it is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def milliseconds_ago(seconds: float) -> int:
    """Return a time in the past as the API writes times."""
    return int((time.time() - seconds) * 1000)


def _number(run_id: str) -> int | str:
    return int(run_id) if run_id.isascii() and run_id.isdigit() else run_id
