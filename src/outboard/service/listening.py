"""Listening: a gRPC server's port, in plain text or with TLS, and why it cannot be had."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from outboard.errors import InvalidSettings
from outboard.service.departure import listening_sockets
from outboard.service.settings import ServiceSettings

if TYPE_CHECKING:
    from outboard.service.tls.keeper import TlsKeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a server listens.

    Attributes:
        port: The port.
        sockets: Its sockets, as `departure.stop_listening` takes them.
    """

    port: int = 0
    sockets: frozenset[int] = frozenset()


def listen(server: grpc.aio.Server, settings: ServiceSettings, tls: TlsKeeper | None) -> Listening:
    """Listen where the settings say, and return where that is.

    Raises:
        InvalidSettings: The port is taken, or the host name is none of this machine's.
    """
    others = listening_sockets()
    try:
        if tls is None:
            port: int = server.add_insecure_port(settings.address)
        else:
            port = server.add_secure_port(settings.address, tls.grpc_credentials())
    except RuntimeError:
        port = 0
    if port == 0:
        raise InvalidSettings(
            f"cannot listen on {settings.address} ({_obstacle(settings)}); choose another host or port", field="port"
        )
    if tls is not None:
        tls.listens(settings.host, port)
    return Listening(port=port, sockets=listening_sockets() - others)


def _obstacle(settings: ServiceSettings) -> str:
    """Return why a port cannot be listened on; gRPC does not tell, the system does."""
    try:
        found = socket.getaddrinfo(settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, where in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(where)
                probe.listen()
    except OSError as error:
        return (error.strerror or "not possible").lower()
    return "not possible"
