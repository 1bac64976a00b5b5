"""Exchanges a certificate again and again under a flood of connections; ends in order where gRPC's core survives that.

python exchanges.py held|unheld EXCHANGES    1,000 unheld ones end the process in every second run, with grpcio 1.85
"""

from __future__ import annotations

import asyncio
import struct
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from socket import AF_INET, SO_LINGER, SOCK_STREAM, SOL_SOCKET, socket

import grpc

from certificates import Authority, Mount
from outboard.service.own_port import OwnPort
from outboard.service.tls.exchange import Exchange

_CONNECTIONS, _OPEN = 100, 5
_AT_ONCE = struct.pack("ii", 1, 0)


class Served:
    """A port whose handshakes ask an exchange, and are counted."""

    def __init__(self, mount: Mount) -> None:
        pair = (mount.key.read_bytes(), mount.certificate.read_bytes())
        self.configuration = grpc.ssl_server_certificate_configuration([pair], mount.ca.read_bytes())
        self.exchange = Exchange(hold_s=1.0)
        self.handshakes = self.exchanges = 0

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.dynamic_ssl_server_credentials(self.configuration, self._handshake, True)  # noqa: FBT003 - gRPC's

    def _handshake(self) -> grpc.ServerCertificateConfiguration | None:
        self.handshakes += 1
        taken: grpc.ServerCertificateConfiguration | None = self.exchange.take()
        self.exchanges += taken is not None
        return taken


def flood(served: Served, port: int, ended: threading.Event) -> None:
    """Connect and go away at once, so that no handshake holds anything for long."""
    opened: deque[socket] = deque()
    while not ended.is_set():
        wanted = served.handshakes + _CONNECTIONS
        for _ in range(_CONNECTIONS):
            connection = socket(AF_INET, SOCK_STREAM)
            connection.setsockopt(SOL_SOCKET, SO_LINGER, _AT_ONCE)
            connection.connect(("127.0.0.1", port))
            opened.append(connection)
            if len(opened) > _OPEN:
                opened.popleft().close()
        patience = time.monotonic() + 1
        while served.handshakes < wanted and time.monotonic() < patience:
            time.sleep(0.001)


def exchange(served: Served, port: int, exchanges: int, *, is_held: bool) -> None:
    """Exchange it often, at another handshake each time."""
    served.exchange.listens("127.0.0.1", port)
    own = OwnPort("127.0.0.1", port)
    for _ in range(exchanges):
        served.exchange.let_go(time.monotonic())
        if is_held:
            while not served.exchange.put(served.configuration):
                time.sleep(0.01)
        else:
            served.exchange._offers.append((served.configuration, 0.0))
            own.begin(time.monotonic() + 10).close()


async def main(exchanges: int, *, is_held: bool) -> None:
    """Serve, flood, and stop."""
    authority = Authority()
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Mount(Path(folder) / "tls", *authority.pair(), authority.pem))
    server = grpc.aio.server(options=[("grpc.server_handshake_timeout_ms", 20_000)])
    port = server.add_secure_port("127.0.0.1:0", served.credentials())
    await server.start()
    ended = threading.Event()
    flooding = asyncio.create_task(asyncio.to_thread(flood, served, port, ended))
    try:
        await asyncio.to_thread(exchange, served, port, exchanges, is_held=is_held)
    finally:
        ended.set()
    await flooding
    await server.stop(0)
    served.exchange.close()
    sys.stdout.write(f"{served.exchanges} {served.handshakes}\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[2]), is_held=sys.argv[1] == "held"))
