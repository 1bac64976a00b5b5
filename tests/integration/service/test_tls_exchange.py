"""How gRPC takes a new certificate over: held, offered, taken; and what happens where the own port does not answer."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from certificates import Authority, Mount
from outboard.service.tls import exchange as exchanging
from outboard.service.tls.exchange import Exchange, OwnPort

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


@asynccontextmanager
async def serving(
    mount: Mount, exchange: Exchange, host: str = "127.0.0.1", *, is_shared: bool = False
) -> AsyncIterator[int]:
    server = grpc.aio.server(options=[("grpc.so_reuseport", int(is_shared))])
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

    def watched(port: OwnPort) -> socket.socket:
        offered.append(len(exchange._offers))
        return begin(port)

    monkeypatch.setattr(OwnPort, "begin", watched)
    async with serving(mount, exchange) as port:
        exchange.listens("127.0.0.1", port)
        assert await asyncio.to_thread(exchange.put, configured(mount))
        assert offered == [0, 1]
        assert exchange.take() is None
        ((until, held),) = exchange._held
        assert held.fileno() >= 0
        assert exchange.put(configured(mount))
        assert len(exchange._held) == 2
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        assert exchange.put(configured(mount))
        assert held.fileno() == -1
    assert not exchange._held


async def test_nothing_is_offered_while_the_own_port_does_not_answer_but_for_a_minute_only(
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


async def test_an_offer_that_nobody_held_is_withdrawn(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port answers once and no more: what holds the old one would be gone by the time that a client came."""
    exchange, answers = Exchange(hold_s=1.0), [socket.socket()]

    def once(_: OwnPort) -> socket.socket:
        if not answers:
            raise ConnectionRefusedError("gone")
        return answers.pop()

    monkeypatch.setattr(OwnPort, "begin", once)
    exchange.listens("127.0.0.1", 1)
    assert not exchange.put("new")
    assert exchange.take() is None
    exchange.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "localhost"])  # noqa: S104 - what operators listen on
async def test_the_own_port_is_found_wherever_it_listens(mount: Mount, host: str) -> None:
    async with serving(mount, Exchange(hold_s=1.0), host) as port:
        with await asyncio.to_thread(OwnPort(host, port).begin) as connection:
            assert connection.recv(1)  # the handshake goes on


async def test_a_shared_port_is_tried_until_this_process_answers(mount: Mount) -> None:
    async with serving(mount, Exchange(hold_s=1.0), is_shared=True) as port:
        program = (sys.executable, "-c", SIBLING, str(mount.certificate), str(mount.key), str(port))
        sibling = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
        try:
            assert sibling.stdout is not None
            assert await asyncio.wait_for(sibling.stdout.readline(), 30) == b"listens\n"
            alone, shared = OwnPort("127.0.0.1", port), OwnPort("127.0.0.1", port, is_shared=True)
            here = []
            for own in (alone, shared):
                opened = [await asyncio.to_thread(own.begin) for _ in range(30)]
                here.append(sum(exchanging._is_taken_here(each) for each in opened))
                for each in opened:
                    each.close()
        finally:
            sibling.kill()
            await sibling.wait()
    assert here[0] < 30  # the kernel chooses
    assert here[1] == 30


@pytest.mark.parametrize(("words", "told"), [(b"HTTP/1.1 400\r\n", "no handshake"), (b"", "no handshake")])
def test_a_port_that_speaks_no_tls_is_none(words: bytes, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        async def answered() -> None:
            task = asyncio.create_task(asyncio.to_thread(OwnPort("127.0.0.1", listener.getsockname()[1]).begin))
            connection, _ = await asyncio.to_thread(listener.accept)
            with connection:
                await asyncio.to_thread(connection.recv, 1000)
                connection.sendall(words)
            await task

        with pytest.raises(ConnectionError, match=told):
            asyncio.run(answered())
