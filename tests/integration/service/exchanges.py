"""Exchanges certificates at every handshake of a flood of connections; ends in order where gRPC's core survives that.

python exchanges.py SECONDS    how long an exchange waits; 0 ends the process more often than not, with grpcio 1.85
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import grpc

from certificates import Authority, Mount
from outboard.service.tls import keeper
from outboard.service.tls.settings import TlsSettings

_FLOODS, _CONNECTIONS = 10, 200


async def main(exchange_s: float) -> None:
    """Serve, flood, and stop."""
    keeper._EXCHANGE_S, keeper._RESUMED_S = exchange_s, -1.0  # type: ignore[misc]  # every session is too old at once
    authority = Authority()
    with tempfile.TemporaryDirectory() as folder:
        mount = Mount(Path(folder) / "tls", *authority.pair(), authority.pem)
        settings = TlsSettings(certificate=mount.certificate, key=mount.key, client_ca=mount.ca)
        kept = keeper.TlsKeeper(settings)
    server = grpc.aio.server(options=[("grpc.server_handshake_timeout_ms", 20_000)])
    port = server.add_secure_port("127.0.0.1:0", kept.grpc_credentials())
    await server.start()
    for _ in range(_FLOODS):
        opening = (asyncio.open_connection("127.0.0.1", port) for _ in range(_CONNECTIONS))
        opened = await asyncio.gather(*opening)
        await asyncio.sleep(0.1)  # so that gRPC's threads work on them
        for _, writer in opened:
            writer.close()
    while kept.handshakes < _FLOODS * _CONNECTIONS:  # noqa: ASYNC110 - gRPC's threads count them
        await asyncio.sleep(0.05)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
