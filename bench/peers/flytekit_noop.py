"""The no-op agent as a flytekit connector: equal in content to `bench/agents/noop.py`.

Loaded by `pyflyte serve connector --modules flytekit_noop`. `create` answers a small resource meta at once; `get` says
RUNNING with one log link, which is what an engine sees for nearly all polls of a job's life.
"""

from __future__ import annotations

from dataclasses import dataclass

from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta


@dataclass
class NoopMeta(ResourceMeta):
    job_id: str


class NoopConnector(AsyncConnectorBase):
    name = "No-op"

    def __init__(self) -> None:
        super().__init__(task_type_name="noop", metadata_type=NoopMeta)
        self._created = 0

    async def create(self, task_template, inputs=None, output_prefix="", task_execution_metadata=None, **_):  # noqa: ANN001, ANN003, ANN201, ARG002 - as flytekit calls it
        self._created += 1
        return NoopMeta(job_id=f"job-{self._created:08d}")

    async def get(self, resource_meta: NoopMeta, **_) -> Resource:  # noqa: ANN003 - as flytekit calls it
        link = TaskLog(uri=f"https://console.example.com/jobs/{resource_meta.job_id}", name="Console")
        return Resource(phase=TaskExecution.RUNNING, message="running", log_links=[link])

    async def delete(self, resource_meta: NoopMeta, **_) -> None:  # noqa: ANN003, ARG002 - as flytekit calls it
        return


ConnectorRegistry.register(NoopConnector())
