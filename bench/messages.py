"""The requests that every server of one run is sent, as an engine would send them.

A CreateTask request carries what FlytePropeller fills in: a template with a typed interface, a configuration and SQL, four
inputs, an output prefix and the whole execution identity with labels. `SERIAL` stands wherever two executions differ; the
load generator overwrites it by a number of the same width, so that no two requests are the same task to a service that
starts every task once.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, identifier_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2
from google.protobuf import duration_pb2

SERVICE = "/flyteidl.service.AsyncAgentService"
CREATE = f"{SERVICE}/CreateTask"
GET = f"{SERVICE}/GetTask"
DELETE = f"{SERVICE}/DeleteTask"

TASK_TYPE = "noop"
SERIAL = "000000000000SERIAL"
OUTPUT_PREFIX = f"memory://bench-bucket/metadata/propeller/bench-development-{SERIAL}/n0/data/0"


def create_request(serial: str = SERIAL, task_type: str = TASK_TYPE) -> bytes:
    """Return one CreateTask request; `serial` must be as long as `SERIAL`."""
    request = agent_pb2.CreateTaskRequest(
        template=_template(task_type),
        inputs=literals_pb2.LiteralMap(literals=_inputs()),
        output_prefix=OUTPUT_PREFIX,
        task_execution_metadata=_metadata(),
    )
    encoded: bytes = request.SerializeToString(deterministic=True)
    return encoded.replace(SERIAL.encode(), serial.encode())


def get_request(resource_meta: bytes, serial: str, task_type: str = TASK_TYPE) -> bytes:
    """Return the GetTask request that follows the task of `serial`."""
    request = agent_pb2.GetTaskRequest(
        task_type=task_type,
        resource_meta=resource_meta,
        task_category=agent_pb2.TaskCategory(name=task_type, version=0),
        output_prefix=OUTPUT_PREFIX.replace(SERIAL, serial),
    )
    encoded: bytes = request.SerializeToString()
    return encoded


def serial(number: int) -> str:
    """Return `number` in the width of `SERIAL`."""
    return f"{number:0{len(SERIAL)}d}"


def write_bodies(path: Path, bodies: Sequence[bytes]) -> None:
    """Write requests as the load generator reads them: each with its length in four bytes before it."""
    path.write_bytes(b"".join(struct.pack(">I", len(body)) + body for body in bodies))


def running_answer() -> bytes:
    """Return a GetTask answer as long as that of the no-op agents: RUNNING, a message and a link."""
    link = execution_pb2.TaskLog(uri="https://console.example.com/jobs/job-00000001", name="Console")
    resource = agent_pb2.Resource(phase=execution_pb2.TaskExecution.RUNNING, message="running", log_links=[link])
    encoded: bytes = agent_pb2.GetTaskResponse(resource=resource).SerializeToString()
    return encoded


def write_answers(path: Path, answers: Mapping[str, bytes]) -> Path:
    """Write answers by method as the echo reads them, and return where."""
    path.write_text(json.dumps({name: base64.b64encode(data).decode() for name, data in answers.items()}))
    return path


def _identifier(kind: int, name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=kind, project="bench", domain="development", name=name, version="3f1c9a0e7d52"
    )


def _template(task_type: str) -> tasks_pb2.TaskTemplate:
    integer = types_pb2.LiteralType(simple=types_pb2.INTEGER)
    text = types_pb2.LiteralType(simple=types_pb2.STRING)
    names = {"day": text, "limit": integer, "region": text, "sample": integer}
    template = tasks_pb2.TaskTemplate(
        id=_identifier(identifier_pb2.TASK, "bench.flights.delays"),
        type=task_type,
        metadata=tasks_pb2.TaskMetadata(
            runtime=tasks_pb2.RuntimeMetadata(type=tasks_pb2.RuntimeMetadata.FLYTE_SDK, version="1.16.31"),
            timeout=duration_pb2.Duration(seconds=3600),
        ),
        interface=interface_pb2.TypedInterface(
            inputs=interface_pb2.VariableMap(
                variables={name: interface_pb2.Variable(type=kind, description=name) for name, kind in names.items()}
            ),
            outputs=interface_pb2.VariableMap(variables={"o0": interface_pb2.Variable(type=integer)}),
        ),
        sql=tasks_pb2.Sql(
            statement="SELECT origin, avg(dep_delay) FROM flights WHERE day = @day GROUP BY origin LIMIT 10",
            dialect=tasks_pb2.Sql.ANSI,
        ),
    )
    template.custom.update({"warehouse": "bench", "slots": 4, "labels": {"team": "data"}})
    return template


def _inputs() -> dict[str, literals_pb2.Literal]:
    def literal(primitive: literals_pb2.Primitive) -> literals_pb2.Literal:
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))

    return {
        "day": literal(literals_pb2.Primitive(string_value="2013-02-14")),
        "limit": literal(literals_pb2.Primitive(integer=10)),
        "region": literal(literals_pb2.Primitive(string_value="us-east-1")),
        "sample": literal(literals_pb2.Primitive(integer=42)),
    }


def _metadata() -> agent_pb2.TaskExecutionMetadata:
    execution = identifier_pb2.WorkflowExecutionIdentifier(project="bench", domain="development", name=f"e{SERIAL}")
    return agent_pb2.TaskExecutionMetadata(
        task_execution_id=identifier_pb2.TaskExecutionIdentifier(
            task_id=_identifier(identifier_pb2.TASK, "bench.flights.delays"),
            node_execution_id=identifier_pb2.NodeExecutionIdentifier(node_id="n0", execution_id=execution),
            retry_attempt=0,
        ),
        namespace="bench-development",
        labels={"execution-id": f"e{SERIAL}", "project": "bench", "domain": "development"},
        annotations={"cluster": "bench"},
        k8s_service_account="default",
        environment_variables={"FLYTE_INTERNAL_EXECUTION_PROJECT": "bench"},
    )
