"""Health, metrics, start and end of a service."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from integration.service.probe import SETTINGS, Gate, ProbePlatform, make_task
from outboard import errors
from outboard.agent import LoadFailure, Registry
from outboard.domain.phases import Phase
from outboard.engine.remote import RemoteEndpoint
from outboard.host import Host
from outboard.service import Service, ServiceSettings
from outboard.service.watchdog import Watchdog

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(channel: grpc.aio.Channel, name: str = "") -> int:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    return int(answer.status)


async def watched(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall:
    """A watch of the overall health that has said SERVING."""
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    return watch


@pytest.mark.parametrize(
    "name",
    [
        "",
        "flyteidl.service.AsyncAgentService",
        "flyteidl.service.SyncAgentService",
        "flyteidl.service.AgentMetadataService",
        "outboard.agent/probe",
    ],
)
async def test_what_is_served_is_serving(channel: grpc.aio.Channel, name: str) -> None:
    assert await health(channel, name) == SERVING


async def test_a_platform_that_could_not_be_loaded_is_not_serving_among_those_that_are(
    channel: grpc.aio.Channel, service: Service
) -> None:
    assert await health(channel, "outboard.platform/broken") == NOT_SERVING
    assert await health(channel) == SERVING
    assert "not loaded: broken (its module cannot be imported; install it)" in service.describe()


async def test_an_unknown_name_is_not_found(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(channel, "somebody.else")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_service_without_any_agent_is_not_serving() -> None:
    registry = Registry([], [LoadFailure(source="broken", reason="install it")])
    async with (
        Host(registry) as host,
        Service(host, SETTINGS) as service,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        assert await health(channel) == NOT_SERVING
        assert await health(channel, "flyteidl.service.AsyncAgentService") == NOT_SERVING


@pytest.fixture
async def patient(platform: ProbePlatform) -> AsyncIterator[Service]:
    """A service that waits for calls in flight longer than these tests do."""
    settings = SETTINGS.model_copy(update={"drain_s": 100})
    async with Host(Registry([platform])) as host, Service(host, settings) as service:
        yield service


async def test_a_watch_sees_the_drain_and_does_not_hold_it_up(patient: Service) -> None:
    async with grpc.aio.insecure_channel(patient.address) as channel:
        watch = await watched(channel)
        await asyncio.wait_for(patient.drain(), 30)
        assert (await watch.read()).status == NOT_SERVING


async def test_an_open_reflection_stream_does_not_hold_up_the_drain(patient: Service) -> None:
    async with grpc.aio.insecure_channel(patient.address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await call.read()).list_services_response.service
        await asyncio.wait_for(patient.drain(), 30)


async def test_a_taken_port_is_a_wrong_setting(service: Service) -> None:
    settings = ServiceSettings(port=service.port)
    with pytest.raises(errors.InvalidSettings, match=r"cannot listen on .* \(address already in use\); choose another"):
        async with Service(service.host, settings):
            pass


async def test_a_foreign_address_is_a_wrong_setting(service: Service) -> None:
    with pytest.raises(errors.InvalidSettings, match="cannot listen on"):
        async with Service(service.host, ServiceSettings(host="203.0.113.1", port=0)):
            pass


def test_wrong_settings_are_named() -> None:
    with pytest.raises(errors.InvalidSettings, match="service setting port"):
        ServiceSettings.parse(port=70000)
    with pytest.raises(
        errors.InvalidSettings, match="metrics_port and callbacks_port are both 9090; give each its own"
    ):
        ServiceSettings.parse(metrics_port=9090, callbacks_port=9090)
    with pytest.raises(errors.InvalidSettings, match="metrics_port and port are both 8000"):
        ServiceSettings.parse(metrics_port=8000)
    assert ServiceSettings.parse(port=0, metrics_port=0, callbacks_port=0).port == 0
    assert ServiceSettings.parse(host="unix:/run/o", metrics_port=8000).metrics_port == 8000


async def test_beyond_the_limit_of_calls_the_service_says_so(gate: Gate, platform: ProbePlatform) -> None:
    settings = ServiceSettings(port=0, max_calls=1)
    async with (
        Host(Registry([platform])) as host,
        Service(host, settings) as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
        grpc.aio.insecure_channel(service.address) as channel,
    ):
        held = asyncio.ensure_future(remote.create_task(make_task(mode="gated")))
        await gate.entered.wait()
        with pytest.raises(errors.Overloaded, match="1 calls are running"):
            await remote.create_task(make_task(node="n1"))
        assert await health(channel) == SERVING
        gate.opened.set()
        await held


async def test_calls_are_counted_under_flytekits_names_with_bounded_labels(platform: ProbePlatform) -> None:
    settings = ServiceSettings(port=0, metrics_port=0)
    async with (
        Host(Registry([platform])) as host,
        Service(host, settings) as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        task = make_task()
        await remote.get_task(await remote.create_task(task), task_type=task.task_type)
        with pytest.raises(errors.UnknownTaskType):
            await remote.create_task(make_task("invented"))
        page = await asyncio.to_thread(read, f"http://127.0.0.1:{service.metrics_port}/metrics")
    assert 'flyte_connector_requests_success_total{operation="get",task_type="probe"}' in page
    assert (
        'flyte_connector_requests_failure_total{error_code="NOT_FOUND",operation="create",task_type="unknown"}' in page
    )
    assert 'flyte_connector_request_latency_seconds_count{operation="create",task_type="probe"}' in page
    assert 'flyte_connector_input_literal_bytes_sum{task_type="probe"}' in page
    assert "invented" not in page


async def test_a_call_that_its_client_gave_up_is_counted_and_its_job_is_started(
    gate: Gate, remote: RemoteEndpoint, service: Service
) -> None:
    task = make_task(mode="gated")
    before = cancelled_creates()
    held = asyncio.ensure_future(remote.create_task(task))
    await gate.entered.wait()
    held.cancel()
    while cancelled_creates() == before:  # noqa: ASYNC110 - the counter belongs to the service
        await asyncio.sleep(0)
    gate.opened.set()
    status = await remote.get_task(await remote.create_task(task), task_type=task.task_type)
    assert status.links[0].url.endswith("/1")


def cancelled_creates() -> float:
    labels = {"task_type": "probe", "operation": "create", "error_code": "CANCELLED"}
    return REGISTRY.get_sample_value("flyte_connector_requests_failure_total", labels) or 0.0


def read(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return bytes(answer.read()).decode()


SCRIPT = """
import sys
from outboard.agent import Registry
from outboard.host import Host
from outboard.service import ServiceSettings, serve
sys.path.insert(0, {folder!r})
from slow import SlowPlatform

