"""The platform whose SDK blocks for 200 ms per call, as a flytekit connector: equal in content to `bench/agents/slow.py`."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta

_CALL_S = 0.2
_TALLY = os.open(os.environ["BENCH_TALLY"], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)


@dataclass
class SlowMeta(ResourceMeta):
    job_id: str


class SlowConnector(AsyncConnectorBase):
    name = "Slow"

    def __init__(self) -> None:
        super().__init__(task_type_name="slow_by_job", metadata_type=SlowMeta)
        self._created = 0

    def create(self, task_template, inputs=None, output_prefix="", task_execution_metadata=None, **_):  # noqa: ANN001, ANN003, ANN201, ARG002 - as flytekit calls it
        self._created += 1
        return SlowMeta(job_id=f"job-{self._created:08d}")

    def get(self, resource_meta: SlowMeta, **_) -> Resource:  # noqa: ANN003, ARG002 - as flytekit calls it
        os.write(_TALLY, b".")
        time.sleep(_CALL_S)
        return Resource(phase=TaskExecution.RUNNING, message="running")

    def delete(self, resource_meta: SlowMeta, **_) -> None:  # noqa: ANN003, ARG002 - as flytekit calls it
        return


ConnectorRegistry.register(SlowConnector())
