"""The admin port: probes that tell the truth, pages for operators, and strangers who get nowhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from integration.service.probe import SETTINGS, Gate, ProbePlatform
from integration.service.served import Served, served
from outboard.agent import LoadFailure, Registry
from outboard.engine.remote import RemoteEndpoint
from outboard.host import Host
from outboard.service import Service
from outboard.service.admin import admin as admin_module
from outboard.service.admin import http_server
from outboard.service.admin.admin import Admin
from outboard.service.admin.http_server import Answer, HttpServer, Page, Request, plain
from outboard.service.admin.liveness import Knocking

CANARY = "canary-of-a-load-failure"


async def exchange(port: int, data: bytes, *, tls: ssl.SSLContext | None = None) -> bytes:
    """All that is answered to these bytes."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None
    )
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


async def ask(port: int, path: str, method: str = "GET", body: str = "", **headers: str) -> tuple[int, str]:
    """Status and body of an answer."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    answer = await exchange(port, ("\r\n".join(lines) + "\r\n\r\n" + body).encode())
    head, _, text = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), text


async def told(port: int, path: str) -> tuple[int, Any]:
    status, text = await ask(port, path)
    return status, json.loads(text)


@asynccontextmanager
async def administered(**changes: Any) -> AsyncIterator[tuple[Service, Admin]]:
    """A service with an admin port, in this process."""
    registry = Registry()
    registry.add(ProbePlatform(Gate()))
    registry.failures.append(LoadFailure(source="broken", reason=f"cannot be loaded: {CANARY}"))
    settings = SETTINGS.model_copy(update={"admin_port": 0, **changes})
    host = Host(registry)
    host.redact.learn(CANARY)
    admin = Admin(settings)
    try:
        async with host, Service(host, settings) as service:
            admin.ready(service, port=service.port)
            yield service, admin
    finally:
        admin.close()


@contextmanager
def pages(**by_path: Page) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, {f"/{name}": page for name, page in by_path.items()}, setting="admin_port")
    try:
        yield server
    finally:
        server.close()


HELLO = Page(by_method={"GET": lambda _: plain(200, "hello")}, is_quick=True)


async def test_before_it_serves_a_process_lives_and_is_not_ready() -> None:
    admin = Admin(SETTINGS.model_copy(update={"admin_port": 0}))
    try:
        assert (await ask(admin.port, "/startupz"))[0] == 503
        assert await told(admin.port, "/readyz") == (503, {"ready": False, "state": "starting"})
        assert (await ask(admin.port, "/healthz"))[0] == 200
        assert (await ask(admin.port, "/agents"))[0] == 503
        assert (await ask(admin.port, "/metrics"))[0] == 200
    finally:
        admin.close()


async def test_readiness_names_what_is_not_loaded_without_secrets_and_ends_with_the_drain() -> None:
    async with administered() as (_, admin):
        status, facts = await told(admin.port, "/readyz")
        assert (status, facts["state"], facts["agents"]) == (200, "serving", 2)
        (failure,) = facts["not_loaded"]
        assert failure["source"] == "broken"
        assert CANARY not in failure["reason"]
        assert (await ask(admin.port, "/startupz"))[0] == 200
        admin.draining()
        status, facts = await told(admin.port, "/readyz")
        assert (status, facts["state"]) == (503, "draining")
        assert (await ask(admin.port, "/startupz"))[0] == 200
        assert (await ask(admin.port, "/healthz"))[0] == 200


async def test_agents_are_described_with_their_versions_and_accounts() -> None:
    async with administered() as (service, admin):
        status, facts = await told(admin.port, "/agents")
        assert status == 200
        assert [each["name"] for each in facts["agents"]] == list(service.agents)
        assert all({"name", "version"} == set(kind) for each in facts["agents"] for kind in each["task_types"])
        assert facts["accounts"] == []
        assert CANARY not in json.dumps(facts)


async def test_a_loop_that_stands_still_is_told_by_the_port_beside_it() -> None:
    """The loop is blocked for as long as another thread asks; its silence is set forward, so nothing waits."""
    async with administered() as (_, admin):
        answers: list[Any] = []

        def probe(silent_s: float) -> None:
            admin._pulse._at = time.monotonic() - silent_s
            answers.append((asyncio.run(told(admin.port, "/healthz")), asyncio.run(ask(admin.port, "/readyz"))[0]))

        for silent_s in (5.0, 30.0, 90.0):
            thread = threading.Thread(target=probe, args=(silent_s,))
            thread.start()
            thread.join()  # the loop stands still
        assert [(healthz[0], readyz) for healthz, readyz in answers] == [(200, 200), (200, 503), (503, 503)]
        assert answers[2][0][1]["loop_silent_s"] > 60
        await asyncio.sleep(1.1)  # it beats again
        assert (await ask(admin.port, "/healthz"))[0] == 200


async def test_a_page_about_a_loop_that_stands_still_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_module, "_ASKING_S", 0.05)
    async with administered() as (_, admin):
        answers: list[tuple[int, str]] = []
        thread = threading.Thread(target=lambda: answers.append(asyncio.run(ask(admin.port, "/agents"))))
        thread.start()
        thread.join()  # the loop stands still
        assert answers == [(503, "the event loop does not answer\n")]
        assert (await ask(admin.port, "/metrics"))[0] == 200


async def test_a_port_that_does_not_answer_any_more_is_found_by_knocking(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unanswered(_: Knocking) -> bool:
        return False

    monkeypatch.setattr(Knocking, "knock", unanswered)  # before the first knock is on its way
    async with administered() as (service, admin):
        assert admin._knocking is not None
        admin._knocking._answered_at -= 200
        status, facts = await told(admin.port, "/healthz")
        assert (status, facts["alive"]) == (503, False)
        assert facts["port_silent_s"] > 100
        monkeypatch.undo()
        assert await Knocking("0.0.0.0", service.port).knock()  # noqa: S104 - what an operator listens on
    assert not await Knocking("127.0.0.1", service.port).knock()


async def test_a_port_whose_connections_are_all_taken_is_no_reason_to_end_the_process() -> None:
    async with administered(max_connections=10) as (service, _), AsyncExitStack() as taken:
        for _ in range(10):
            await taken.enter_async_context(greeted(service.port))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await taken.enter_async_context(greeted(service.port))
        assert await Knocking("127.0.0.1", service.port).knock()


@asynccontextmanager
async def greeted(port: int) -> AsyncIterator[None]:
    """A connection that the service has taken: it has said its SETTINGS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.readexactly(9)
        yield
    finally:
        writer.close()