async def open_host():
    return Host(Registry([SlowPlatform()]))

sys.exit(serve(open_host, ServiceSettings(port=0, drain_s=20, linger_s={linger_s})))
"""


@asynccontextmanager
async def served(linger_s: float = 0.0) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A service in a process of its own, and its address."""
    script = SCRIPT.format(folder=str(Path(__file__).parent), linger_s=linger_s)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), 60)).decode()
        assert line.startswith("outboard serves 1 agent on 127.0.0.1:"), line
        yield process, line.split(" on ")[1].split(": ")[0]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def running_create(
    remote: RemoteEndpoint, tmp_path: Path, files: Sequence[str] = ("begun", "go")
) -> tuple[asyncio.Future[bytes], Path]:
    """A create that has reached its platform and goes on once the file is there."""
    begun, go = (tmp_path / name for name in files)
    task = make_task("slow", config={"begun": str(begun), "go": str(go)})
    call = asyncio.ensure_future(remote.create_task(task))
    while not begun.exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    return call, go


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_calls_in_flight_finish_and_ends_with_0(tmp_path: Path, number: signal.Signals) -> None:
    async with (
        served(linger_s=0.5) as (process, address),
        RemoteEndpoint.at(address, timeout_s=30) as remote,
        grpc.aio.insecure_channel(address) as channel,
    ):
        call, go = await running_create(remote, tmp_path)
        watch = await watched(channel)
        process.send_signal(number)
        assert (await watch.read()).status == NOT_SERVING
        go.touch()
        assert len(await call) > 16
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_while_it_lingers_new_calls_are_served(tmp_path: Path) -> None:
    async with (
        served(linger_s=30) as (process, address),
        RemoteEndpoint.at(address, timeout_s=30) as remote,
        grpc.aio.insecure_channel(address) as channel,
    ):
        watch = await watched(channel)
        process.terminate()
        assert (await watch.read()).status == NOT_SERVING
        (tmp_path / "go").touch()
        call, _ = await running_create(remote, tmp_path)
        handle = await call
        assert (await remote.get_task(handle, task_type=make_task("slow").task_type)).phase is Phase.RUNNING


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with (
        served() as (process, address),
        RemoteEndpoint.at(address, timeout_s=30) as remote,
        grpc.aio.insecure_channel(address) as channel,
    ):
        call, _ = await running_create(remote, tmp_path)
        watch = await watched(channel)
        process.terminate()
        assert (await watch.read()).status == NOT_SERVING
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 128 + signal.SIGTERM
        with pytest.raises(errors.OutboardError):
            await call


async def test_code_that_blocks_the_loop_is_named() -> None:
    reported = threading.Event()
    lines: list[MutableMapping[str, Any]] = []

    def record(_logger: object, _level: str, fields: MutableMapping[str, Any]) -> str:
        lines.append(fields)
        reported.set()
        raise structlog.DropEvent

    structlog.configure(processors=[record])
    watchdog = Watchdog(patience_s=0.01, beat_s=0.01)
    watchdog.start()
    try:
        block_until(reported)
    finally:
        watchdog.stop()
        structlog.reset_defaults()
    assert lines[0]["event"] == "event loop blocked"
    assert "block_until" in lines[0]["where"]


def block_until(reported: threading.Event) -> None:
    reported.wait(20)
