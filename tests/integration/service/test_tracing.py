"""Traces over real sockets: OpenTelemetry's own exporters send what running services did to collectors of its own protocol."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from integration.service.probe import make_task
from integration.service.served import Served, served
from otlp_sinks import Seen, grpc_sink, http_sink
from outboard import errors
from outboard.domain.phases import Phase
from outboard.engine.remote import RemoteEndpoint
from outboard.host import tracing
from outboard.host.secrets import Redactor
from outboard.host.settings import TracingSettings

SPANNED = "spanned:Spanned"
CANARY = "canary-hunter2-of-the-platform"
INPUT = "SELECT canary FROM inputs"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CREATE = "flyteidl.service.AsyncAgentService/CreateTask"
GET = "flyteidl.service.AsyncAgentService/GetTask"
DELETE = "flyteidl.service.AsyncAgentService/DeleteTask"


class Heard:
    """A platform that answers RUNNING until something was cancelled, and remembers what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.traceparents: list[str] = []
        self.is_cancelled = False

    async def answer(self, request: web.Request) -> web.Response:
        self.traceparents.append(request.headers.get("traceparent", ""))
        self.is_cancelled |= request.path.startswith("/cancel/")
        return web.json_response({"state": "DONE" if self.is_cancelled else "RUNNING"})


@asynccontextmanager
async def platform() -> AsyncIterator[Heard]:
    heard = Heard()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", heard.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    heard.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield heard
    await runner.cleanup()