def test_a_port_that_is_closed_as_soon_as_it_is_opened_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        with pages(hello=HELLO):
            pass
    assert capfd.readouterr().err == ""


async def test_what_answers_but_not_in_http_2_is_no_answer() -> None:
    with pages(hello=HELLO) as server:
        assert not await Knocking("127.0.0.1", server.port).knock()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /hello HTTP/1.1\r\n\r\n", 200),
        (b"HEAD /hello HTTP/1.0\r\n\r\n", 200),
        (b"GET /hello?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST /hello HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /hello HTTP/1.1\r\n\r\n", 405),
        (b"GET http://x/hello HTTP/1.1\r\n\r\n", 400),
        (b"GET /hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"GET /hello HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 411),
        (b"PUT /hello HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"PUT /hello HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /hello HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"x" * 9000, 431),
        (b"GET /hello HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 400),
        (b"GET /hello?" + b"a=1&" * 500 + b" HTTP/1.1\r\n\r\n", 400),
    ],
)
async def test_every_request_has_an_answer_of_one_kind_or_another(request_bytes: bytes, status: int) -> None:
    with pages(hello=HELLO) as server:
        answer = await exchange(server.port, request_bytes)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status
        assert b"Python" not in answer
        assert bool(body) is not request_bytes.startswith(b"HEAD")
        assert (await ask(server.port, "/hello"))[0] == 200


async def test_those_who_only_sit_there_give_way_to_who_asks_and_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 20)
    with pages(hello=HELLO) as server:
        before = threading.active_count()
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(100)]
        for _, writer in idle:
            writer.write(b"GET /hello HT")
        assert [await ask(server.port, "/hello") for _ in range(30)] == [(200, "hello\n")] * 30
        assert len(server._connections) <= 20
        assert threading.active_count() <= before
        for reader, writer in idle:  # the limit ends the rest
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()
        assert not server._connections


