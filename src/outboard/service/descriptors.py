"""The sockets that this process has open."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path


def sockets() -> Iterator[socket.socket]:
    """Give every TCP socket of this process, each usable until the next is asked for. Linux only: none elsewhere."""
    if sys.platform != "linux":
        return
    for path in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError), _socket_of(int(path.name)) as each:
            if each.family in (socket.AF_INET, socket.AF_INET6) and each.type == socket.SOCK_STREAM:
                yield each


@contextlib.contextmanager
def _socket_of(descriptor: int) -> Iterator[socket.socket]:
    """Give the socket of a descriptor, which stays open; raise `OSError` where there is none."""
    own, blocks = os.dup(descriptor), os.get_blocking(descriptor)
    try:
        found = socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise
    with found:
        os.set_blocking(own, blocks)  # whoever shares it shares that too, and `socket.setdefaulttimeout` changes it
        yield found
