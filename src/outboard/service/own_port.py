"""A service's own port, as its clients find it: where that is, and what a client says first with TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import time
from typing import Any, Final

from outboard.service.descriptors import sockets

TLS_RECORDS: Final = (21, 22)
"""What a server may answer a hello with: an alert, or its part of the handshake (RFC 8446, 5.1)."""
_TLS_HANDSHAKE: Final = b"\x16"
_ANSWER_S: Final = 1.0
"""How long one connection may be silent, where there is time for another."""
_PAUSE_S: Final = 0.005
_MAPPED: Final = "::ffff:"


class OwnPort:
    """A port with TLS at which this process listens, perhaps beside others (SO_REUSEPORT).

    Args:
        host: Where it listens, as in the settings.
        port: Its number.
    """

    def __init__(self, host: str, port: int) -> None:
        self._hosts = reachable(host)
        self._port = port

    def begin(self, until: float) -> socket.socket:
        """Return a connection whose handshake this process has answered, and which goes on until somebody closes it.

        Blocks. Where others listen too the kernel chooses who answers, so it is tried again until the choice is right.

        Args:
            until: When to give up, by `time.monotonic`.

        Raises:
            OSError: The port could not be reached, or spoke no TLS, or only other processes answered.
        """
        why: OSError = TimeoutError("no time was left")
        while (left_s := until - time.monotonic()) > 0:
            for host in self._hosts:
                try:
                    return self._begun(host, min(left_s, _ANSWER_S))
                except OSError as error:
                    why = error
            time.sleep(_PAUSE_S)
        raise why

    def _begun(self, host: str, patience_s: float) -> socket.socket:
        connection = socket.create_connection((host, self._port), timeout=patience_s)
        try:
            connection.sendall(client_hello())
            if connection.recv(1) != _TLS_HANDSHAKE:
                raise ConnectionError("it answers with no handshake")  # noqa: TRY301 - closed like all that is of no use
            if not _is_taken_here(connection):
                raise ConnectionError("only other processes answer")  # noqa: TRY301 - same
        except BaseException:
            connection.close()
            raise
        return connection


def reachable(host: str) -> tuple[str, ...]:
    """Return where to connect to what listens on a host, in the order to try.

    >>> reachable("0.0.0.0"), reachable("[::1]"), reachable("localhost")
    (('127.0.0.1',), ('::1',), ('localhost',))
    >>> reachable("[::]")  # gRPC listens on that without IPv6, too
    ('::1', '127.0.0.1')
    """
    plain = host.strip("[]")
    return {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}.get(plain, (plain,))  # noqa: S104 - where to knock


def client_hello() -> bytes:
    """Return the first words of TLS, for a handshake that goes no further.

    One that went on would end badly where client certificates are required, and gRPC would write a line about each.
    """
    # Without authorities, which take longer to read than all the rest.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    hello = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
    return hello.read()


def _is_taken_here(connection: socket.socket) -> bool:
    """Tell whether the other end of a connection is in this process; elsewhere than on Linux no others listen."""
    if sys.platform != "linux":
        return True
    own = _plain(connection.getsockname())
    for each in sockets():
        with contextlib.suppress(OSError):  # it has no other end
            if _plain(each.getpeername()) == own:
                return True
    return False


def _plain(address: tuple[Any, ...]) -> tuple[str, int]:
    """Return an address as that of IPv4 where IPv6 only wraps it.

    >>> _plain(("::ffff:127.0.0.1", 50000, 0, 0))
    ('127.0.0.1', 50000)
    """
    return (str(address[0]).removeprefix(_MAPPED), int(address[1]))