async def test_pages_that_work_have_few_threads_and_hold_up_no_quick_one() -> None:
    gate = threading.Event()
    running: list[int] = []

    def work(_: Request) -> Answer:
        running.append(1)
        gate.wait(60)
        return plain(200, "done")

    with pages(slow=Page(by_method={"GET": work}), hello=HELLO) as server:
        waiting = [asyncio.ensure_future(ask(server.port, "/slow")) for _ in range(12)]
        while len(running) < http_server.MOST_WORKING:  # noqa: ASYNC110 - threads begin
            await asyncio.sleep(0.01)
        assert (await ask(server.port, "/hello"))[0] == 200
        assert len(running) == http_server.MOST_WORKING
        gate.set()
        assert set(await asyncio.gather(*waiting)) == {(200, "done\n")}


async def test_a_page_that_breaks_tells_nobody_why_and_breaks_nothing_else() -> None:
    def broken(_: Request) -> Answer:
        raise ValueError(CANARY)

    with pages(broken=Page(by_method={"GET": broken}), hello=HELLO) as server:
        status, text = await ask(server.port, "/broken")
        assert status == 500
        assert CANARY not in text
        assert (await ask(server.port, "/hello"))[0] == 200


async def test_the_port_speaks_tls_with_the_context_that_it_is_given() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    server = HttpServer("127.0.0.1", 0, {"/hello": HELLO}, setting="admin_port", ssl_context=context)
    try:
        assert b" 200 OK" in await exchange(server.port, b"GET /hello HTTP/1.1\r\n\r\n", tls=client)
        for _ in range(3):
            assert b"hello" not in await exchange(server.port, b"GET /hello HTTP/1.1\r\n\r\n")
        while server._connections:  # noqa: ASYNC110 - another thread lets go of them
            await asyncio.sleep(0.01)
        assert b" 200 OK" in await exchange(server.port, b"GET /hello HTTP/1.1\r\n\r\n", tls=client)
    finally:
        server.close()


def level_of(answer: tuple[int, str]) -> Any:
    assert answer[0] == 200, answer
    return json.loads(answer[1])


@asynccontextmanager
async def processes(*options: str, **environment: str) -> AsyncIterator[tuple[Served, int]]:
    async with served("--agents", "hostile:Calm", "--admin-port", "0", *options, **environment) as service:
        yield service, int((await service.until(lambda: service.logged("admin port is open")))[0]["port"])


@pytest.mark.parametrize(
    "options",
    [(), ("--isolate", "hostile:Calm"), ("--processes", "2"), ("--processes", "2", "--isolate", "hostile:Calm")],
    ids=["one", "isolated", "workers", "both"],
)
async def test_the_log_level_changes_in_all_processes_and_agents_of_all_are_shown(options: tuple[str, ...]) -> None:
    def all_of(document: Any) -> set[str]:
        below = document.get("processes", {}).values()
        return {document["level"]}.union(*map(all_of, below))

    async with processes(*options) as (service, port):
        assert all_of(level_of(await ask(port, "/loglevel"))) == {"info"}
        assert all_of(level_of(await ask(port, "/loglevel", "PUT", "debug"))) == {"debug"}
        await service.until(lambda: service.logged("log level changed", log_level="debug"))
        assert all_of(level_of(await ask(port, "/loglevel"))) == {"debug"}
        status, facts = await told(port, "/agents")
        assert (status, [each["name"] for each in facts["agents"]]) == (200, ["calm"])
        assert (await ask(port, "/readyz"))[0] == 200
        assert (await ask(port, "/healthz"))[0] == 200
        if "--processes" in options:
            assert all(each["up"] and each["agents"] for each in facts["processes"].values())
            assert "outboard_processes" in (await ask(port, "/metrics"))[1]


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "workers"])
async def test_from_sigterm_on_a_process_is_not_ready_and_answers_calls_as_before(options: tuple[str, ...]) -> None:
    async with processes(*options, OUTBOARD_SERVICE__LINGER_S="3600") as (service, port):
        service.process.terminate()
        await service.until(lambda: service.logged("draining"))
        status, facts = await told(port, "/readyz")
        assert (status, facts["state"]) == (503, "draining")
        assert (await ask(port, "/healthz"))[0] == 200
        async with RemoteEndpoint.at(service.address, timeout_s=30) as remote:
            assert [agent.name for agent in await remote.list_agents()] == ["calm"]
        service.process.terminate()
        assert await service.process.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize("options", [(), ("--processes", "2")], ids=["one", "workers"])
