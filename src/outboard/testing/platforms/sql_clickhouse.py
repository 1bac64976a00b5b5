"""A ClickHouse server: the real engine (chdb), behind an HTTP interface written from ClickHouse's documentation.

SQL, types, formats, parameters and error codes are the engine's own. Written here are the envelope (headers, status, exceptions
within a body), users, the lists of what runs and ran, KILL QUERY and `readonly`. Run as a program, by an interpreter that has
chdb; it prints its port. A statement that sleeps runs in a process of its own, which a KILL ends. `/* fault: cut */` in a
statement ends the answer in its middle, `/* fault: exception */` writes an exception there.

https://clickhouse.com/docs/interfaces/http
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

TAG: Final = "qwertyuiopasdfgh"
_WRITES: Final = ("INSERT", "CREATE", "DROP", "ALTER", "TRUNCATE", "DELETE", "UPDATE", "KILL", "SYSTEM")
_SLEEPS: Final = "sleepEachRow"
_COMMENT: Final = re.compile(r"\s*/\*.*?\*/\s*", re.DOTALL)
_KILL: Final = re.compile(r"KILL QUERY WHERE (.*) A?SYNC", re.DOTALL)
_ENDS: Final = "'QueryStart' = 1, 'QueryFinish' = 2, 'ExceptionBeforeStart' = 3, 'ExceptionWhileProcessing' = 4"
_FAILED: Final = (
    "Code: 395. DB::Exception: Value passed to 'throwIf' is non-zero. (FUNCTION_THROW_IF_VALUE_IS_NON_ZERO)\n"
)
_TABLES: Final = (
    "CREATE DATABASE IF NOT EXISTS checks",
    "CREATE DATABASE IF NOT EXISTS fake",
    "CREATE TABLE fake.processes (query_id String, elapsed Float64, read_rows UInt64, read_bytes UInt64) ENGINE = Memory",
    (
        f"CREATE TABLE fake.query_log (query_id String, type Enum8({_ENDS}), query_kind String, event_date Date, "
        "event_time_microseconds DateTime64(6)) ENGINE = Memory"
    ),
)


class Engine:
    """The engine and the lists that a server keeps beside it.

    Args:
        passwords: By user; a user with None takes any.
    """

    def __init__(self, passwords: dict[str, str | None]) -> None:
        from chdb.session import Session  # noqa: PLC0415 - it is not in the environment of those who import this

        self.passwords = passwords
        self.running: dict[str, subprocess.Popen[bytes] | None] = {}
        self.killed: set[str] = set()
        self._lock = threading.Lock()
        self._session: Any = Session()
        for statement in _TABLES:
            self.run(statement)

    def run(self, sql: str, form: str = "CSV", parameters: dict[str, str] | None = None, **settings: str) -> bytes:
        """Return what the engine answers; its exceptions carry code and words."""
        with self._lock:
            for name, value in settings.items():
                self._session.query(f"{'USE' if name == 'database' else f'SET {name} ='} {value}")
            try:
                return bytes(self._session.query(sql, form, params=parameters or None).bytes() or b"")
            finally:
                if "max_execution_time" in settings:
                    self._session.query("SET max_execution_time = 0")

    def sleep(self, key: str, sql: str, form: str) -> bytes:
        """Return what a process of its own answers."""
        process = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, __file__, "one"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.running[key] = process
        content, _ = process.communicate(json.dumps([sql, form]).encode())
        if key in self.killed:
            raise RuntimeError("Code: 394. DB::Exception: Query was cancelled. (QUERY_WAS_CANCELLED)")
        return content

    def list(self, key: str) -> None:
        """Write down that a statement runs."""
        self.run(f"INSERT INTO fake.processes VALUES ('{key}', 1.5, 10, 80)")  # noqa: S608 - of a test

    def log(self, key: str, ended: str, kind: str) -> None:
        """Write down how a statement ended."""
        self.running.pop(key, None)
        self.run("TRUNCATE TABLE fake.processes")
        for other in list(self.running):
            self.list(other)
        self.run(f"INSERT INTO fake.query_log VALUES ('{key}', '{ended}', '{kind}', today(), now64(6))")  # noqa: S608 - of a test

    def kill(self, condition: str, parameters: dict[str, str]) -> None:
        """End what a condition names."""
        found = self.run(f"SELECT query_id FROM fake.processes WHERE {condition}", "TSV", parameters).decode().split()  # noqa: S608 - as above
        for key in found:
            self.killed.add(key)
            process = self.running.get(key)
            if process is not None:
                process.kill()


class Handler(BaseHTTPRequestHandler):
    """The HTTP interface."""

    protocol_version = "HTTP/1.1"
    engine: Engine

    def do_POST(self) -> None:
        """Run a statement."""
        asked = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        sql = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        if self.headers.get("Content-Type", "").startswith("multipart/form-data"):
            fields = dict(re.findall(r'name="(\w+)"[^\r]*\r\n\r\n(.*?)\r\n--', sql, re.DOTALL))
            sql = fields.pop("query")
            asked.update(fields)
        if asked.get("query"):
            sql = f"{asked['query']}\n{sql}"
        try:
            self._check_user()
            self._answer(sql, asked)
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - the engine's exceptions are of several kinds
            self._refuse(str(error))

    do_GET = do_POST  # noqa: N815 - its name

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _check_user(self) -> None:
        user = self.headers.get("X-ClickHouse-User") or "default"
        password = self.headers.get("X-ClickHouse-Key", "").encode("latin-1").decode()
        if self.headers.get("Authorization", "").startswith("Basic "):
            user, _, password = base64.b64decode(self.headers["Authorization"][6:]).decode().partition(":")
        wanted = self.engine.passwords.get(user, "")
        if user not in self.engine.passwords or wanted not in (None, password):
            raise RuntimeError(
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user with"
                " such name. (AUTHENTICATION_FAILED)"
            )

    def _answer(self, sql: str, asked: dict[str, str]) -> None:
        engine, key = self.engine, asked.get("query_id", "")
        word = (_COMMENT.sub(" ", sql).split() or [""])[0].upper()
        if asked.get("readonly") in ("1", "2") and word in _WRITES:
            raise RuntimeError("Code: 164. DB::Exception: Cannot execute query in readonly mode. (READONLY)")
        parameters = {name[6:]: value for name, value in asked.items() if name.startswith("param_")}
        if match := _KILL.match(sql):
            engine.kill(match.group(1), parameters)
            return self._send(b"", asked, word)
        if key:
            if key in engine.running:
                raise RuntimeError(
                    f"Code: 216. DB::Exception: Query with id = {key} is already running."
                    " (QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING)"
                )
            engine.running[key] = None
            engine.list(key)
        ended = "ExceptionBeforeStart"
        try:
            content = self._content(sql, asked, parameters, key)
            ended = "QueryFinish"
        except Exception as error:
            if key in engine.killed or _SLEEPS in str(error):
                ended = "ExceptionWhileProcessing"
            raise
        finally:
            if key:
                engine.log(key, ended, "Select" if word in ("SELECT", "WITH") else word.capitalize())
        return self._send(content, asked, word, sql)

    def _content(self, sql: str, asked: dict[str, str], parameters: dict[str, str], key: str) -> bytes:
        form = asked.get("default_format", "TabSeparated")
        if _SLEEPS in sql and not sql.startswith("DESCRIBE"):
            return self.engine.sleep(key, sql, form)
        settings = {name: asked[name] for name in ("database", "max_execution_time") if asked.get(name)}
        told = sql.replace("system.processes", "fake.processes").replace("system.query_log", "fake.query_log")
        return self.engine.run(told, form, parameters, **settings)

    def _send(self, content: bytes, asked: dict[str, str], word: str, sql: str = "") -> None:
        written = {"read_rows": "3", "read_bytes": "24", "written_rows": "2", "written_bytes": "16"}
        self.send_response(200)
        self.send_header("X-ClickHouse-Exception-Tag", TAG)
        own = re.search(r"\bFORMAT (\w+)\s*$", sql, re.IGNORECASE)
        self.send_header("X-ClickHouse-Format", own.group(1) if own else asked.get("default_format", "TabSeparated"))
        if word in _WRITES:
            self.send_header("X-ClickHouse-Summary", json.dumps(written))
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        fault = re.search(r"/\* fault: (\w+) \*/", sql)
        if fault and not sql.startswith("DESCRIBE"):
            content = content[: len(content) // 2]
            if fault.group(1) == "exception":
                words = _FAILED
                content += f"\r\n__exception__\r\n{TAG}\r\n{words}{len(words)} {TAG}\r\n__exception__\r\n".encode()
        for start in range(0, len(content), 65_536):
            part = content[start : start + 65_536]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if fault and fault.group(1) == "cut" and not sql.startswith("DESCRIBE"):
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _refuse(self, words: str) -> None:
        match = re.search(r"Code: (\d+)", words)
        content = words.encode()
        self.send_response(500)
        self.send_header("X-ClickHouse-Exception-Code", match.group(1) if match else "1002")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def one() -> None:
    """Run the statement that standard input holds, in this process."""
    import chdb  # noqa: PLC0415 - as above

    sql, form = json.loads(sys.stdin.read())
    sys.stdout.buffer.write(bytes(chdb.query(sql, form).bytes() or b""))


def main() -> None:
    """Serve until standard input closes."""
    Handler.engine = Engine(json.loads(sys.argv[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)  # noqa: T201 - it is how a port is told
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    for process in Handler.engine.running.values():
        if process is not None:
            process.kill()
    time.sleep(0.05)


if __name__ == "__main__":
    one() if sys.argv[1:] == ["one"] else main()
