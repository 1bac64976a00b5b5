"""A real service around the real host, on a port of its own, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from probe import Gate, ProbePlatform

from outboard.agent import LoadFailure, Registry
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.tasks import Inputs, Task
from outboard.domain.types import Interface, SimpleType
from outboard.engine.remote import RemoteEndpoint
from outboard.host import Host
from outboard.service import Service, ServiceSettings

SETTINGS = ServiceSettings(port=0, drain_s=5, stream_patience_s=0.3, max_receive_bytes=1024 * 1024)


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def platform(gate: Gate) -> ProbePlatform:
    return ProbePlatform(gate)


@pytest.fixture
async def service(platform: ProbePlatform) -> AsyncIterator[Service]:
    broken = LoadFailure(source="broken", reason="its module cannot be imported; install it")
    async with Host(Registry([platform], [broken])) as host, Service(host, SETTINGS) as service:
        yield service


@pytest.fixture
async def channel(service: Service) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service.address) as channel:
        yield channel


@pytest.fixture
async def remote(service: Service) -> AsyncIterator[RemoteEndpoint]:
    async with RemoteEndpoint.at(service.address, timeout_s=20) as remote:
        yield remote


def make_task(task_type: str = "probe", mode: str = "run", *, node: str = "n0", **fields: object) -> Task:
    """A task as an engine would send it, with one input and one output."""
    return Task(
        **{
            "type": task_type,
            "config": {"mode": mode},
            "identity": ExecutionIdentity(project="p", domain="d", execution="e1", node=node),
            "output_prefix": f"s3://bucket/e1/{node}/0",
            "inputs": Inputs({"x": 21}),
            "interface": Interface({"x": SimpleType.INTEGER}, {"o0": SimpleType.INTEGER}),
            **fields,
        }
    )
