"""The platform of pages as a flytekit connector: equal in content to `bench/agents/paged.py`.

flytekit asks for one job at a time; there is no other way to write it. One HTTP session is kept for all calls, which is
kinder than what its own connectors do, and a refusal of the platform is raised, as they raise it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import aiohttp
from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.extend.backend.utils import convert_to_flyte_phase

_ENDPOINT = os.environ["BENCH_PLATFORM"]


@dataclass
class PagedMeta(ResourceMeta):
    job_id: str


class PagedConnector(AsyncConnectorBase):
    name = "Paged"

    def __init__(self) -> None:
        super().__init__(task_type_name="paged", metadata_type=PagedMeta)
        self._created = 0
        self._session: aiohttp.ClientSession | None = None

    async def create(self, task_template, inputs=None, output_prefix="", task_execution_metadata=None, **_):  # noqa: ANN001, ANN003, ANN201, ARG002 - as flytekit calls it
        self._created += 1
        return PagedMeta(job_id=f"{self._created - 1:08d}")

    async def get(self, resource_meta: PagedMeta, **_) -> Resource:  # noqa: ANN003 - as flytekit calls it
        if self._session is None:
            self._session = aiohttp.ClientSession()
        async with self._session.get(f"{_ENDPOINT}/jobs/{resource_meta.job_id}") as answer:
            if answer.status != 200:
                raise RuntimeError(f"the platform answered {answer.status}")
            state = (await answer.json())["state"]
        link = TaskLog(uri=f"https://console.example.com/jobs/{resource_meta.job_id}", name="Console")
        return Resource(phase=convert_to_flyte_phase(state), message="running", log_links=[link])

    async def delete(self, resource_meta: PagedMeta, **_) -> None:  # noqa: ANN003, ARG002 - as flytekit calls it
        return


assert convert_to_flyte_phase("DONE") == TaskExecution.SUCCEEDED  # noqa: S101 - the platform's words are flytekit's own
ConnectorRegistry.register(PagedConnector())
