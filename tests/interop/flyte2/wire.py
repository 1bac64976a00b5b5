"""The SDK's client side against our service: its stubs, its serialisation, its conversions, over a real socket."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from flyte.io import DataFrame
from flyteidl2.connector import connector_pb2

from interop.flyte2.client import ConnectorClient, category, connection, phase_name
from interop.flyte2.services import Outboard
from interop.flyte2.tasks import ConnectorTask, inputs_of, natives_of, outputs_of, template_of
from interop.flyte2.values import ORDERED, SAMPLES, seen
from interop.flyte2.world import CANARY, Witness, job_task
from outboard.testing.ledger import Ledger
from outboard.testing.platform_server import PlatformServer
from tables.sections import Section

_LINES: Final = 2
_ROWS: Final = list[dict]  # type: ignore[type-arg] # a struct to the SDK; with parameters it is a map


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A service of ours, a client of the SDK's, and the platform behind."""

    service: Outboard
    client: ConnectorClient
    ledger: Ledger
    witness: Witness
    folder: Path

    def run(self, task: ConnectorTask, *, inputs: Any = None, **values: Any) -> Ran:
        """Create a task and follow it to its end."""
        name = uuid.uuid4().hex[:12]
        prefix = str(self.folder / "out" / name / "a0" / "1")
        sent = inputs if inputs is not None else asyncio.run(inputs_of(task, **values))
        handle = self.client.create(template_of(task), sent, prefix, name=name)
        resource = self.client.follow(handle, task.task_type, prefix)
        return Ran(task=task, sent=sent, handle=handle, resource=resource, prefix=prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A task that is over."""

    task: ConnectorTask
    sent: Any
    handle: bytes
    resource: Any
    prefix: str

    @property
    def phase(self) -> str:
        """Its last phase."""
        return phase_name(self.resource)

    def outputs(self) -> Any:
        """Its outputs as they came."""
        return asyncio.run(outputs_of(self.resource, self.prefix))

    def natives(self) -> dict[str, Any]:
        """Its outputs as the SDK reads them; none of a task that did not succeed."""
        return asyncio.run(natives_of(self.task, self.outputs())) if self.phase == "SUCCEEDED" else {}


@contextmanager
def bench() -> Iterator[Bench]:
    """Run a service with the embedded platform and a ledger."""
    witness = Witness()
    with (
        TemporaryDirectory(prefix="interop-flyte2-") as name,
        PlatformServer(Ledger(), witness) as platform,
        Outboard(platform.url, Path(name)) as service,
        ConnectorClient(service.address) as client,
    ):
        yield Bench(service=service, client=client, ledger=platform.ledger, witness=witness, folder=Path(name))


def types_section(tried: Bench) -> Section:
    """Return what came back of a value of every type, compared by type, value and bytes."""
    rows = [_type_row(tried, each.kind, each.type, each.value) for each in SAMPLES]
    return Section(
        title="Flyte 2 SDK: values through an agent and back (echo, CreateTask and GetTask)",
        columns=("type", "phase", "sent", "came back", "same value", "same type", "same bytes"),
        rows=rows,
        failures=[f"{row['type']} came back as {row['came back']}" for row in rows if not row["same bytes"]],
    )


def calls_section(tried: Bench) -> Section:
    """Return what came of every method of both services."""
    rows = [dict(zip(("call", "answer", "right"), each, strict=True)) for each in _calls(tried)]
    return Section(
        title="Flyte 2 SDK: every method of both services, by its own stubs",
        columns=("call", "answer", "right"),
        rows=rows,
        failures=[f"{row['call']}: {row['answer']}" for row in rows if not row["right"]],
    )


def _type_row(tried: Bench, kind: str, declared: Any, value: Any) -> Mapping[str, Any]:
    task = ConnectorTask(f"echo-{uuid.uuid4().hex[:8]}", "echo", inputs={"v": declared}, outputs={"v": declared})
    ran = tried.run(task, v=value)
    if ran.phase != "SUCCEEDED":
        return {
            "type": kind,
            "phase": ran.phase,
            "sent": repr(value),
            "came back": ran.resource.message,
            "same bytes": False,
        }
    back = ran.natives()["v"]
    sent, came = (each.literals[0].value.SerializeToString(deterministic=True) for each in (ran.sent, ran.outputs()))
    return {
        "type": kind,
        "phase": ran.phase,
        "sent": repr(seen(value)[1]),
        "came back": repr(seen(back)[1]),
        "same value": seen(back)[1] == seen(value)[1],
        "same type": seen(back)[0] == seen(value)[0],
        "same bytes": sent == came and seen(back) == seen(value),
    }


def _calls(tried: Bench) -> Iterator[tuple[str, str, bool]]:
    yield from _listing(tried)
    yield from _jobs(tried)
    yield from _logs(tried)
    yield from _metrics(tried)
    yield from _orders(tried)
    yield from _embedded(tried)
    yield _secrets(tried)


def _listing(tried: Bench) -> Iterator[tuple[str, str, bool]]:
    listed = tried.client.connectors.ListConnectors(connector_pb2.ListConnectorsRequest(), timeout=10).connectors
    types = sorted(each.name for one in listed for each in one.supported_task_categories)
    yield (
        "ListConnectors",
        f"{len(listed)} connectors, {len(types)} task types",
        {"echo", "duckdb", "process"} <= set(types),
    )
    found = tried.client.connectors.GetConnector(connector_pb2.GetConnectorRequest(name="echo"), timeout=10).connector
    yield "GetConnector", found.name, [each.name for each in found.supported_task_categories] == ["echo"]
    try:
        tried.client.connectors.GetConnector(connector_pb2.GetConnectorRequest(name="nobody"), timeout=10)
    except grpc.RpcError as error:
        yield "GetConnector of nobody", error.code().name, error.code() is grpc.StatusCode.NOT_FOUND
    else:
        yield "GetConnector of nobody", "an answer", False


def _jobs(tried: Bench) -> Iterator[tuple[str, str, bool]]:
    done = tried.run(job_task("wire-job", running_s=0.2))
    link = next((each.uri for each in done.resource.log_links), "")
    natives = done.natives()
    yield "CreateTask, GetTask", f"{done.phase}, {natives}, {link}", natives == {"answer": 42} and bool(link)
    again = done.resource.phase == tried.client.get(done.handle, "rest_token", done.prefix).phase
    tried.client.delete(done.handle, "rest_token")
    tried.client.delete(done.handle, "rest_token")
    yield (
        "DeleteTask of a success, twice",
        f"{tried.ledger.late_cancels()} cancels",
        again and not tried.ledger.late_cancels(),
    )
    task = job_task("wire-cancel", running_s=None)
    prefix = str(tried.folder / "out" / "cancelled" / "a0" / "1")
    handle = tried.client.create(template_of(task), connector_pb2.CreateTaskRequest().inputs, prefix, name="cancelled")
    tried.client.delete(handle, "rest_token")
    ended = tried.client.follow(handle, "rest_token", prefix)
    yield "DeleteTask of a running job", phase_name(ended), not tried.ledger.live()
    failed = tried.run(job_task("wire-failed", running_s=0.0, outcome="FAILED", message="no such table"))
    yield (
        "GetTask of a failure",
        f"{failed.phase}: {failed.resource.message}",
        "no such table" in failed.resource.message,
    )


def _logs(tried: Bench) -> Iterator[tuple[str, str, bool]]:
    ran = tried.run(job_task("wire-logs", queued_s=0.1, running_s=0.1))
    whole, _ = tried.client.logs(ran.handle, "rest_token")
    yield "GetTaskLogs", f"{len(whole)} lines, last {whole[-1:]}", len(whole) == 3 and whole[-1].startswith("ended")
    first, tokens = tried.client.logs(ran.handle, "rest_token", lines=_LINES)
    is_page = first == whole[:_LINES] and len(tokens) == 1
    yield f"GetTaskLogs, {_LINES} lines", f"{len(first)} lines, {len(tokens)} tokens", is_page
    rest, _ = tried.client.logs(ran.handle, "rest_token", token=tokens[0]) if tokens else ([], [])
    yield "GetTaskLogs from a token", f"{len(rest)} lines", rest == whole[_LINES:]


def _metrics(tried: Bench) -> Iterator[tuple[str, str, bool]]:
    ran = tried.run(job_task("wire-metrics", running_s=0.0))
    request = connector_pb2.GetTaskMetricsRequest(resource_meta=ran.handle, task_category=category("rest_token"))
    try:
        answer = tried.client.jobs.GetTaskMetrics(request, timeout=10)
    except grpc.RpcError as error:
        yield (
            "GetTaskMetrics of an agent that has none",
            error.code().name,
            error.code() is grpc.StatusCode.UNIMPLEMENTED,
        )
    else:
        yield "GetTaskMetrics of an agent that has none", f"{len(answer.results)} series", False


def _orders(tried: Bench) -> Iterator[tuple[str, str, bool]]:
    """Declare outputs in an order that is not the alphabet's, which the SDK puts them in, and let the job give them in that."""
    types = {name: type(value) for name, value in ORDERED.items()}
    config = {"outputs": dict(sorted(ORDERED.items())), "running_s": 0.0}
    task = ConnectorTask("wire-order", "rest_token", config, outputs=types)
    template = template_of(task)
    places = list(ORDERED)
    template.interface.outputs.variables.sort(key=lambda each: places.index(each.key))
    prefix = str(tried.folder / "out" / "order" / "a0" / "1")
    handle = tried.client.create(template, connector_pb2.CreateTaskRequest().inputs, prefix, name="order")
    resource = tried.client.follow(handle, "rest_token", prefix)
    names = [each.name for each in resource.outputs.literals]
    natives = asyncio.run(natives_of(task, resource.outputs))
    yield "ordered outputs", ", ".join(names), names == places and natives == ORDERED


def _embedded(tried: Bench) -> Iterator[tuple[str, str, bool]]:
    one = {"sql": "SELECT 1 AS zulu, 'two' AS alpha, 3.0::DOUBLE AS mike"}
    answer = tried.run(ConnectorTask("wire-rows", "duckdb_rows", one, outputs={"rows": _ROWS}))
    rows = answer.natives().get("rows")
    yield "duckdb_rows", answer.resource.message or repr(rows), rows == [{"zulu": 1, "alpha": "two", "mike": 3.0}]
    sql = {"sql": "SELECT x * x AS y FROM range(5) t(x)"}
    ran = tried.run(ConnectorTask("wire-duckdb", "duckdb", sql, outputs={"results": DataFrame}))
    table = ran.natives().get("results")
    yield "duckdb", ran.resource.message or repr(table and table.uri), table is not None and bool(table.uri)
    command = {"command": [sys.executable, "-c", "print('hello')"]}
    done = tried.run(ConnectorTask("wire-process", "process", command))
    lines, _ = tried.client.logs(done.handle, "process")
    yield "process", f"{done.phase}, logged {lines}", done.phase == "SUCCEEDED" and "hello" in lines


def _secrets(tried: Bench) -> tuple[str, str, bool]:
    task = job_task("wire-secret", login="platform-token", running_s=0.0)
    prefix = str(tried.folder / "out" / "secret" / "a0" / "1")
    given = connection({"login": CANARY}, {"region": "eu"})
    inputs = connector_pb2.CreateTaskRequest().inputs
    handle = tried.client.create(template_of(task), inputs, prefix, name="secret", connection=given)
    phase = phase_name(tried.client.get(handle, "rest_token", prefix, given))
    is_given = any(f"Bearer {CANARY}" in text for operation, text in tried.witness.heard if operation == "create")
    kept = _places_with_canary(tried, handle)
    return "secrets of a connection", f"{phase}, kept in {kept or 'no place'}", is_given and not kept


def _places_with_canary(tried: Bench, handle: bytes) -> Sequence[str]:
    records = [path for path in (tried.folder / "out").rglob("*") if path.is_file()]
    places = {"the handle": handle, "the log": tried.service.log.read_bytes()}
    places |= {path.name: path.read_bytes() for path in records}
    return [place for place, content in places.items() if CANARY.encode() in content]
