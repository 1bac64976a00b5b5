"""How gRPC takes a new certificate over: held, offered, taken; and what happens where the own port does not answer."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from certificates import Authority, Mount
from outboard.service.descriptors import sockets
from outboard.service.own_port import OwnPort, _is_taken_here, client_hello
from outboard.service.tls import exchange as exchanging
from outboard.service.tls.exchange import Exchange

AUTHORITY = Authority()
SIBLING = """
import asyncio, sys, grpc
async def main():
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    pair = (open(sys.argv[2], "rb").read(), open(sys.argv[1], "rb").read())
    assert server.add_secure_port("127.0.0.1:" + sys.argv[3], grpc.ssl_server_credentials([pair]))
    await server.start()
    print("listens", flush=True)
    await server.wait_for_termination()
asyncio.run(main())
"""


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path / "tls", *AUTHORITY.pair(), AUTHORITY.pem)


def configured(mount: Mount) -> Any:
    return grpc.ssl_server_certificate_configuration([(mount.key.read_bytes(), mount.certificate.read_bytes())])


def soon() -> float:
    return time.monotonic() + 10


@asynccontextmanager
async def serving(mount: Mount, exchange: Exchange, host: str = "127.0.0.1", **options: int) -> AsyncIterator[int]:
    server = grpc.aio.server(options=[(f"grpc.{name}", value) for name, value in options.items()])
    credentials = grpc.dynamic_ssl_server_credentials(configured(mount), exchange.take)
    port = server.add_secure_port(f"{host}:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)
        exchange.close()


async def test_the_old_one_is_held_before_the_new_one_is_offered_and_until_its_time_is_over(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, offered = Exchange(hold_s=0.5), []
    begin = OwnPort.begin

    def watched(port: OwnPort, until: float) -> socket.socket:
        assert until - time.monotonic() <= 0.25  # half of the hold is left for the exchange
        offered.append(len(exchange._offers))
        return begin(port, until)

    monkeypatch.setattr(OwnPort, "begin", watched)
    async with serving(mount, exchange) as port:
        exchange.listens("127.0.0.1", port)
        assert await asyncio.to_thread(exchange.put, configured(mount))
        assert offered == [0, 1]
        assert exchange.take() is None
        ((until, held),) = exchange._held
        assert held.fileno() >= 0
        assert await asyncio.to_thread(exchange.put, configured(mount))
        assert len(exchange._held) == 2
        exchange.let_go(until - 0.001)
        assert held.fileno() >= 0
        exchange.let_go(until)
        assert held.fileno() == -1
    assert not exchange._held


async def test_nothing_is_offered_while_the_own_port_does_not_answer_but_for_some_minutes_only(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(hold_s=1.0)
    assert not exchange.put("new")  # nothing listens yet
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    exchange.listens("127.0.0.1", port)
    with capture_logs() as lines:
        assert not exchange.put("new")
        assert exchange.take() is None
        monkeypatch.setattr(exchanging, "_PATIENCE_S", 0.0)
        assert exchange.put("new")
    (line,) = lines
    assert line["event"] == "own port does not answer; the next client takes the tls certificate over"
    assert (line["log_level"], "refused" in line["reason"]) == ("warning", True)
    began = time.monotonic()
    assert exchange.take() == "new"
    assert time.monotonic() - began >= exchanging._UNHELD_S  # inside gRPC's lock, so that handshakes can begin
    assert exchange.take() is None


async def test_an_offer_that_nobody_took_is_withdrawn_and_nothing_stays_open(mount: Mount) -> None:
    """Nothing would hold the old one by the time that a client came, and a port that is nearly full has better uses."""
    exchange = Exchange(hold_s=1.0)
    async with serving(mount, exchange, max_allowed_incoming_connections=3) as port:
        exchange.listens("127.0.0.1", port)
        own = OwnPort("127.0.0.1", port)
        others = [await asyncio.to_thread(own.begin, soon()) for _ in range(2)]
        for _ in range(3):
            assert not await asyncio.to_thread(exchange.put, configured(mount))
            assert not exchange._held
            assert exchange.take() is None
        others.pop().close()
        while not await asyncio.to_thread(exchange.put, configured(mount)):
            assert not exchange._held
        assert len(exchange._held) == 1
        others.pop().close()


async def test_what_nobody_has_taken_yet_is_not_taken_by_what_is_to_hold_the_old_one(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange, taken = Exchange(hold_s=1.0), []
    take = exchange.take

    def watched() -> Any:
        given = take()
        taken.append((given, len(connected)))
        return given

    connected: list[float] = []
    begin = OwnPort.begin

    def counted(port: OwnPort, until: float) -> socket.socket:
        connection = begin(port, until)
        connected.append(until)
        return connection

    monkeypatch.setattr(OwnPort, "begin", counted)
    monkeypatch.setattr(exchange, "take", watched)
    new = configured(mount)
    async with serving(mount, exchange) as port:
        exchange._offers.append(("stale", 0.0))
        exchange.listens("127.0.0.1", port)
        assert await asyncio.to_thread(exchange.put, new)
    assert taken == [(None, 0), (new, 1)]


async def test_who_leaves_exchanges_nothing_and_says_nothing(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanging, "_PATIENCE_S", 0.0)
    exchange = Exchange(hold_s=1.0)
    exchange.listens("127.0.0.1", 1)
    exchange.leaves()
    with capture_logs() as lines:
        assert not exchange.put("new")
    assert (lines, exchange.take()) == ([], None)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "localhost"])  # noqa: S104 - what operators listen on
async def test_the_own_port_is_found_wherever_it_listens(mount: Mount, host: str) -> None:
    async with serving(mount, Exchange(hold_s=1.0), host) as port:
        with await asyncio.to_thread(OwnPort(host, port).begin, soon()) as connection:
            assert connection.recv(1)  # the handshake goes on


async def test_a_shared_port_is_tried_until_this_process_answers(mount: Mount) -> None:
    async with serving(mount, Exchange(hold_s=1.0), so_reuseport=1) as port:
        program = (sys.executable, "-c", SIBLING, str(mount.certificate), str(mount.key), str(port))
        sibling = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
        try:
            assert sibling.stdout is not None
            assert await asyncio.wait_for(sibling.stdout.readline(), 30) == b"listens\n"
            own, elsewhere = OwnPort("127.0.0.1", port), 0
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port)) as any_one:
                    any_one.sendall(client_hello())
                    await asyncio.to_thread(any_one.recv, 1)
                    elsewhere += not _is_taken_here(any_one)
                with await asyncio.to_thread(own.begin, soon()) as connection:
                    assert _is_taken_here(connection)
        finally:
            sibling.kill()
            await sibling.wait()
    assert elsewhere  # the kernel chooses


async def test_a_port_of_another_process_is_not_ours(mount: Mount) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    program = (sys.executable, "-c", SIBLING, str(mount.certificate), str(mount.key), str(port))
    other = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert await asyncio.wait_for(other.stdout.readline(), 30) == b"listens\n"
        with pytest.raises(ConnectionError, match="only other processes answer"):
            await asyncio.to_thread(OwnPort("127.0.0.1", port).begin, time.monotonic() + 0.5)
    finally:
        other.kill()
        await other.wait()


@pytest.mark.parametrize("words", [b"HTTP/1.1 400\r\n", b"\x15\x03\x03", b""])
def test_a_port_that_speaks_no_tls_is_none(words: bytes) -> None:
    """Nor is one that refuses the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        connection.recv(1000)
                        connection.sendall(words)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionError, match="no handshake"):
            OwnPort("127.0.0.1", listener.getsockname()[1]).begin(time.monotonic() + 0.2)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_port_that_is_silent_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            OwnPort("127.0.0.1", listener.getsockname()[1]).begin(began + 0.3)
        with pytest.raises(TimeoutError, match="no time"):
            OwnPort("127.0.0.1", listener.getsockname()[1]).begin(began)


def test_looking_at_the_sockets_of_a_process_changes_none_of_them() -> None:
    """`O_NONBLOCK` belongs to all who share a socket, and Python sets it with a default timeout."""
    with socket.create_server(("127.0.0.1", 0)) as blocking, closing(socket.socket()) as other:
        other.settimeout(0)
        socket.setdefaulttimeout(3.0)
        try:
            seen = {
                each.getsockname() for each in sockets() if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            }
        finally:
            socket.setdefaulttimeout(None)
        assert blocking.getsockname() in seen
        assert os.get_blocking(blocking.fileno())
        assert not os.get_blocking(other.fileno())