async def test_probes_are_answered_while_a_platform_is_imported_that_takes_its_time(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    (hold := tmp_path / "hold").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def probed() -> tuple[int, Any]:
        while True:
            with suppress(ConnectionRefusedError):
                return await told(port, "/readyz")
            await asyncio.sleep(0.01)

    async def probe() -> None:
        try:
            assert await probed() == (503, {"ready": False, "state": "starting"})
            assert (await ask(port, "/startupz"))[0] == 503
            assert (await ask(port, "/healthz"))[0] == 200
        finally:
            hold.unlink()

    probing = asyncio.ensure_future(asyncio.wait_for(probe(), 30))
    held = ("--agents", "hostile:Calm", "--agents", "waits_at_import:Held", "--admin-port", str(port))
    async with served(*held, *options, OUTBOARD_TEST_HOLD=str(hold)) as service:
        await probing
        await service.until(lambda: service.logged("admin port is open"))
        assert (await told(port, "/readyz"))[0] == 200


async def test_a_parent_is_ready_while_one_worker_answers_and_lives_on_when_none_does(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    options = ("--processes", "2", "--agents", "waits_at_import:Held")
    async with processes(*options, OUTBOARD_TEST_HOLD=str(hold)) as (service, port):
        hold.touch()  # from now on a worker that is started does not come up
        for name, status in (("1", 200), ("2", 503)):
            ended = partial(service.logged, "worker process ended", process=name)
            os.kill(service.logged("worker process is up", process=name)[0]["pid"], signal.SIGKILL)
            await service.until(ended)
            assert (await ask(port, "/readyz"))[0] == status
        assert (await ask(port, "/healthz"))[0] == 200
        hold.unlink()
        await service.until(lambda: len(service.workers) > 2)
        assert (await ask(port, "/readyz"))[0] == 200


async def test_a_process_that_is_started_again_has_the_level_that_was_set_last() -> None:
    async with processes("--isolate", "hostile:Calm") as (service, port):
        await ask(port, "/loglevel", "PUT", "debug")
        os.kill(service.children[0], 9)
        await service.until(lambda: len(service.children) == 2)
        told_now = level_of(await ask(port, "/loglevel"))
        assert told_now["processes"]["hostile:Calm"]["level"] == "debug"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"X_Forwarded_For": "10.0.0.9"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example"}, 403),
    ],
)
async def test_without_a_token_only_this_machine_itself_may_change_the_level(
    headers: dict[str, str], status: int
) -> None:
    async with administered() as (_, admin):
        assert (await ask(admin.port, "/loglevel", "PUT", "info", **headers))[0] == status


async def test_with_a_token_file_its_token_counts_and_a_new_one_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    async with administered(admin_token_file=file) as (_, admin):

        async def put(token: str) -> int:
            return (await ask(admin.port, "/loglevel", "PUT", "info", Authorization=f"Bearer {token}"))[0]

        assert await put("") == 503
        file.write_text("first\n")
        assert [await put(each) for each in ("first", "second", "", "firs")] == [200, 401, 401, 401]
        assert (await ask(admin.port, "/loglevel", "PUT", "info"))[0] == 401
        file.write_text("second")
        assert [await put(each) for each in ("first", "second")] == [401, 200]
        assert (await ask(admin.port, "/loglevel"))[0] == 200


@pytest.mark.parametrize("body", ["", "loud", "{", '{"level": 1}', '{"level": "nonsense"}', "level=", "[" * 2000])
async def test_a_level_that_there_is_not_is_refused(body: str) -> None:
    async with administered() as (_, admin):
        assert (await ask(admin.port, "/loglevel", "PUT", body))[0] == 400


async def test_the_metrics_page_gives_single_metrics_and_the_form_that_is_asked_for() -> None:
    async with administered() as (_, admin):
        _, text = await ask(admin.port, "/metrics?name[]=python_info")
        assert {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")} == {"python_info"}
        _, text = await ask(admin.port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert text.endswith("# EOF\n")


def test_closing_waits_for_no_page(tmp_path: Path) -> None:
    gate = threading.Event()
    begun = threading.Event()

    def work(_: Request) -> Answer:
        begun.set()
        gate.wait(60)
        return plain(200, "late")

    with ExitStack() as stack:
        server = stack.enter_context(pages(slow=Page(by_method={"GET": work})))
        thread = threading.Thread(target=lambda: asyncio.run(_quietly(server.port)))
        thread.start()
        begun.wait()
        server.close()
        assert not gate.is_set()
    gate.set()
    thread.join()


async def _quietly(port: int) -> None:
    with suppress(ConnectionError, IndexError):
        await ask(port, "/slow")
