"""An output prefix that cannot be written is refused over the wire, and the service goes on."""

from pathlib import Path

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from integration.service.probe import SETTINGS
from outboard.agent import Registry, Sql, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.tasks import RawTask
from outboard.host import Host
from outboard.platforms.embedded.platform import Embedded
from outboard.platforms.embedded.settings import EmbeddedSettings
from outboard.service import Service
from outboard.wire.tasks import encode_create_request


@pytest.mark.parametrize("prefix", ["/proc/nowhere/0", "/dev/null/0", "bogus://bucket/0", "relative/0"])
async def test_a_prefix_that_cannot_be_written_is_refused_before_a_job_starts(tmp_path: Path, prefix: str) -> None:
    jobs = tmp_path / "jobs"
    task: RawTask = Task(
        type="duckdb",
        config={},
        sql=Sql(statement="SELECT 1"),
        identity=ExecutionIdentity(project="p", domain="d", execution="e", node="n0"),
        output_prefix=prefix,
    )
    async with (
        Host(Registry([Embedded(EmbeddedSettings(root=jobs))])) as host,
        Service(host, SETTINGS) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
        created = await stub.CreateTask(encode_create_request(task))
        told = await stub.GetTask(agent_pb2.GetTaskRequest(resource_meta=created.resource_meta))
        assert told.resource.phase == execution_pb2.TaskExecution.FAILED
        assert told.resource.message.startswith(f"cannot write to the output prefix {prefix!r}")
        assert "give an absolute path" in told.resource.message
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert not jobs.exists()
