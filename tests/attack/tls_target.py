"""The service that is attacked: `outboard serve` in a process of its own, which requires client certificates."""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from certificates import Authority, Mount
from integration.service.served import Served, served

HEALTH: Final = "/grpc.health.v1.Health/Check"
SERVING: Final = b"\x08\x01"
PATIENCE_S: Final = 2
SERVER, CLIENTS = Authority("server"), Authority("clients")


@dataclass
class Target:
    """A service that requires certificates, and a client that has one."""

    service: Served
    mount: Mount
    port: int
    callbacks_port: int
    pair: tuple[bytes, bytes] = field(default_factory=lambda: CLIENTS.pair("alice.example", common_name="alice"))

    async def call(
        self, pair: tuple[bytes, bytes] | None, authority: Authority = SERVER, method: str = HEALTH
    ) -> bytes:
        """Call a method over a connection of its own."""
        certificate, key = pair if pair is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(authority.pem, key, certificate)
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"localhost:{self.port}", credentials, options=options) as channel:
            answer: bytes = await channel.unary_unary(method)(b"", timeout=10)
            return answer

    def context(self) -> ssl.SSLContext:
        """Return what Python's own TLS needs to get in."""
        context = SERVER.trusting()
        CLIENTS.show(context, "alice.example")
        context.set_alpn_protocols(["h2"])
        return context


@asynccontextmanager
async def target(*options: str, age_s: float = 300, reload_s: float = 0.1) -> AsyncIterator[Target]:
    """Serve with certificates."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mount = Mount(folder / "tls", *SERVER.pair(), CLIENTS.pem)
        settings = folder / "settings.yaml"
        settings.write_text(
            f"service: {{max_connection_age_s: {age_s}, tls: {{certificate: {mount.certificate}, key: {mount.key}, "
            f"client_ca: {mount.ca}, reload_s: {reload_s}, handshake_s: {PATIENCE_S}}}}}"
        )
        more = ("--callbacks-port", "0", "--agents", "hostile:Calm", "--settings", str(settings), *options)
        async with served(*more) as service:
            (line, *_) = await service.until(lambda: service.logged("callbacks are taken"))
            yield Target(service, mount, int(service.address.rpartition(":")[2]), line["port"])
