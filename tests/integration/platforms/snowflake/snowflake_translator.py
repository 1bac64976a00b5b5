"""The SQL API in front of fakesnow, spoken to through Snowflake's own connector; run by the environment that holds both.

`python snowflake_translator.py` starts fakesnow and the translator, prints their ports as JSON, and serves until its input
ends. It translates and does no more: a statement's text and bind variables go to the connector as they came, its query id
is the handle, its error is the answer. What fakesnow has not is played here: a statement runs until it was looked at once,
and a request id is known again. Nothing of this says how Snowflake's SQL API behaves.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

_STARTING_S = 60.0


def connect(port: int, **more: Any) -> Any:
    """Return a connection to fakesnow."""
    connector: Any = import_module("snowflake.connector")
    limits = {"network_timeout": 10, "login_timeout": 10}
    place = {"account": "myorg-checks", "host": "127.0.0.1", "port": port, "protocol": "http"}
    return connector.connect(user="FLYTE", password="x", **place, **limits, **more)  # noqa: S106 - not checked


class Translator(BaseHTTPRequestHandler):
    """Answers `/api/v2/statements`."""

    port: ClassVar[int] = 0
    requests: ClassVar[dict[str, str]] = {}
    ended: ClassVar[dict[str, dict[str, Any]]] = {}
    seen: ClassVar[set[str]] = set()
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_POST(self) -> None:
        """Submit a statement."""
        query = parse_qs(urlsplit(self.path).query)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        request_id = query.get("requestId", [""])[0]
        with self.lock:
            if request_id not in self.requests:
                self.requests[request_id] = self._execute(body)
        self._answer(202, {"code": "333334", "message": "in progress", "statementHandle": self.requests[request_id]})

    def do_GET(self) -> None:
        """Look at a statement."""
        handle = urlsplit(self.path).path.rpartition("/")[2]
        if handle not in self.ended:
            self._answer(404, {"code": "000709", "message": f"Statement {handle} not found"})
        elif handle not in self.seen:
            self.seen.add(handle)
            self._answer(202, {"code": "333334", "message": "in progress", "statementHandle": handle})
        else:
            told = self.ended[handle]
            self._answer(200 if told["code"] == "090001" else 422, told)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _execute(self, body: dict[str, Any]) -> str:
        connector: Any = import_module("snowflake.connector")
        connector.paramstyle = "qmark"
        bindings = body.get("bindings", {})
        values = [(each["type"], each["value"]) for _, each in sorted(bindings.items(), key=lambda item: int(item[0]))]
        with contextlib.closing(connect(self.port, database=body.get("database"), schema=body.get("schema"))) as there:
            cursor = there.cursor()
            try:
                cursor.execute(body["statement"], values or None)
            except connector.errors.Error as error:
                handle = f"failed-{len(self.ended)}"
                words = {"code": f"{error.errno:06}", "sqlState": error.sqlstate, "message": error.raw_msg}
                self.ended[handle] = {**words, "statementHandle": handle}
                return handle
            handle = str(cursor.sfqid)
            shown = {"numRows": cursor.rowcount, "partitionInfo": []}
            self.ended[handle] = {"code": "090001", "statementHandle": handle, "resultSetMetaData": shown}
            return handle

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def start_fakesnow() -> int:
    """Serve fakesnow in a thread; return its port."""
    uvicorn, served = import_module("uvicorn"), import_module("fakesnow.server")
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(served.app, log_level="critical"))
    threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True).start()
    give_up = time.monotonic() + _STARTING_S
    while not server.started and time.monotonic() < give_up:
        time.sleep(0.05)  # another library's start is nothing to await
    return int(bound.getsockname()[1])


def main() -> None:
    """Serve until the input ends."""
    Translator.port = start_fakesnow()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Translator)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"fakesnow": Translator.port, "sql_api": server.server_address[1]}), flush=True)  # noqa: T201 - its answer
    sys.stdin.read()


if __name__ == "__main__":
    main()
