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

import socket
import time
from collections import deque
from typing import Any, Final

from outboard.host.logs import TaskLog
from outboard.service.own_port import OwnPort

_PATIENCE_S: Final = 300.0
"""How long a new configuration waits for an own port that does not answer."""
_UNHELD_S: Final = 0.2
"""How long an exchange waits inside the lock where nothing holds the old one; handshakes begin within 0.1 ms, given time."""
_ANSWER_S: Final = 5.0
"""How long the own port may take to answer; half of a hold at most, so that the other half is left for the exchange."""
_HELD_S: Final = 60.0


class Exchange:
    """What one gRPC port is to take over. `take` is for gRPC's threads; all else is called in one thread, but for `leaves`.

    Args:
        hold_s: How long gRPC lets a handshake take.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = min(hold_s, _HELD_S)
        self._port: OwnPort | None = None
        self._offers: deque[tuple[Any, float]] = deque(maxlen=1)
        self._held: deque[tuple[float, socket.socket]] = deque()
        self._since: float | None = None
        self._log = TaskLog()

    def listens(self, host: str, port: int) -> None:
        """Learn where the port is; before, nothing is exchanged."""
        self._port = OwnPort(host, port)

    def leaves(self) -> None:
        """Exchange nothing any more: nobody listens. From any thread."""
        self._port = None

    def put(self, configuration: Any) -> bool:
        """Let gRPC take a configuration over; tell whether it has. To be tried again where not. Blocks for seconds at most.

        A port that has not answered its own process for five minutes gets it from the next client: what cannot be held must not
        keep an old certificate in force until it expires.
        """
        now, port = time.monotonic(), self._port
        self._offers.clear()
        self._since = now if self._since is None else self._since
        if port is None:
            return False
        try:
            self._put_held(configuration, port, now)
        except OSError as error:
            if now - self._since < _PATIENCE_S:
                return False
            self._offers.append((configuration, _UNHELD_S))
            reason = str(error)
            self._log.warning("own port does not answer; the next client takes the tls certificate over", reason=reason)
        self._since = None
        return True

    def _put_held(self, configuration: Any, port: OwnPort, now: float) -> None:
        until = now + min(_ANSWER_S, self._hold_s / 2)
        held = port.begin(until)
        self._offers.append((configuration, 0.0))
        try:
            port.begin(until).close()  # takes it over, unless a client was faster
        except OSError:
            if self._take_back():
                held.close()
                raise
        self._held.append((now + self._hold_s, held))

    def _take_back(self) -> bool:
        """Withdraw what is offered; False where somebody has taken it."""
        try:
            self._offers.pop()
        except IndexError:
            return False
        return True

    def take(self) -> Any:
        """Return what gRPC is to take over, or None; inside gRPC's lock, where handshakes queue. Does not raise."""
        try:
            configuration, wait_s = self._offers.pop()
        except IndexError:
            return None
        if wait_s:
            time.sleep(wait_s)
        return configuration

    def let_go(self, now: float) -> None:
        """End what has been held for long enough by a time of `time.monotonic`."""
        while self._held and self._held[0][0] <= now:
            self._held.popleft()[1].close()

    def close(self) -> None:
        """Hold and offer nothing any more."""
        self.leaves()
        self._offers.clear()
        self.let_go(float("inf"))
