"""OpenTelemetry collectors for tests, which real exporters send to: the protocol's own servicer over gRPC, and HTTP."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A span as a collector got it."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    attributes: Mapping[str, Any]
    links: Sequence[str]
    is_error: bool
    resource: Mapping[str, Any]
    duration_s: float


@dataclass
class Sink:
    """What came to a collector."""

    endpoint: str = ""
    spans: list[Seen] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    hold: threading.Event | None = None
    exports: int = 0

    def take(self, data: bytes, headers: Mapping[str, str]) -> None:
        self.exports += 1
        if self.hold is not None:
            self.hold.wait(60)
        self.headers.append(headers)
        self.raw.append(data)
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(data)
        for resource in request.resource_spans:
            about = _values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans.extend(_seen(span, about) for span in scope.spans)

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def until(self, is_so: Callable[[], Any], within_s: float = 30) -> Any:
        """Wait, in a thread, until something is so."""
        give_up = time.monotonic() + within_s
        while not (found := is_so()):
            assert time.monotonic() < give_up, [span.name for span in self.spans]
            time.sleep(0.01)
        return found


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


def _seen(span: Any, resource: Mapping[str, Any]) -> Seen:
    return Seen(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=span.kind,
        attributes=_values(span.attributes),
        links=[link.span_id.hex() for link in span.links],
        is_error=span.status.code == 2,
        resource=resource,
        duration_s=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


class _Servicer(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        headers = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self._sink.take(request.SerializeToString(), headers)
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def grpc_sink(hold: threading.Event | None = None) -> Iterator[Sink]:
    """A collector that speaks OTLP over gRPC; with `hold` it answers nothing before that is set."""
    sink = Sink(hold=hold)
    server = grpc.server(ThreadPoolExecutor(4))
    add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    add(_Servicer(sink), server)
    sink.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield sink
    finally:
        if hold is not None:
            hold.set()
        server.stop(0).wait()


@contextmanager
def http_sink() -> Iterator[Sink]:
    """A collector that speaks OTLP over HTTP with protobuf."""
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                data = gzip.decompress(data)
            assert self.path == "/v1/traces"
            sink.take(data, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    sink.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
