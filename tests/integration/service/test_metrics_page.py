"""The page that Prometheus scrapes, of running services: all that is on it is documented, and it goes on where flytekit's was."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from integration.service.guarded import CALLER, STORE, guarded
from integration.service.probe import make_task
from integration.service.served import read
from metric_documents import client_names, metric_rows
from outboard import errors

CALM, HOSTILE = "hostile:Calm", "hostile:Hostile"

FLYTEKITS = """
import asyncio, json
from dataclasses import dataclass
import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import tasks_pb2
from flyteidl.service import agent_pb2_grpc
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.extend.backend.connector_service import AsyncConnectorService
from flyteidl.core.execution_pb2 import TaskExecution
from prometheus_client import REGISTRY

@dataclass
class Meta(ResourceMeta):
    job: str

class Noop(AsyncConnectorBase):
    name = "noop"
    def __init__(self): super().__init__(task_type_name="noop", metadata_type=Meta)
    async def create(self, task_template, **_): return Meta(job="1")
    async def get(self, resource_meta, **_): return Resource(phase=TaskExecution.SUCCEEDED)
    async def delete(self, resource_meta, **_): return None

ConnectorRegistry.register(Noop())

async def main():
    server = grpc.aio.server()
    agent_pb2_grpc.add_AsyncAgentServiceServicer_to_server(AsyncConnectorService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
        task = tasks_pb2.TaskTemplate(type="noop")
        made = await stub.CreateTask(agent_pb2.CreateTaskRequest(template=task, output_prefix="s3://b/1"))
        named = {"task_type": "noop", "resource_meta": made.resource_meta}
        await stub.GetTask(agent_pb2.GetTaskRequest(**named))
        await stub.DeleteTask(agent_pb2.DeleteTaskRequest(**named))
        try:
            await stub.GetTask(agent_pb2.GetTaskRequest(task_type="nobody's", resource_meta=b"{}"))
        except grpc.aio.AioRpcError:
            pass
    await server.stop(0)
    samples = [sample for family in REGISTRY.collect() for sample in family.samples]
    print(json.dumps({s.name: sorted(s.labels) for s in samples if s.name.startswith(("flyte_connector_", "flyte_agent_"))}))

asyncio.run(main())
"""


def families(page: str) -> Mapping[str, Metric]:
    """The families of a page, by the name that is documented."""
    found = {}
    for family in text_string_to_metric_families(page):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = family
    return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Metric]:
    """What a service with workers, an isolated platform, callbacks, all that watches over it, and traffic shows."""
    return asyncio.run(_everything(tmp_path_factory.mktemp("page")))


async def _everything(folder: Path) -> Mapping[str, Metric]:
    agents = ("--agents", CALM, "--agents", HOSTILE, "--isolate", HOSTILE, "--processes", "2")
    async with guarded(folder, *agents, "--metrics-port", "0", "--callbacks-port", "0") as guard:
        (line,) = guard.service.logged("metrics are served")
        await guard.busy()
        async with guard.known() as remote:
            prefix = f"{folder}/out/n0/0"
            task = make_task("calm", config={"deed": "", "file": str(folder / "end")}, output_prefix=prefix)
            handle = await remote.create_task(task)
            await remote.get_task(handle, task_type=task.task_type)
            await remote.delete_task(handle, task_type=task.task_type)
            with pytest.raises(errors.OutboardError):
                await remote.create_task(make_task("nobody's"))
        return families(await asyncio.to_thread(read, f"http://127.0.0.1:{line['port']}/metrics"))


def test_all_that_a_page_with_every_feature_shows_is_documented(everything: Mapping[str, Metric]) -> None:
    rows, added = metric_rows(), client_names()
    strangers = {
        name for name in everything if name not in rows and name not in added and not name.endswith("_created")
    }
    assert strangers == set()
    assert {name for name in rows if name not in everything} == set(), "documented, and not on the page"


def test_types_and_labels_on_the_page_are_those_of_the_document(everything: Mapping[str, Metric]) -> None:
    shown = set()
    for name, row in metric_rows().items():
        family = everything[name]
        assert family.type == row.kind, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == row.labels, name
            shown.add(name)
    assert {
        "outboard_processes",
        "outboard_isolated_up",
        "outboard_event_loop_lag_seconds",
        "outboard_build_info",
    } <= shown


def test_a_life_is_counted_where_it_should_be(everything: Mapping[str, Metric]) -> None:
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in everything.values()
        for sample in family.samples
    }
    assert samples["outboard_job_claimed_seconds_count", ("agent", "calm")] == 1
    assert samples["outboard_calls_in_flight",] == 0
    assert samples["outboard_calls_refused_total", ("reason", "excess")] == 0
    assert samples["outboard_event_loop_lag_seconds_count",] > 2
    assert samples["outboard_event_loop_silent_seconds",] < 5


def test_what_watches_over_a_service_is_on_its_page(everything: Mapping[str, Metric]) -> None:
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in everything.values()
        for sample in family.samples
    }
    assert samples["outboard_access_calls_total", ("caller", CALLER)] >= 4
    assert samples["outboard_access_refused_total", ("caller", "unknown"), ("reason", "no_credentials")] == 1
    assert samples["outboard_access_issuer_reachable", ("issuer", "https://issuer.example")] == 0
    assert samples["outboard_tls_certificate_expiry_timestamp_seconds", ("file", "certificate")] > time.time()
    assert samples["outboard_tls_files_refused",] == 0
    assert samples["outboard_tls_reloads_total", ("result", "refused")] == 0
    assert samples["outboard_tls_handshakes_total",] >= 3
    assert samples["outboard_secret_lookups_total", ("outcome", "unavailable"), ("store", STORE)] >= 1
    assert samples["outboard_secret_store_silent_seconds", ("store", STORE)] > 0
    assert samples["outboard_secret_age_seconds", ("store", STORE)] == 0, "it never gave a value"


def test_a_board_for_flytekits_service_finds_its_series_with_their_labels(everything: Mapping[str, Metric]) -> None:
    done = subprocess.run([sys.executable, "-c", FLYTEKITS], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert len(theirs) >= 6
    assert not [name for name in theirs if name.startswith("flyte_agent_")]  # the older prefix is gone there too
    ours = {
        sample.name: sorted(set(sample.labels) - {"le"}) for family in everything.values() for sample in family.samples
    }
    kept = {name: ours.get(name) for name in theirs if not name.endswith("_created")}
    assert kept == {name: labels for name, labels in theirs.items() if not name.endswith("_created")}
