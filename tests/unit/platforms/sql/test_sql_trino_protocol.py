"""Trino's protocol where the network and gateways misbehave: a server that answers by a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3

from outboard.platforms.sql.databases.port import Target, Wish
from outboard.platforms.sql.databases.trino import Trino

FIRST = {"id": "q1", "nextUri": "http://169.254.169.254:1/v1/statement/queued/q1/a/1"}
ROWS = {
    "id": "q1",
    "columns": [{"name": "n", "type": "bigint", "typeSignature": {"rawType": "bigint"}}],
    "data": [[1], [2]],
}
STOP: tuple[int, dict[str, str]] = (204, {})


class Script:
    """Answers in their order: a status and a body, or `lost` for a connection that breaks."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []


@contextmanager
def serving(script: Script, password: str = "", **more: Any) -> Iterator[Trino]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            script.calls.append((self.command, self.path))
            script.headers.append(dict(self.headers))
            told = script.answers.pop(0)
            if told == "lost":
                self.connection.close()
                return
            content = json.dumps(told[1]).encode()
            self.send_response(told[0])
            self.send_header("Content-Length", str(len(content) if told[0] != 204 else 0))
            self.end_headers()
            self.wfile.write(content if told[0] != 204 else b"")

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - their names

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        target = Target(
            kind="trino", host="127.0.0.1", port=server.server_address[1], user="me", database="lake", **more
        )
        yield Trino(target, password)
    finally:
        server.shutdown()
        server.server_close()


def read(server: Trino) -> list[dict[str, Any]]:
    rows = server.connect("ob-key", Wish()).run("SELECT 1", [])
    return [row for batch in rows.batches() for row in batch.to_pylist()]


def test_lost_answers_and_busy_gateways_are_asked_again_and_the_host_stays_the_connections() -> None:
    script = Script((200, FIRST), STOP, "lost", (503, {}), (200, FIRST), (502, {}), "lost", (200, ROWS))
    with serving(script) as server:
        assert read(server) == [{"n": 1}, {"n": 2}]
    assert [method for method, _ in script.calls] == ["POST", "DELETE", "POST", "POST", "POST", "GET", "GET", "GET"]
    assert {path for _, path in script.calls} == {"/v1/statement", "/v1/statement/queued/q1/a/1"}


@pytest.mark.parametrize(("auth", "header"), [("basic", "Basic bWU6cMOkc3M="), ("bearer", "Bearer päss")])
def test_the_secret_goes_with_every_call_and_the_key_with_the_query(auth: str, header: str) -> None:
    script = Script((200, FIRST), STOP, (200, FIRST), (200, ROWS))
    with serving(script, "päss" if auth == "basic" else "token", auth=auth, http_path="/gate") as server:
        read(server)
    wanted = header if auth == "basic" else "Bearer token"
    assert {each["Authorization"] for each in script.headers} == {wanted}
    assert (script.headers[2]["X-Trino-Source"], script.headers[2]["X-Trino-Client-Tags"]) == (
        "ob-key",
        "outboard,ob-key",
    )
    assert script.calls[0] == ("POST", "/gate/v1/statement")


@pytest.mark.parametrize(
    ("answers", "code", "actor", "is_broken"),
    [
        ([(401, {})], "HTTP_401", "operator", True),
        ([(200, FIRST), STOP, (200, FIRST), (404, {})], "QueryGone", "platform", True),
        ([(200, FIRST), STOP, (200, FIRST), (410, {})], "QueryGone", "platform", True),
        ([(200, FIRST), STOP, (200, FIRST), (500, {})], "HTTP_500", "platform", True),
    ],
)
def test_what_a_server_answers_beside_its_protocol_has_a_meaning(
    answers: Any, code: str, actor: str, is_broken: bool
) -> None:
    with serving(Script(*answers)) as server:
        with pytest.raises(Exception, match=r".") as caught:
            read(server)
        told = server.complain(caught.value)
    assert told is not None
    assert (told.code, told.actor, told.is_broken) == (code, actor, is_broken)


def test_a_server_without_tls_is_refused_where_tls_is_wanted() -> None:
    with serving(Script(), tls="verify") as server:
        with pytest.raises(urllib3.exceptions.HTTPError) as caught:
            server.call("DELETE", "/v1/query/q1", {})
        told = server.complain(caught.value)
    assert told is not None
    assert (told.code, told.actor) == ("TLS", "operator")