@asynccontextmanager
async def traced(heard: Heard, *options: str, **environment: str) -> AsyncIterator[tuple[Served, RemoteEndpoint]]:
    """A service whose calls are traced by the standard variables, and a client that is in a trace already."""
    secrets = {"_FSEC_SPANNED_TOKEN": CANARY, "SPANNED_URL": heard.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    async with (
        served("--agents", SPANNED, *options, **secrets, **environment) as service,
        RemoteEndpoint.at(service.address, timeout_s=20) as remote,
    ):
        yield service, remote


def caller(remote: RemoteEndpoint, flags: str = "01") -> RemoteEndpoint:
    remote._connections._trace = (("traceparent", f"00-{TRACE}-{PARENT}-{flags}"),)
    return remote


def spanned_task(kind: str, folder: Path) -> Any:
    return make_task(f"spanned_{kind}", config={"statement": INPUT}, output_prefix=f"{folder}/p-d-e1/{kind}/0")


async def live(remote: RemoteEndpoint, kind: str, folder: Path) -> None:
    """A job's whole life."""
    task = spanned_task(kind, folder)
    handle = await remote.create_task(task)
    assert (await remote.get_task(handle, task_type=task.task_type)).phase is Phase.RUNNING
    await remote.delete_task(handle, task_type=task.task_type)


def only(spans: list[Seen]) -> Seen:
    (span,) = spans
    return span


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize("isolated", [False, True], ids=["here", "isolated"])
async def test_one_trace_leads_from_the_caller_to_the_platforms_call(kind: str, isolated: bool, tmp_path: Path) -> None:
    options = ("--isolate", SPANNED) if isolated else ()
    with grpc_sink() as sink:
        async with (
            platform() as heard,
            traced(heard, *options, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint) as (_, remote),
        ):
            await live(caller(remote), kind, tmp_path)
        create, *more = sorted(sink.named(CREATE), key=lambda span: span.parent_id != PARENT)
        assert (create.trace_id, create.parent_id) == (TRACE, PARENT)
        if isolated:
            assert [inner.parent_id for inner in more] == [create.span_id]
        inner = more[0] if isolated else create
        agent = only(sink.named(f"spanned_{kind}.create"))
        assert (agent.trace_id, agent.parent_id) == (TRACE, inner.span_id)
        called = "POST runs/submit" if kind == "async" else "POST runs/post"
        (call,) = [span for span in sink.named(called) if span.parent_id == agent.span_id]
        assert call.trace_id == TRACE
        assert call.attributes["http.response.status_code"] == 200
        assert call.attributes["outboard.outcome"] == "answered"
        whose = {"outboard.execution": "e1", "outboard.node": "n0", "outboard.attempt": 0}
        for span in (inner, agent):
            assert span.attributes.items() >= {**whose, "outboard.task_type": f"spanned_{kind}"}.items()
        assert inner.attributes.items() >= {"rpc.system": "grpc", "rpc.grpc.status_code": 0}.items()
        assert inner.resource["service.name"] == "outboard"


async def test_a_status_question_links_to_the_poll_and_a_cancel_stands_under_its_call(tmp_path: Path) -> None:
    with grpc_sink() as sink:
        async with platform() as heard, traced(heard, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint) as (_, remote):
            await live(caller(remote), "async", tmp_path)
        poll = only(sink.named(GET))
        question = next(span for span in sink.named("spanned_async.get") if span.links)
        assert question.links == [poll.span_id]
        assert question.trace_id != TRACE  # one question may be about the jobs of many polls
        assert [span.parent_id for span in sink.named("GET runs/get")].count(question.span_id) == 1
        cancel = sink.named("spanned_async.cancel")[0]
        assert (cancel.trace_id, cancel.parent_id) == (TRACE, only(sink.named(DELETE)).span_id)


async def test_no_span_holds_a_secret_an_input_or_a_query(tmp_path: Path) -> None:
    with grpc_sink() as sink:
        async with platform() as heard, traced(heard, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint) as (_, remote):
            for kind in ("async", "blocking"):
                heard.is_cancelled = False
                await live(remote, kind, tmp_path)
        urls = [span.attributes["url.full"] for span in sink.spans if "url.full" in span.attributes]
    assert any(url.endswith("/runs/[redacted]") for url in urls), urls
    whole = b"".join(sink.raw)
    assert len(sink.spans) > 10
    for canary in (CANARY, INPUT, "canary", "token="):
        assert canary.encode() not in whole


async def test_an_error_is_found_by_the_id_that_the_caller_was_told() -> None:
    with grpc_sink() as sink:
        async with platform() as heard, traced(heard, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint) as (service, remote):
            with pytest.raises(errors.UnknownTaskType):
                await remote.create_task(make_task("nobody's"))
            (line,) = await service.until(lambda: service.logged("call failed"))
        span = only(sink.named(CREATE))
    assert span.attributes["outboard.error_id"] == line["error_id"]
    assert (span.attributes["rpc.grpc.status_code"], span.is_error) == (5, False)  # NOT_FOUND: the caller's to mend
    assert (line["trace_id"], line["span_id"]) == (span.trace_id, span.span_id)


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_log_lines_of_agents_say_which_span_they_belong_to(kind: str, tmp_path: Path) -> None:
    with grpc_sink() as sink:
        async with platform() as heard, traced(heard, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint) as (service, remote):
            await caller(remote).create_task(spanned_task(kind, tmp_path))
            (line,) = await service.until(lambda: service.logged("asked the platform"))
        agent = only(sink.named(f"spanned_{kind}.create"))
    assert (line["trace_id"], line["span_id"]) == (TRACE, agent.span_id)


async def test_settings_choose_http_headers_a_name_and_what_platforms_are_told(tmp_path: Path) -> None:
    with http_sink() as sink:
        chosen: dict[str, Any] = {"endpoint": sink.endpoint, "protocol": "http/protobuf", "service_name": "ours"}
        chosen |= {"headers": {"X-Key": "hunter2-header"}, "tell_platforms": True}
        (tmp_path / "s.yaml").write_text(json.dumps({"host": {"tracing": chosen}}))
        async with platform() as heard, traced(heard, "--settings", str(tmp_path / "s.yaml")) as (service, remote):
            await caller(remote).create_task(spanned_task("async", tmp_path))
        call = only(sink.named("POST runs/submit"))
        assert heard.traceparents[0] == f"00-{TRACE}-{call.span_id}-01"
        assert call.resource["service.name"] == "ours"
        assert {headers["x-key"] for headers in sink.headers} == {"hunter2-header"}
        assert "hunter2-header" not in json.dumps(service.lines)


async def test_what_a_caller_does_not_sample_is_not_exported_and_a_ratio_is_kept(tmp_path: Path) -> None:
    with grpc_sink() as sink:
        chosen = {"endpoint": sink.endpoint, "sample_ratio": 0.0}
        (tmp_path / "s.yaml").write_text(json.dumps({"host": {"tracing": chosen}}))
        async with platform() as heard, traced(heard, "--settings", str(tmp_path / "s.yaml")) as (_, remote):
            await live(remote, "async", tmp_path / "a")  # begins here: none is kept
            heard.is_cancelled = False
            await live(caller(remote, "00"), "async", tmp_path / "b")  # the caller says no
            heard.is_cancelled = False
            await live(caller(remote, "01"), "blocking", tmp_path / "c")  # the caller says yes
        assert heard.traceparents == [""] * len(heard.traceparents)
        kept = {span.name for span in sink.spans}
    assert {CREATE, GET, DELETE, "spanned_blocking.create", "spanned_blocking.get"} <= kept
    assert not [name for name in kept if name.startswith("spanned_async.")]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@pytest.mark.parametrize("trouble", ["hangs", "is down"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_collector_in_trouble_slows_neither_calls_nor_the_end(
    trouble: str, protocol: str, tmp_path: Path
) -> None:
    hold = threading.Event()
    with grpc_sink(hold) as sink, socket.create_server(("127.0.0.1", 0)) as mute:
        hanging = sink.endpoint if protocol == "grpc" else f"http://127.0.0.1:{mute.getsockname()[1]}"
        endpoint = hanging if trouble == "hangs" else f"http://127.0.0.1:{free_port()}"
        standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
        async with platform() as heard, traced(heard, **standard) as (service, remote):
            task = spanned_task("async", tmp_path)
            handle = await remote.create_task(task)
            for _ in range(3_000):  # more than the exporter's queue holds
                await remote.get_task(handle, task_type=task.task_type)
            if trouble == "hangs" and protocol == "grpc":
                await asyncio.to_thread(sink.until, lambda: sink.exports)
            service.process.terminate()
            began = time.monotonic()
            assert await asyncio.wait_for(service.process.wait(), 30) == 0
            took_s = time.monotonic() - began
    assert took_s < 15, took_s  # `flush` is 3 s; without it, an export of 5 s or a retry would hold the end up


async def test_a_worker_exports_its_own_spans(tmp_path: Path) -> None:
    with grpc_sink() as sink:
        standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint}
        async with platform() as heard, traced(heard, "--processes", "2", **standard) as (_, remote):
            await caller(remote).create_task(spanned_task("async", tmp_path))
        assert only(sink.named("spanned_async.create")).trace_id == TRACE


async def test_a_broken_context_begins_a_trace_of_its_own() -> None:
    with grpc_sink() as sink:
        async with platform() as heard, traced(heard, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint) as (_, remote):
            for broken in ("", "00-xyz", f"00-{TRACE}-{'0' * 16}-01", "0" * 4000):
                remote._connections._trace = (("traceparent", broken),)
                await remote.list_agents()
    spans = sink.named("flyteidl.service.AgentMetadataService/ListAgents")
    assert len({span.trace_id for span in spans} - {TRACE}) == 4
    assert {span.parent_id for span in spans} == {""}


async def test_an_engine_hands_on_the_trace_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with grpc_sink() as sink:
        async with platform() as heard, traced(heard, OTEL_EXPORTER_OTLP_ENDPOINT=sink.endpoint) as (service, _):
            for parent in (f"00-{TRACE}-{PARENT}-01", "00-0-0-01", f"00-{TRACE}-{PARENT}-01\r\nx: y"):
                monkeypatch.setenv("TRACEPARENT", parent)
                async with RemoteEndpoint.at(service.address, timeout_s=20) as remote:
                    await remote.list_agents()
    spans = sink.named("flyteidl.service.AgentMetadataService/ListAgents")
    assert [span.parent_id for span in spans].count(PARENT) == 1
    assert len(spans) == 3


def modules_of(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sorted(sys.modules))"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_where_tracing_is_off_nothing_of_it_is_imported() -> None:
    code = (
        "import asyncio, outboard.service\nfrom outboard.agent import Registry\nfrom outboard.host import Host, HostSettings\n"
        "async def main():\n  async with Host(Registry()) as host:\n    assert (host.tracing is None) == IS_OFF\n"
        "asyncio.run(main())"
    )
    off = modules_of(f"IS_OFF = True\n{code}")
    assert "opentelemetry" not in off
    assert "outboard.host.spans" not in off
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert "opentelemetry.sdk" in modules_of(f"IS_OFF = False\n{code}", **named)
    assert "opentelemetry" not in modules_of(f"IS_OFF = True\n{code}", **named, OTEL_SDK_DISABLED="true")


def test_asking_for_traces_without_the_extra_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_is_installed", lambda _: False)
    redactor = Redactor()
    with pytest.raises(errors.InvalidSettings, match=r"pip install 'outboard\[otel\]'"):
        tracing.open_tracing(TracingSettings(enabled=True), redactor.learn, redactor)
    named = TracingSettings(endpoint="http://collector:4317")
    assert tracing.open_tracing(named, redactor.learn, redactor) is None
