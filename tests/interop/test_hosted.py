"""Hosting over real sockets and processes, with flytekit as it is installed here and connectors of this test's own.

The plugins on PyPI, each in an environment of its own, are tried by `make interop`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2

from interop.hosting.cases import Case
from interop.hosting.cloud import Cloud
from interop.hosting.services import Engine, Service

CONNECTORS = """
from dataclasses import dataclass

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta

import flyte.connectors as flyte2
import flyte.connectors._connector as _connector
from flyteidl2.core.execution_pb2 import TaskExecution as TaskExecution2


@dataclass
class Meta(ResourceMeta):
    job_id: str


class First(AsyncConnectorBase):
    name = "First"

    def __init__(self):
        super().__init__(task_type_name="first", metadata_type=Meta)

    async def create(self, task_template, **kwargs):
        return Meta(job_id=task_template.custom["id"])

    async def get(self, resource_meta, **kwargs):
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"o0": resource_meta.job_id})

    async def delete(self, resource_meta, **kwargs):
        pass


ConnectorRegistry.register(First())


from flytekit.sensor.base_sensor import BaseSensor


class Arrived(BaseSensor):
    async def poke(self):
        return True


@dataclass
class Meta2(_connector.ResourceMeta):
    job: str


class Second(flyte2.AsyncConnector):
    name = "Second"
    task_type_name = "second"
    metadata_type = Meta2

    async def create(self, task_template, inputs=None, token="", **kwargs):
        return Meta2(job=f"{inputs['text']} for {len(token)} characters")

    async def get(self, resource_meta, **kwargs):
        return _connector.Resource(phase=TaskExecution2.SUCCEEDED, outputs={"a": resource_meta.job})

    async def delete(self, resource_meta, **kwargs):
        pass


flyte2.ConnectorRegistry.register(Second())
"""
BROKEN = 'raise RuntimeError("this plugin is broken")'
LEAVING = "import sys\nsys.exit(3)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with connectors, and with plugins that are installed and broken."""
    made = tmp_path_factory.mktemp("plugins")
    (made / "my_connectors.py").write_text(CONNECTORS)
    for name, code in (("broken_plugin", BROKEN), ("leaving_plugin", LEAVING)):
        (made / f"{name}.py").write_text(code)
        info = made / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        groups = ("flytekit.plugins", "flyte.connectors")
        (info / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {name}\n" for group in groups))
    return made


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder), "OUTBOARD_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_broken_plugin_is_named_and_stops_nothing(folder: Path) -> None:
    told = run(folder, "-m", "outboard", "agents", "--flytekit", "--flytekit-modules", "my_connectors", "--json")
    said = json.loads(told.stdout)
    assert {"First", "Second", "Webhook Connector"} <= {each["name"] for each in said["agents"]}
    reasons = {each["source"]: each["reason"] for each in said["failures"]}
    assert reasons.keys() == {
        f"{group}:{name}"
        for group in ("flytekit.plugins", "flyte.connectors")
        for name in ("broken_plugin", "leaving_plugin")
    }
    assert "this plugin is broken" in reasons["flytekit.plugins:broken_plugin"]
    assert "SystemExit" in reasons["flytekit.plugins:leaving_plugin"]


def test_who_hosts_nothing_imports_nothing_of_flytekit(folder: Path) -> None:
    script = (
        "import sys\n"
        "from outboard.local.settings_files import open_host, read_choice\n"
        "open_host(read_choice(None, platforms=None, modules=None), is_local=False)\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('flytekit', 'flyte')])\n"
    )
    assert run(folder, "-c", script).stdout.strip() == "[]"


def test_a_preference_for_somebody_who_does_not_serve_the_type_is_an_error(folder: Path) -> None:
    (folder / "wrong.yaml").write_text("flytekit: {prefer: {webhook: flyte}}")
    told = run(folder, "-m", "outboard", "serve", "--settings", "wrong.yaml", "--port", "0")
    assert told.returncode != 0
    assert "flytekit.prefer: flyte does not serve task type webhook; it is served by flytekit" in told.stderr


