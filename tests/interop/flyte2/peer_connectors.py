"""The same platform as a user of the Flyte 2 SDK connects it: a connector per task type, over HTTP, for `c0 --modules`.

Written as the SDK's own connectors are. The SDK hands a connector no key by which a repeated create could be recognised.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from flyte.connectors import AsyncConnector, ConnectorRegistry, Resource, ResourceMeta
from flyteidl2.core.execution_pb2 import TaskExecution, TaskLog
from google.protobuf import json_format

_PHASES = {
    "QUEUED": TaskExecution.QUEUED,
    "RUNNING": TaskExecution.RUNNING,
    "CANCELLING": TaskExecution.RUNNING,
    "SUCCEEDED": TaskExecution.SUCCEEDED,
    "FAILED": TaskExecution.FAILED,
    "LOST": TaskExecution.RETRYABLE_FAILED,
    "CANCELLED": TaskExecution.ABORTED,
}
_COURSE = ("queued_s", "running_s", "outcome", "outputs", "message", "cancelling_s", "deaf_to", "error")


@dataclass
class JobMeta(ResourceMeta):
    """What is needed to find the job."""

    job_id: str


class JobConnector(AsyncConnector[JobMeta]):
    """Jobs of the platform."""

    name = "Job Connector"
    task_type_name = "rest_token"
    metadata_type = JobMeta
    writes_files = False

    async def create(
        self,
        task_template: Any,
        output_prefix: str,
        inputs: Any = None,
        task_execution_metadata: Any = None,
        **kwargs: Any,
    ) -> JobMeta:
        """Start a job."""
        custom = json_format.MessageToDict(task_template.custom)
        course = {name: custom[name] for name in _COURSE if name in custom}
        body = {"course": {**course, "writes_files": self.writes_files}, "output_prefix": output_prefix}
        view = await _ask("POST", "/jobs", body, kwargs.get("login", ""))
        return JobMeta(job_id=view["id"])

    async def get(self, resource_meta: JobMeta, **kwargs: Any) -> Resource:
        """Return where the job stands."""
        view = await _ask("GET", f"/jobs/{resource_meta.job_id}", None, kwargs.get("login", ""))
        outputs = None
        if view["has_outputs"]:
            outputs = (await _ask("GET", f"/jobs/{resource_meta.job_id}/outputs", None, ""))["outputs"]
        links = [TaskLog(name="Job", uri=f"https://ledger.example/{resource_meta.job_id}")]
        return Resource(phase=_PHASES[view["state"]], message=view["message"], outputs=outputs, log_links=links)

    async def delete(self, resource_meta: JobMeta, **kwargs: Any) -> None:
        """Cancel the job."""
        await _ask("POST", f"/jobs/{resource_meta.job_id}/cancel", {}, kwargs.get("login", ""))


class FilesConnector(JobConnector):
    """Jobs that write files."""

    name = "Files Connector"
    task_type_name = "rest_files"
    writes_files = True


async def _ask(verb: str, path: str, body: Any, login: str) -> Any:
    return await asyncio.to_thread(_ask_now, verb, path, body, login)


def _ask_now(verb: str, path: str, body: Any, login: str) -> Any:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {login}"} if login else {})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["INTEROP_PLATFORM"] + path, data, headers, method=verb)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"HTTP {error.code}: {error.read().decode()}") from None


if "INTEROP_PLATFORM" in os.environ:
    ConnectorRegistry.register(JobConnector())
    ConnectorRegistry.register(FilesConnector())
