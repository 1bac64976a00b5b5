"""flytekit's side of the wire: registers tasks as flytekit would and calls every method of a service with flyteidl's
stubs.

Run by `bench/flytekit_client.py` in flytekit's own environment: `python flytekit_walk.py HOST:PORT FOLDER`. Prints
one JSON line a method.
"""

from __future__ import annotations

import json
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.service import agent_pb2_grpc
from flytekit import FlyteContextManager
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.base_sql_task import SQLTask
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.models.task import Sql
from flytekit.tools.translator import get_serializable
from flytekit.types.structured import StructuredDataset
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SETTINGS = SerializationSettings(image_config=ImageConfig.auto(img_name="x:y"), project="p", domain="d", version="v")
_TERMINAL = {3: "SUCCEEDED", 4: "ABORTED", 5: "FAILED", 8: "RETRYABLE_FAILED"}


class _ProcessTask(PythonTask[None]):
    """A task of our type `process`, as a plugin's author would write it with flytekit."""

    def __init__(self, name: str, command: list[str]) -> None:
        super().__init__("process", name, task_config=None, interface=Interface({}, {}))
        self._command = command

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:  # noqa: ARG002 - flytekit's signature
        return {"command": self._command}


class _QueryTask(SQLTask[None]):
    """A SQL task that sends its statement in the template, as flytekit's BigQuery and Snowflake tasks do."""

    def get_sql(self, settings: SerializationSettings) -> Sql:  # noqa: ARG002 - flytekit's signature
        return Sql(statement=self.query_template, dialect=Sql.Dialect.ANSI)


def main() -> None:
    address, folder = sys.argv[1:]
    channel = grpc.insecure_channel(address)
    agents = agent_pb2_grpc.AgentMetadataServiceStub(channel)
    jobs = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    answers = agent_pb2_grpc.SyncAgentServiceStub(channel)

    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    _say("Health.Check", health_pb2.HealthCheckResponse.ServingStatus.Name(health.status))
    listed = agents.ListAgents(agent_pb2.ListAgentsRequest()).agents
    _say("ListAgents", ", ".join(sorted(agent.name for agent in listed)))
    one = agents.GetAgent(agent_pb2.GetAgentRequest(name="duckdb")).agent
    _say("GetAgent", f"duckdb, sync {one.is_sync}, types {[c.name for c in one.supported_task_categories]}")

    query = _QueryTask(
        "q",
        "SELECT $n AS n",
        task_type="duckdb",
        task_config=None,
        inputs={"n": int},
        outputs={"results": StructuredDataset},
    )
    created = jobs.CreateTask(_create(_template(query), _literals({"n": 7}), f"{folder}/q/0", "n0"))
    category = agent_pb2.TaskCategory(name="duckdb", version=0)
    _say("CreateTask", f"handle of {len(created.resource_meta)} bytes")
    resource = _follow(jobs, created.resource_meta, category, f"{folder}/q/0")
    outputs = {name: literal.scalar.structured_dataset.uri for name, literal in resource.outputs.literals.items()}
    _say("GetTask", f"{_TERMINAL[resource.phase]} {outputs}")

    rows = _QueryTask(
        "r",
        "SELECT range AS n FROM range(3)",
        task_type="duckdb_rows",
        task_config=None,
        inputs={},
        outputs={"rows": list[dict]},
    )
    header = agent_pb2.CreateRequestHeader(
        template=_template(rows),
        output_prefix=f"{folder}/r/0",
        task_execution_metadata=_metadata("n1"),
    )

    def parts() -> Iterator[agent_pb2.ExecuteTaskSyncRequest]:
        yield agent_pb2.ExecuteTaskSyncRequest(header=header)
        yield agent_pb2.ExecuteTaskSyncRequest(inputs=_literals({}))

    (answer,) = list(answers.ExecuteTaskSync(parts()))
    _say(
        "ExecuteTaskSync",
        f"{_TERMINAL[answer.header.resource.phase]} {sorted(answer.header.resource.outputs.literals)}",
    )

    process = _ProcessTask("p", ["sh", "-c", "echo hello; echo world; sleep 30"])
    created = jobs.CreateTask(_create(_template(process), _literals({}), f"{folder}/p/0", "n2"))
    category = agent_pb2.TaskCategory(name="process", version=0)
    lines = _lines(jobs, created.resource_meta, category)
    _say("GetTaskLogs", f"a stream of {lines}")
    metrics = jobs.GetTaskMetrics(
        agent_pb2.GetTaskMetricsRequest(resource_meta=created.resource_meta, task_category=category)
    )
    _say("GetTaskMetrics", ", ".join(sorted(series.metric for series in metrics.results)))
    jobs.DeleteTask(agent_pb2.DeleteTaskRequest(resource_meta=created.resource_meta, task_category=category))
    resource = _follow(jobs, created.resource_meta, category, f"{folder}/p/0")
    _say("DeleteTask", f"the job ended as {_TERMINAL[resource.phase]}")


def _say(method: str, words: str) -> None:
    print(json.dumps({"method": method, "answer": words}), flush=True)


def _literals(values: dict[str, Any]) -> Any:
    context = FlyteContextManager.current_context()
    literals = {
        name: TypeEngine.to_literal(context, value, type(value), TypeEngine.to_literal_type(type(value)))
        for name, value in values.items()
    }
    return LiteralMap(literals).to_flyte_idl()


def _template(task: PythonTask[Any]) -> Any:
    return get_serializable(OrderedDict(), _SETTINGS, task).template.to_flyte_idl()


def _metadata(node: str) -> agent_pb2.TaskExecutionMetadata:
    execution = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="flytekitwalk")
    return agent_pb2.TaskExecutionMetadata(
        task_execution_id=identifier_pb2.TaskExecutionIdentifier(
            node_execution_id=identifier_pb2.NodeExecutionIdentifier(node_id=node, execution_id=execution)
        ),
        namespace="p-d",
    )


def _create(template: Any, inputs: Any, prefix: str, node: str) -> agent_pb2.CreateTaskRequest:
    return agent_pb2.CreateTaskRequest(
        template=template, inputs=inputs, output_prefix=prefix, task_execution_metadata=_metadata(node)
    )


def _follow(jobs: Any, handle: bytes, category: Any, prefix: str) -> Any:
    request = agent_pb2.GetTaskRequest(resource_meta=handle, task_category=category, output_prefix=prefix)
    for _ in range(600):
        resource = jobs.GetTask(request).resource
        if resource.phase in _TERMINAL:
            return resource
        time.sleep(0.05)
    name = execution_pb2.TaskExecution.Phase.Name(resource.phase)
    raise SystemExit(f"the job did not end within 30 s; it is {name}")


def _lines(jobs: Any, handle: bytes, category: Any) -> list[str]:
    lines: list[str] = []
    token = ""
    for _ in range(100):
        request = agent_pb2.GetTaskLogsRequest(resource_meta=handle, task_category=category, token=token)
        for message in jobs.GetTaskLogs(request):
            if message.WhichOneof("part") == "header":
                token = message.header.token
            else:
                lines += [line.message for line in message.body.structured_lines]
        if len(lines) >= 2:
            return lines
        time.sleep(0.05)
    raise SystemExit("the job's two lines did not come within 5 s")


if __name__ == "__main__":
    main()
