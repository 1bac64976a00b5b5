"""flytekit's side of the scenarios: connectors equal to `interop.propeller.agents`, written as flytekit's own are.

For `pyflyte serve connector --modules engine_connectors`; see `proof/pyflyte/rest_connectors.py`, on which they build. The
kinds of that module answer without outputs; here a job's outputs come with its success, as an author would have it.
"""

from __future__ import annotations

import os
from typing import Any

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, SyncConnectorBase
from rest_connectors import (  # type: ignore[import-not-found]  # beside it on the service's path
    PHASES,
    JobMeta,
    RestConnector,
    _ask,
)


class EngineConnector(RestConnector):  # type: ignore[misc]  # flytekit is only in the peer's environment
    """A connector of one task type."""

    def __init__(self, task_type: str, *, kind: str, version: int = 0) -> None:
        AsyncConnectorBase.__init__(self, task_type_name=task_type, task_type_version=version, metadata_type=JobMeta)
        self.name = f"{task_type} {version}"
        self._kind = kind
        self._writes_files = task_type == "rest_files"
        self._queued = TaskExecution.INITIALIZING if task_type == "rest_starting" else TaskExecution.QUEUED

    async def create(self, task_template: Any, output_prefix: str, **more: Any) -> JobMeta:
        """Start the job."""
        if self._writes_files:
            task_template.custom["writes_files"] = True
        return await super().create(task_template, output_prefix, **more)

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Return where the job stands, and its outputs when it succeeded."""
        job = await _ask("GET", f"jobs/{resource_meta.job_id}")
        phase = self._queued if job["state"] == "QUEUED" else PHASES[job["state"]]
        outputs = None
        if job["state"] == "SUCCEEDED" and job["has_outputs"]:
            outputs = _whole((await _ask("GET", f"jobs/{resource_meta.job_id}/outputs"))["outputs"])
        return Resource(phase=phase, message=job["message"], outputs=outputs)


class AnswerConnector(SyncConnectorBase):  # type: ignore[misc]  # same
    """Starts a job that is over at once and answers with its outputs."""

    name = "rest answer"

    def __init__(self) -> None:
        super().__init__(task_type_name="rest_answer")

    async def do(self, task_template: Any, output_prefix: str, **_: Any) -> Resource:
        """Return the outputs of the task's configuration."""
        course = task_template.custom
        await _ask("POST", "jobs", json={"course": course, "output_prefix": output_prefix})
        if course.get("outcome") == "FAILED":
            return Resource(phase=TaskExecution.FAILED, message=course["message"])
        return Resource(phase=TaskExecution.SUCCEEDED, outputs=_whole(course["outputs"]))


def _whole(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return outputs with the integers that they had before a Struct made floats of them."""
    return {name: int(value) if isinstance(value, float) else value for name, value in outputs.items()}


_only = os.environ.get("INTEROP_ONLY", "")
if _only:
    ConnectorRegistry._REGISTRY.clear()  # flytekit registers on import and offers no other way
    ConnectorRegistry._METADATA.clear()
    ConnectorRegistry.register(EngineConnector(_only, kind=_only.removeprefix("rest_")))
else:
    for _kind in ("token", "named", "lookup", "nothing"):
        ConnectorRegistry.register(EngineConnector(f"rest_{_kind}", kind=_kind), override=True)
    for _type, _version in (("rest_files", 0), ("rest_starting", 0), ("rest_versions", 0), ("rest_versions", 1)):
        ConnectorRegistry.register(EngineConnector(_type, kind="token", version=_version))
    ConnectorRegistry.register(AnswerConnector())
