"""Listening: a gRPC server's port, in plain text or with TLS, and why it cannot be had."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import grpc

from outboard.errors import InvalidSettings
from outboard.service.settings import ServiceSettings

if TYPE_CHECKING:
    from outboard.service.tls.keeper import TlsKeeper


def listen(server: grpc.aio.Server, settings: ServiceSettings, tls: TlsKeeper | None) -> int:
    """Listen where the settings say, and return the port.

    Raises:
        InvalidSettings: The port is taken, or the host name is none of this machine's.
    """
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
    return port


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
