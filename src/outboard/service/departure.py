"""How clients leave a service that is about to end, so that none of their calls fails.

gRPC's server has one way to send clients away, and it comes too late: from the moment of `stop` a call that arrives is killed
(CANCELLED), and the client hears of it (GOAWAY) only then. What does work, without a single call lost, is the end of a connection
by age: the client is told first, calls that come meanwhile are still answered, and it opens another connection before it lets
go of the old one. So the lingering has two halves:

1. Health says no, and everything is served as before. Load balancers, endpoint lists and resolvers learn that we go.
2. Nothing listens any more, so whoever reconnects goes to another replica; and connections reach their age one by one.

That needs connections which are younger than half of the lingering (`connection_age_s`); gRPC varies the age by a tenth. At its
end nobody is left, and `stop` has nothing to kill. A client that reconnects now and then costs a handshake each time.

gRPC cannot stop to listen while it serves, but its sockets can: a listening socket that is shut down refuses connections. Which
they are is noted when it begins to listen, since agents may listen in this process too, on the same port of another address.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator
from typing import Final

from outboard.service.descriptors import sockets

_HALF: Final = 0.5
_VARIED_BY: Final = 1.1
"""gRPC draws each connection's age from a tenth below to a tenth above what is set (`grpc.max_connection_age_ms`)."""


def connection_age_s(max_age_s: float, linger_s: float) -> float:
    """Return how old connections may become; 0 is without limit.

    >>> connection_age_s(300.0, 0.0), connection_age_s(300.0, 22.0), connection_age_s(0.0, 22.0), connection_age_s(5.0, 22.0)
    (300.0, 10.0, 10.0, 5.0)
    """
    if not linger_s:
        return max_age_s
    leaving_s = round(linger_s * _HALF / _VARIED_BY, 3)
    return min(max_age_s, leaving_s) if max_age_s else leaving_s


def listening_sockets() -> frozenset[int]:
    """Return the sockets of this process that listen on a port, by their inodes. Linux only: none elsewhere."""
    return frozenset(map(_inode, _listening()))


def stop_listening(inodes: Collection[int]) -> int:
    """Refuse further connections at sockets that `listening_sockets` told; return how many of them still listened.

    Connections that there are stay. Where no sockets are told, connections are taken until the end.
    """
    closed = 0
    for each in _listening():
        if _inode(each) in inodes:
            each.shutdown(socket.SHUT_RDWR)
            closed += 1
    return closed


def _listening() -> Iterator[socket.socket]:
    return (each for each in sockets() if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _inode(of: socket.socket) -> int:
    return os.fstat(of.fileno()).st_ino