@pytest.fixture(scope="module", params=["in this process", "isolated"])
def service(request: Any, folder: Path) -> Iterator[Service]:
    """Serve the connectors, beside our agents or in a process of their own."""
    command = [sys.executable, "-m", "outboard", "serve", "--port", "0", "--platforms", "", "--flytekit"]
    command += ["--flytekit-modules", "my_connectors"]
    command += ["--isolate", "flytekit"] if request.param == "isolated" else []
    service = Service(command, {"PYTHONPATH": str(folder), "OUTBOARD_HOME": str(folder)}, folder)
    try:
        assert service.wait_until_ready(), service.lines
        yield service
    finally:
        service.stop()


def test_an_isolated_connector_follows_its_old_jobs_of_a_type_that_an_agent_of_ours_took_over(folder: Path) -> None:
    command = [sys.executable, "-m", "outboard", "serve", "--port", "0", "--platforms", "files", "--flytekit"]
    command += ["--flytekit-modules", "my_connectors", "--isolate", "flytekit"]
    meta: dict[str, Any] = {
        "sensor_module": "my_connectors",
        "sensor_name": "Arrived",
        "sensor_config": None,
        "inputs": {},
    }
    service = Service(command, {"PYTHONPATH": str(folder), "OUTBOARD_HOME": str(folder)}, folder)
    try:
        assert service.wait_until_ready(), service.lines
        with Engine(service.address) as engine:
            request, handle = asked("sensor", folder), json.dumps(meta).encode()
            assert engine.until(request, handle) == "SUCCEEDED"
            engine.delete(request, handle)
    finally:
        service.stop()


def asked(task_type: str, folder: Path, **inputs: str) -> agent_pb2.CreateTaskRequest:
    case = Case(plugin="", task_type=task_type, custom=lambda _: {"id": "j1"}, inputs=inputs)
    return case.request(None, folder)  # type: ignore[arg-type]  # no platform is asked


def test_a_connector_of_flytekit_is_served_by_its_own_bytes(service: Service, folder: Path) -> None:
    request = asked("first", folder)
    with Engine(service.address) as engine:
        assert {"first", "second", "webhook", "sensor"} <= engine.listed().keys()
        handle = engine.create(request)
        assert handle == b'{"job_id": "j1"}'
        assert engine.until(request, handle) == "SUCCEEDED"
        outputs = engine.get(request, handle).outputs
        engine.delete(request, handle)
    assert outputs.literals["o0"].scalar.primitive.string_value == "j1"


def test_a_connector_of_flyte_2_gets_native_inputs_and_secrets_of_the_connection(
    service: Service, folder: Path
) -> None:
    request = asked("second", folder, text="hello")
    with Engine(service.address, {"token": "0123456789"}) as engine:
        handle = engine.create(request)
        assert json.loads(handle) == {"job": "hello for 10 characters"}
        assert engine.until(request, handle) == "SUCCEEDED"


def test_bytes_that_are_nobodys_handle_are_refused(service: Service, folder: Path) -> None:
    with Engine(service.address) as engine, pytest.raises(grpc.RpcError) as refused:
        engine.get(asked("first", folder), b'{"other": 1}')
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_cloud_of_the_report_counts_what_is_really_done() -> None:
    cloud = Cloud()
    job = cloud.answer("POST", "/bigquery/v2/projects/p/jobs", {}, b"{}")["jobReference"]["jobId"]
    cloud.answer("POST", f"/bigquery/v2/projects/p/jobs/{job}/cancel", {}, b"")
    assert cloud.answer("GET", f"/bigquery/v2/projects/p/jobs/{job}", {}, b"")["status"]["state"] == "DONE"
    assert (cloud.count("start"), cloud.count("cancel"), cloud.jobs) == (1, 1, {job: "cancelled"})
    assert cloud.answer("GET", "/bigquery/v2/projects/p/jobs/other", {}, b"") is None
    cloud.close()
