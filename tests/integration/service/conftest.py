"""A real service around the real host, on a port of its own, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from integration.service.probe import SETTINGS, Gate, ProbePlatform
from outboard.agent import LoadFailure, Registry
from outboard.engine.remote import RemoteEndpoint
from outboard.host import Host
from outboard.service import Service


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
