"""How gRPC takes a new certificate over, without harm to handshakes that are about to begin.

gRPC asks for a new configuration at the beginning of each handshake, in threads of its own. It exchanges the old one for it under
a lock, but begins handshakes outside of that lock: a thread that is about to begin one with what is just being exchanged ends
the process ("Check failed: prior > 0", or SIGSEGV; grpcio 1.85 and before; `add_handshakers` in `ssl_security_connector.cc`,
https://github.com/grpc/grpc/issues/36693). With a flood of connections that is one exchange in a thousand.

A configuration lives on, whatever is exchanged, while a handshake with it goes on. So before anything is offered to gRPC we begin
a handshake with our own port, and go no further: it holds what is about to be replaced, for as long as gRPC lets handshakes take.
A second one takes the offer over at once, since the first would not hold for ever.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from typing import Any, Final

from outboard.host.logs import TaskLog
from outboard.service.descriptors import sockets
from outboard.service.own_port import TLS_HANDSHAKE, client_hello, reachable

_PATIENCE_S: Final = 60.0
"""How long a new configuration waits for an own port that does not answer."""
_UNHELD_S: Final = 0.2
"""How long an exchange waits inside the lock where nothing holds the old one; handshakes begin within 0.1 ms, given time."""
_ANSWER_S: Final = 5.0
"""How long an own port may take to answer; where it is shared, until the kernel has chosen this process."""
_MAPPED: Final = "::ffff:"


class Exchange:
    """What one gRPC port is to take over. Made and used in one thread; `take` is for gRPC's.

    Args:
        hold_s: How long gRPC lets a handshake take.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = min(hold_s, _PATIENCE_S)
        self._port: OwnPort | None = None
        self._offers: deque[tuple[Any, float]] = deque(maxlen=1)
        self._held: deque[tuple[float, socket.socket]] = deque()
        self._since: float | None = None
        self._log = TaskLog()

    def listens(self, host: str, port: int, *, is_shared: bool = False) -> None:
        """Learn where the port is, as `OwnPort` does."""
        self._port = OwnPort(host, port, is_shared=is_shared)

    def put(self, configuration: Any) -> bool:
        """Let gRPC take a configuration over; tell whether it has. To be tried again where not.

        A port that has not answered its own process for a minute gets it from the next client: whoever cannot be held must not
        keep an old certificate until it expires.
        """
        now = time.monotonic()
        self._let_go(now)
        self._since = now if self._since is None else self._since
        if self._port is None:
            return False
        try:
            self._held.append((now + self._hold_s, self._port.begin()))
            self._offers.append((configuration, 0.0))
            self._port.begin().close()  # takes it over, unless a client was faster
        except OSError as error:
            self._offers.clear()
            if now - self._since < _PATIENCE_S:
                return False
            self._offers.append((configuration, _UNHELD_S))
            reason = str(error)
            self._log.warning("own port does not answer; the next client takes the tls certificate over", reason=reason)
        self._since = None
        return True

    def take(self) -> Any:
        """Return what gRPC is to take over, or None; inside gRPC's lock, where handshakes queue. Does not raise."""
        try:
            configuration, wait_s = self._offers.pop()
        except IndexError:
            return None
        time.sleep(wait_s)
        return configuration

    def close(self) -> None:
        """Hold nothing any more."""
        self._let_go(float("inf"))

    def _let_go(self, now: float) -> None:
        while self._held and self._held[0][0] <= now:
            self._held.popleft()[1].close()


class OwnPort:
    """A port of this process, as its clients find it.

    Args:
        host: Where it listens, as in the settings.
        port: Its number.
        is_shared: Other processes listen there too (SO_REUSEPORT), and the kernel chooses who takes a connection.
    """

    def __init__(self, host: str, port: int, *, is_shared: bool = False) -> None:
        self._where = (reachable(host), port)
        self._is_shared = is_shared

    def begin(self) -> socket.socket:
        """Return a connection whose handshake this process has answered, and which goes on until somebody closes it.

        Raises:
            OSError: The port cannot be reached, or does not speak TLS, or only other processes answer.
        """
        until = time.monotonic() + _ANSWER_S
        while (left_s := until - time.monotonic()) > 0:
            connection = socket.create_connection(self._where, timeout=left_s)
            try:
                connection.sendall(client_hello())
                _expect_handshake(connection)
                if not self._is_shared or _is_taken_here(connection):
                    return connection
            except BaseException:
                connection.close()
                raise
            connection.close()
        raise ConnectionError("only other processes answer")


def _expect_handshake(connection: socket.socket) -> None:
    if connection.recv(1) != bytes([TLS_HANDSHAKE]):
        raise ConnectionError("it answers with no handshake")


def _is_taken_here(connection: socket.socket) -> bool:
    """Tell whether the other end of a connection is in this process."""
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
