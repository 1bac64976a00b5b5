"""Connections to one service, with the certificates and the token of the moment.

gRPC's channel connects again by itself, but always with the certificates that it was made with. So a call looks whether the
files have changed (some microseconds), and if they have and are in order, a new channel takes over; the old one is closed when
its last call has ended. Files that are not in order change nothing: the channel that there is goes on, and what is wrong is told
with the next failure to connect.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc

from outboard.engine.addresses import ServiceAddress, is_local
from outboard.engine.credentials import SECTION, Credentials
from outboard.engine.tokens import token_in
from outboard.engine.trace_context import trace_metadata
from outboard.errors import InvalidSettings
from outboard.files import Watched, read_file

_RECEIVE_BYTES: Final = 64 * 1024 * 1024
_KEEPALIVE_MS: Final = 30_000

Metadata = tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class _Channel:
    """One channel of gRPC's, and how many calls use it."""

    channel: grpc.aio.Channel
    calls: int = 0


class Connections:
    """Gives each call a channel to a service, and what to send along.

    Args:
        address: Where the service is, and how it is called.

    Raises:
        InvalidSettings: Files are not in order, or the token would be sent in plain text.
    """

    def __init__(self, address: ServiceAddress) -> None:
        _check(address)
        self._address = address
        self._material = Watched(_files(address), partial(_read, address))
        self._current = _Channel(_open(address, self._material.value))
        self._used: set[_Channel] = set()
        self._closing: set[asyncio.Future[None]] = set()
        path = address.credentials.token_file
        self._token = token_in(path) if path is not None else None
        self._trace = trace_metadata(os.environ)

    @property
    def problem(self) -> str:
        """Why the files as they are now are not used; empty where they are."""
        return self._material.problem

    @contextmanager
    def call(self) -> Iterator[tuple[grpc.aio.Channel, Metadata]]:
        """Give what one call goes by, for as long as it lasts."""
        if self._material.look():
            self._exchange()
        used = self._current
        used.calls += 1
        self._used.add(used)
        try:
            yield used.channel, self._metadata()
        finally:
            used.calls -= 1
            if not used.calls:
                self._used.discard(used)
                if used is not self._current:
                    self._close(used)

    async def close(self) -> None:
        """Close all; calls in flight are cancelled."""
        for each in {*self._used, self._current}:
            self._close(each)
        await asyncio.gather(*self._closing)

    def _metadata(self) -> Metadata:
        if self._token is None:
            return self._trace
        self._token.look()
        return (("authorization", f"Bearer {self._token.value}"), *self._trace)

    def _exchange(self) -> None:
        """Let a new channel take over, with what the files hold now."""
        before, self._current = self._current, _Channel(_open(self._address, self._material.value))
        if not before.calls:
            self._close(before)

    def _close(self, used: _Channel) -> None:
        closing = asyncio.ensure_future(used.channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Material:
    """What the files hold."""

    ca: bytes | None = None
    chain: bytes | None = None
    key: bytes | None = None


def _check(address: ServiceAddress) -> None:
    credentials, where = address.credentials, address.written or address.target
    if address.insecure and credentials.is_about_tls:
        raise InvalidSettings(
            f"{where} is called in plain text, and certificates are given for it; use TLS, or leave them out",
            field=SECTION,
        )
    is_private = not address.insecure or is_local(address.target)
    if credentials.token_file is not None and not is_private and not credentials.token_in_clear:
        raise InvalidSettings(
            f"the token would go to {where} in plain text; use TLS, or say {SECTION}.token_in_clear where that is meant",
            field=f"{SECTION}.token_file",
        )


def _files(address: ServiceAddress) -> tuple[Path, ...]:
    if address.insecure:
        return ()
    own = address.credentials
    return tuple(path for path in (own.ca or _system_authorities(), own.certificate, own.key) if path is not None)


def _read(address: ServiceAddress) -> _Material:
    if address.insecure:
        return _Material()
    own = address.credentials
    ca = _authorities(own)
    if own.certificate is None or own.key is None:
        return _Material(ca=ca)
    from outboard.tls.pairs import read_pair  # noqa: PLC0415 - it imports cryptography, which plain clients do without

    pair = read_pair(own.certificate, own.key, section=SECTION)
    return _Material(ca=ca, chain=pair.chain, key=pair.key)


def _authorities(own: Credentials) -> bytes | None:
    if own.ca is not None:
        from outboard.tls.pairs import read_authorities  # noqa: PLC0415 - same

        return read_authorities(own.ca, field=f"{SECTION}.ca").pem
    system = _system_authorities()
    return None if system is None else read_file(system, "SSL_CERT_FILE")


def _system_authorities() -> Path | None:
    """Return the file of the system's certificate authorities; None leaves gRPC to its own."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file) if file else None


def _open(address: ServiceAddress, material: _Material) -> grpc.aio.Channel:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _RECEIVE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ]
    if is_local(address.target):  # a user's proxy is for the world outside; it has another loopback
        options.append(("grpc.enable_http_proxy", 0))
    if address.service_config:
        options.append(("grpc.service_config", address.service_config))
    if address.insecure:
        return grpc.aio.insecure_channel(address.target, options=options)
    if address.credentials.server_name is not None:
        options.append(("grpc.ssl_target_name_override", address.credentials.server_name))
    credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.chain)
    return grpc.aio.secure_channel(address.target, credentials, options=options)
