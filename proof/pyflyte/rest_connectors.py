"""The four submission kinds as flytekit connectors over HTTP, for `pyflyte serve connector --modules rest_connectors`.

Written as flytekit's shipped connectors are: a session per call, the platform's answer or an exception. See
`proof/peer_connectors.py` for what such connectors send as tokens and names. It knows nothing of Outboard; the platform is
the test kit's `PlatformServer`, whose address is in `PROOF_PLATFORM`.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta

PLATFORM = os.environ["PROOF_PLATFORM"]
PHASES = {
    "QUEUED": TaskExecution.QUEUED,
    "RUNNING": TaskExecution.RUNNING,
    "CANCELLING": TaskExecution.RUNNING,
    "SUCCEEDED": TaskExecution.SUCCEEDED,
    "FAILED": TaskExecution.FAILED,
    "LOST": TaskExecution.RETRYABLE_FAILED,
    "CANCELLED": TaskExecution.FAILED,
}


@dataclass
class JobMeta(ResourceMeta):  # type: ignore[misc]  # flytekit is only in the peer's environment
    """A job by its id."""

    job_id: str


class RestConnector(AsyncConnectorBase):  # type: ignore[misc]  # same
    """A connector of one kind."""

    def __init__(self, kind: str) -> None:
        super().__init__(task_type_name=f"rest_{kind}", metadata_type=JobMeta)
        self.name = f"rest {kind}"
        self._kind = kind

    async def create(self, task_template: Any, output_prefix: str, **_: Any) -> JobMeta:
        """Start the job."""
        own = uuid.uuid4().hex
        body = {"course": task_template.custom, "output_prefix": output_prefix}
        if self._kind == "named":
            body["name"] = own
        headers = {"Idempotency-Key": own} if self._kind == "token" else {}
        job = await _ask("POST", "jobs", json=body, headers=headers)
        return JobMeta(job_id=job["id"])

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Return where the job stands."""
        job = await _ask("GET", f"jobs/{resource_meta.job_id}")
        return Resource(phase=PHASES[job["state"]], message=job["message"])

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        """Ask for its end."""
        await _ask("POST", f"jobs/{resource_meta.job_id}/cancel")


async def _ask(verb: str, path: str, **options: Any) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.request(verb, f"{PLATFORM}/{path}", **options) as answer:
        answer.raise_for_status()
        told: dict[str, Any] = await answer.json()
        return told


for _kind in ("token", "named", "lookup", "nothing"):
    ConnectorRegistry.register(RestConnector(_kind))
