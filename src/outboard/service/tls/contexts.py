"""`ssl.SSLContext`s for our HTTP ports, whose certificate can be replaced while they listen.

Changing the certificate of a context that is in use is not safe against handshakes in other threads. So what a port gets is a
front: at each handshake OpenSSL asks it for the name that the client wants, also where that gave none, and it puts the
context of the moment in its own place.
"""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from outboard.errors import InvalidSettings
from outboard.service.tls.settings import SECTION
from outboard.tls.pairs import Pair

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only, as gRPC's own; those of TLS 1.3 are all like that."""


class FrontContext:
    """A context that is another one at each handshake.

    Args:
        current: What it is at first.

    Attributes:
        front: What a port is given.
    """

    def __init__(self, current: ssl.SSLContext) -> None:
        self._current = current
        self.front = _bare()
        self.front.sni_callback = self._choose

    def put(self, context: ssl.SSLContext) -> None:
        """Use a context for handshakes from now on."""
        self._current = context

    def _choose(self, connection: Any, _name: str | None, _front: ssl.SSLContext) -> None:
        connection.context = self._current


def made_of(pair: Pair) -> ssl.SSLContext:
    """Return a context to be put in force.

    Raises:
        InvalidSettings: OpenSSL refuses what was read.
    """
    context = _bare()
    try:
        with _as_file(pair.chain) as chain, _as_file(pair.key) as key:
            context.load_cert_chain(chain, key, password="")
    except ssl.SSLError as error:
        reason = error.reason or "no reason given"
        raise InvalidSettings(
            f"{SECTION}: OpenSSL refuses the files ({reason}); issue them anew", field=SECTION
        ) from None
    return context


def _bare() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Give a path to bytes: Python's `ssl` takes certificates from files only, and those on the disk may have changed by now."""
    if sys.platform == "linux":  # in memory, and nobody else's to read
        with os.fdopen(os.memfd_create("outboard-tls"), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # only this user may read it
            file.write(data)
            file.flush()
            yield file.name
