"""Clients of the reference API of `platform_server`: one over `ctx`'s HTTP session, one in plain functions.

Both read answers as a careful author would: an error in a body counts although the status is 200, and what cannot be
read is no proof of anything, so a create whose answer is nonsense may have arrived.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from outboard.agent import Http
from outboard.agent.error_facts import retry_after
from outboard.errors import AgentError, Unavailable
from outboard.testing.ledger_client import ERRORS
from outboard.testing.ledger_jobs import Course, JobView

_UNKNOWN: Final = "NOT_FOUND"


class RestClient:
    """The reference API over the host's HTTP session; offers `JobApi`.

    Args:
        url: The server's address.
        http: The session.
        login: Sent as a bearer token; empty sends none.
    """

    def __init__(self, url: str, http: Http, login: str = "") -> None:
        self._url = url.rstrip("/")
        self._http = http
        self._headers = authorization(login)

    async def create(
        self, *, token: str = "", name: str = "", labels: Mapping[str, str], course: Course, output_prefix: str = ""
    ) -> JobView:
        """See `JobApi.create`."""
        body = create_body(name=name, labels=labels, course=course, output_prefix=output_prefix)
        headers = {"Idempotency-Key": token} if token else {}
        return read_view(await self._ask("POST", "jobs", "jobs/create", json_body=body, headers=headers))

    async def get(self, job_id: str) -> JobView | None:
        """See `JobApi.get`."""
        try:
            return read_view(await self._ask("GET", f"jobs/{quote(job_id)}", "jobs/get"))
        except AgentError as error:
            if error.code == _UNKNOWN:
                return None
            raise

    async def get_many(self, job_ids: Sequence[str]) -> Sequence[JobView]:
        """See `JobApi.get_many`."""
        return read_views(await self._ask("GET", "jobs", "jobs/list", params={"ids": ",".join(job_ids)}))

    async def find(self, label: str, value: str) -> Sequence[JobView]:
        """See `JobApi.find`."""
        return read_views(await self._ask("GET", "jobs", "jobs/list", params={"label": f"{label}={value}"}))

    async def cancel(self, job_id: str) -> None:
        """See `JobApi.cancel`."""
        await self._ask("POST", f"jobs/{quote(job_id)}/cancel", "jobs/cancel")

    async def fetch(self, job_id: str) -> Mapping[str, Any]:
        """See `JobApi.fetch`."""
        return read_outputs(await self._ask("GET", f"jobs/{quote(job_id)}/outputs", "jobs/outputs"))

    async def logs(self, job_id: str) -> Sequence[tuple[float, str]]:
        """See `JobApi.logs`."""
        return read_lines(await self._ask("GET", f"jobs/{quote(job_id)}/logs", "jobs/logs"))

    async def _ask(self, verb: str, path: str, method: str, **options: Any) -> Mapping[str, Any]:
        headers = {**self._headers, **options.pop("headers", {})}
        answer = await self._http.request(verb, f"{self._url}/{path}", method=method, headers=headers, **options)
        return read_object(answer.json())


class BlockingRestClient:
    """The same in plain functions over the standard library, as SDKs that block are; a connection per call.

    Args:
        url: The server's address.
        login: Sent as a bearer token; empty sends none.
    """

    def __init__(self, url: str, login: str = "") -> None:
        self._address = urlsplit(url).netloc
        self._headers = authorization(login)

    def create(
        self,
        *,
        token: str = "",
        name: str = "",
        labels: Mapping[str, str],
        course: Course,
        output_prefix: str = "",
        timeout_s: float,
    ) -> JobView:
        """See `JobApi.create`; `timeout_s` is for the whole call."""
        body = create_body(name=name, labels=labels, course=course, output_prefix=output_prefix)
        headers = {"Idempotency-Key": token} if token else {}
        return read_view(self._ask("POST", "/jobs", timeout_s, body, headers))

    def get(self, job_id: str, *, timeout_s: float) -> JobView | None:
        """See `JobApi.get`."""
        try:
            return read_view(self._ask("GET", f"/jobs/{quote(job_id)}", timeout_s))
        except AgentError as error:
            if error.code == _UNKNOWN:
                return None
            raise

    def find(self, label: str, value: str, *, timeout_s: float) -> Sequence[JobView]:
        """See `JobApi.find`."""
        return read_views(self._ask("GET", f"/jobs?{urlencode({'label': f'{label}={value}'})}", timeout_s))

    def cancel(self, job_id: str, *, timeout_s: float) -> None:
        """See `JobApi.cancel`."""
        self._ask("POST", f"/jobs/{quote(job_id)}/cancel", timeout_s)

    def fetch(self, job_id: str, *, timeout_s: float) -> Mapping[str, Any]:
        """See `JobApi.fetch`."""
        return read_outputs(self._ask("GET", f"/jobs/{quote(job_id)}/outputs", timeout_s))

    def _ask(
        self,
        verb: str,
        path: str,
        timeout_s: float,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        connection = http.client.HTTPConnection(self._address, timeout=max(0.001, timeout_s))
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(verb, path, sent, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            return _read_answer(answer.status, answer.getheader("Retry-After"), answer.read())
        finally:
            connection.close()


def _read_answer(status: int, wait: str | None, body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if status >= http.client.BAD_REQUEST:
        error = content.get("error") if isinstance(content, dict) else None
        code, words = _code_and_words(error)
        raise ERRORS.classify(
            status=status,
            code=code,
            words=words or f"HTTP {status}",
            retry_after=retry_after(wait, datetime.now(timezone.utc)),
        )
    return read_object(content)


def authorization(login: str) -> dict[str, str]:
    """Return the headers that carry a login."""
    return {"Authorization": f"Bearer {login}"} if login else {}


def create_body(*, name: str, labels: Mapping[str, str], course: Course, output_prefix: str) -> dict[str, Any]:
    """Return the body of a create."""
    fields = course.model_dump(mode="json", exclude_unset=True, include=set(Course.model_fields))
    return {"name": name, "labels": dict(labels), "course": fields, "output_prefix": output_prefix}


def read_object(content: Any) -> Mapping[str, Any]:
    """Return an answer's body; raises the error that a body may hold although the status was good."""
    if not isinstance(content, dict):
        raise Unavailable("the platform answered something that is no JSON object")
    if "error" in content:
        code, words = _code_and_words(content["error"])
        raise ERRORS.classify(code=code, words=words)
    return content


def read_view(content: Mapping[str, Any]) -> JobView:
    """Return the job in a body; `Unavailable` when there is none."""
    try:
        return JobView.from_json(content)
    except (KeyError, TypeError, ValueError):
        raise Unavailable("the platform answered something that is no job") from None


def read_views(content: Mapping[str, Any]) -> list[JobView]:
    """Return the jobs in a listing."""
    jobs = content.get("jobs")
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise Unavailable("the platform answered something that is no list of jobs")
    return [read_view(job) for job in jobs]


def read_outputs(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the outputs in a body."""
    outputs = content.get("outputs")
    if not isinstance(outputs, dict):
        raise Unavailable("the platform answered no outputs")
    return outputs


def read_lines(content: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Return the log lines in a body."""
    try:
        return [(float(at), str(line)) for at, line in content["lines"]]
    except (KeyError, TypeError, ValueError):
        raise Unavailable("the platform answered no log") from None


def _code_and_words(error: Any) -> tuple[str | None, str]:
    if not isinstance(error, dict):
        return None, ""
    code = error.get("code")
    return (code if isinstance(code, str) else None), str(error.get("message", ""))
