"""An S3 server with the faults that real ones have: old, careless, busy, in conflict, silent, or losing its replies."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class Fault(Enum):
    """What becomes of a conditional write."""

    BUSY = "503, not applied"
    CONFLICT = "409, not applied"
    LOST = "500, but applied"
    CUT = "connection closed, but applied"
    OLD = "501"
    CARELESS = "applied, whatever the condition"
    SILENT = "no answer"


class FrailS3:
    """The server's objects and its faults.

    Attributes:
        objects: By path.
        faults: For the next conditional writes, one each.
        always: For all others.
        writes: How many conditional writes came.
        meanwhile: Written over the object before the next faulty answer goes out.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.meanwhile: bytes | None = None
        self.writes: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.over = threading.Event()

    def fault(self) -> Fault | None:
        return self.faults.pop(0) if self.faults else self.always


class Handler(BaseHTTPRequestHandler):
    s3: ClassVar[FrailS3]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data = self.s3.objects.get(self.path)
        if data is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self.answer(200, data, etag=tag(data))

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        match, is_create = self.headers.get("If-Match"), "If-None-Match" in self.headers
        if not match and not is_create:
            self.s3.objects[self.path] = data
            self.answer(200, etag=tag(data))
            return
        with self.s3.lock:
            self.s3.writes["create" if is_create else "replace"] += 1
            found = self.s3.objects.get(self.path)
            holds = found is None if is_create else found is not None and tag(found) == match
            self.write(data, self.s3.fault(), holds=holds)

    def write(self, data: bytes, fault: Fault | None, *, holds: bool) -> None:
        if fault is Fault.CARELESS or (holds and fault in {None, Fault.LOST, Fault.CUT}):
            self.s3.objects[self.path] = data
        if fault is not None and self.s3.meanwhile is not None:
            self.s3.objects[self.path] = self.s3.meanwhile
        if fault is Fault.SILENT:
            self.s3.over.wait()
        if fault in {Fault.SILENT, Fault.CUT}:
            self.close_connection = True
            return
        status = {Fault.BUSY: 503, Fault.CONFLICT: 409, Fault.LOST: 500, Fault.OLD: 501, Fault.CARELESS: 200, None: 200}
        self.answer(status[fault] if holds or fault not in {None, Fault.LOST} else 412, etag=tag(data))

    def answer(self, status: int, body: bytes = b"", *, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT")
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of what it overrides
        pass


def tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()}"'


@contextmanager
def serving(s3: FrailS3) -> Iterator[str]:
    """Serve on loopback; yield the endpoint."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"s3": s3}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        s3.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
