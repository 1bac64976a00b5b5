"""A service's own port, as its clients find it: where that is, and what a client says first with TLS."""

from __future__ import annotations

import contextlib
import ssl
from typing import Final

TLS_RECORDS: Final = (21, 22)
"""What a server may answer a hello with: an alert, or its part of the handshake (RFC 8446, 5.1)."""
TLS_HANDSHAKE: Final = 22


def reachable(host: str) -> str:
    """Return where to connect to what listens on a host.

    >>> reachable("0.0.0.0"), reachable("[::]"), reachable("[::1]"), reachable("localhost")
    ('127.0.0.1', '::1', '::1', 'localhost')
    """
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104 - where to knock


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
