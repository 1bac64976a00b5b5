"""Connectors that share a service: equal in content to `bench/agents/neighbours.py`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta

_QUIET_S = 0.005
_NOISY_S = 3.0


@dataclass
class NeighbourMeta(ResourceMeta):
    job_id: str


class _Blocking(AsyncConnectorBase):
    def __init__(self, task_type: str, call_s: float) -> None:
        super().__init__(task_type_name=task_type, metadata_type=NeighbourMeta)
        self.name = task_type
        self._call_s = call_s
        self._created = 0

    def create(self, task_template, inputs=None, output_prefix="", task_execution_metadata=None, **_):  # noqa: ANN001, ANN003, ANN202, ARG002 - as flytekit calls it
        self._created += 1
        return NeighbourMeta(job_id=f"job-{self._created:08d}")

    def get(self, resource_meta: NeighbourMeta, **_) -> Resource:  # noqa: ANN003, ARG002 - as flytekit calls it
        time.sleep(self._call_s)
        return Resource(phase=TaskExecution.RUNNING, message="running")

    def delete(self, resource_meta: NeighbourMeta, **_) -> None:  # noqa: ANN003, ARG002 - as flytekit calls it
        return


class _Rude(_Blocking):
    async def get(self, resource_meta: NeighbourMeta, **_) -> Resource:  # noqa: ANN003, ARG002 - as flytekit calls it
        time.sleep(self._call_s)  # noqa: ASYNC251 - the mistake that is measured
        return Resource(phase=TaskExecution.RUNNING, message="running")


ConnectorRegistry.register(_Blocking("quiet", _QUIET_S))
ConnectorRegistry.register(_Blocking("noisy", _NOISY_S))
ConnectorRegistry.register(_Rude("rude", _NOISY_S))
