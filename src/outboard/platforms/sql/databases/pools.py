"""Connections to databases that speak HTTP.

They are urllib3's alone, as under most other HTTP clients, so that nothing stands between us and the bytes: no result is held in
memory, no type is converted on the way, no call is repeated or redirected behind our back.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final

import urllib3
from urllib3.connection import HTTPConnection

from outboard.platforms.sql.databases.port import Complaint, Target, first_line
from outboard.platforms.sql.databases.tls import tls_context

CONNECT_S: Final = 15.0
ANSWER_S: Final = 60.0
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def pool_of(target: Target) -> Any:
    """Return a pool of connections to a server; what is sent over it is sent once."""
    options = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    options += [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _KEEPALIVE if hasattr(socket, name)
    ]
    common: dict[str, Any] = {
        "maxsize": 2,
        "retries": False,
        "timeout": urllib3.Timeout(connect=CONNECT_S, read=ANSWER_S),
        "socket_options": options,
    }
    context = tls_context(target)
    if context is None:
        return urllib3.HTTPConnectionPool(target.host, target.port, **common)
    return urllib3.HTTPSConnectionPool(
        target.host, target.port, ssl_context=context, assert_hostname=target.tls == "verify" and None, **common
    )


def path_of(target: Target, path: str) -> str:
    """Return a path below the one that a proxy serves the database at."""
    return f"/{target.http_path.strip('/')}{path}" if target.http_path.strip("/") else path


def transport_complaint(error: BaseException) -> Complaint | None:
    """Return what an error of the transport means; None for one that is none."""
    if not isinstance(error, (urllib3.exceptions.HTTPError, ssl.SSLError)):
        return None
    if isinstance(error, (urllib3.exceptions.SSLError, ssl.SSLError)):
        return Complaint(code="TLS", words=_words(error), actor="operator", is_retryable=False)
    is_before = isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
    return Complaint(
        code="ConnectionLost",
        words=f"the server cannot be reached: {_words(error)}"
        if is_before
        else f"the connection broke: {_words(error)}",
        actor="platform",
        is_retryable=True,
        is_broken=not is_before,
    )


def _words(error: BaseException) -> str:
    """Return an error's last words, without the objects that urllib3 writes down before them."""
    return first_line(str(error).rpartition(">: ")[2] or error)
