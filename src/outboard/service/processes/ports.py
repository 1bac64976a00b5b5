"""One port for all workers of a service, and for nobody else.

With SO_REUSEPORT any process of the same user may join a port, so a second service would silently take a share of the calls.
Three things keep it out, in whatever order two services start:

* a service without workers listens without SO_REUSEPORT, which the kernel grants to all of a port's sockets or to none;
* before anything else the parent listens the same way, for a moment, so that it fails where somebody is;
* among parents, whoever has the name of the port in the abstract namespace of Unix sockets has the port. Like ports,
  these names belong to the network namespace and go with the process that holds them.

Then the parent binds the port with SO_REUSEPORT, and does not listen: it gets no connections, and the number stays taken while
workers are down. That is also how port 0 becomes the same number for all of them.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final

from outboard.errors import InvalidSettings

_ABSTRACT: Final = "\0outboard/port/"
_Place = tuple[int, tuple[Any, ...]]


@contextlib.contextmanager
def reserved(host: str, port: int, *, field: str = "port") -> Iterator[int]:
    """Hold a port for workers, and give its number.

    Args:
        host: Name or address, as in `ServiceSettings.host`.
        port: 0 lets the system choose.
        field: The setting that names the port, for the error.

    Raises:
        InvalidSettings: Somebody listens there, the host is none of this machine's, or the system cannot share ports.
    """
    if host.startswith("unix:"):
        raise InvalidSettings("a Unix socket cannot be shared by processes; listen on a port", field="processes")
    if sys.platform != "linux":
        raise InvalidSettings(
            "more than one process needs Linux, where the kernel spreads connections over them; use 1, and replicas",
            field="processes",
        )
    with contextlib.ExitStack() as held:
        try:
            family, place = _resolve(host, port)
            number = _probe(family, place)
            held.enter_context(_named(number))
            held.enter_context(_bound(family, (place[0], number, *place[2:])))
        except OSError as error:
            words = (error.strerror or "not possible").lower()
            raise InvalidSettings(
                f"cannot listen on {host} port {port} ({words}); choose another host or port", field=field
            ) from None
        yield number


def _resolve(host: str, port: int) -> _Place:
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    family, _, _, _, place = found[0]
    return family, tuple(place)


def _probe(family: int, place: tuple[Any, ...]) -> int:
    """Listen as a service without workers does, and return the port's number."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier service may linger
        probe.bind(place)
        probe.listen()
        return int(probe.getsockname()[1])


def _named(number: int) -> socket.socket:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holder.bind(f"{_ABSTRACT}{number}")
    except OSError:
        holder.close()
        raise
    return holder


def _bound(family: int, place: tuple[Any, ...]) -> socket.socket:
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(place)
    except OSError:
        holder.close()
        raise
    return holder
