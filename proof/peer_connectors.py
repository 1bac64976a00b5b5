"""The kit's four submission kinds as flytekit connectors, over the same client of the same ledger.

flytekit gives `create` the task template, the inputs, the output prefix and the execution's metadata, but no key and no rule
for one, and it calls `create` anew for every CreateTask. What its shipped connectors (1.16.31) make of that: BigQuery,
Snowflake, Databricks, Airflow and the rest send the platform neither token nor name of the task's, the SageMaker ones a name
from a hash of the task's *configuration*, which two tasks of equal configuration share. A connector here that is written
"as shipped" therefore takes a random token and a random name, which is the best that this gives: it never mixes up two tasks.

A *diligent* author derives token and name from the metadata and the output prefix, and looks a job up by its label before
starting another one. That is all that can be got out of the API: there is nothing that survives the process, nothing that
replicas share, no later look at what an attempt before left, and no way to answer before the job is there.

The label with the task's place in the workflow is for the count of second jobs; as-shipped connectors do not look at it.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flyteidl.core.execution_pb2 import TaskExecution, TaskLog
from flytekit.extend.backend.base_connector import AsyncConnectorBase, Resource, ResourceMeta
from flytekit.extend.backend.utils import convert_to_flyte_phase

from outboard.testing.ledger_client import JobApi, NameIsTaken
from outboard.testing.ledger_jobs import KEY_LABEL, Course
from proof.scenarios import KINDS

T = TypeVar("T")

CLIENT: Final[ContextVar[JobApi]] = ContextVar("client")
"""The platform's client in the call that is being served: a registry of flytekit's is one per process, worlds are not."""
DILIGENCE: Final[ContextVar[bool]] = ContextVar("diligence", default=False)

_CALL_LIMIT_S: Final = 300.0  # aiohttp's default, which the shipped connectors leave as it is
_PHASES: Final[Mapping[str, int]] = {
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


class KindConnector(AsyncConnectorBase):  # type: ignore[misc]  # same
    """A connector of one kind."""

    def __init__(self, kind: str) -> None:
        super().__init__(task_type_name=KINDS[kind], metadata_type=JobMeta)
        self.name = f"{kind} connector"
        self._kind = kind

    async def create(
        self,
        task_template: Any,
        output_prefix: str,
        inputs: Any = None,
        task_execution_metadata: Any = None,
        **_: Any,
    ) -> JobMeta:
        """Start the job, as far as the author cares once."""
        client, key = CLIENT.get(), _key(task_execution_metadata, output_prefix)
        own = key if DILIGENCE.get() else uuid.uuid4().hex
        if self._kind == "lookup" and DILIGENCE.get():
            found = await _limited(client.find(KEY_LABEL, key))
            if found:
                return JobMeta(job_id=found[0].id)
        try:
            view = await _limited(
                client.create(
                    token=own if self._kind == "token" else "",
                    name=own if self._kind == "named" else "",
                    labels={KEY_LABEL: key},
                    course=Course.model_validate(task_template.custom),
                    output_prefix=output_prefix,
                )
            )
        except NameIsTaken:
            return JobMeta(job_id=own)
        return JobMeta(job_id=view.id)

    async def get(self, resource_meta: JobMeta, **_: Any) -> Resource:
        """Return where the job stands; a platform that does not answer is an error, as in the shipped connectors."""
        client = CLIENT.get()
        view = await _limited(client.get(resource_meta.job_id))
        if view is None:
            raise LookupError(f"there is no job {resource_meta.job_id}")
        phase = _PHASES[view.state] if view.state in _PHASES else convert_to_flyte_phase(view.state)
        outputs = None
        if view.state == "SUCCEEDED":
            outputs = dict(await _limited(client.fetch(view.id))) if view.has_outputs else {}
        link = TaskLog(uri=f"https://ledger.example/{view.id}", name="Job")
        return Resource(phase=phase, message=view.message, log_links=[link], outputs=outputs)

    async def delete(self, resource_meta: JobMeta, **_: Any) -> None:
        """Ask the platform for the job's end."""
        await _limited(CLIENT.get().cancel(resource_meta.job_id))


def _key(metadata: Any, output_prefix: str) -> str:
    identity = repr(metadata.task_execution_id) if metadata is not None else ""
    return hashlib.sha256(f"{identity} {output_prefix}".encode()).hexdigest()[:40]


async def _limited(call: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wait_for(call, _CALL_LIMIT_S)
