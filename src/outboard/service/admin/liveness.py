"""Whether a process should live on: its event loop turns, and its port answers.

A probe that kills is a dangerous thing: what it takes for death must not pass by itself, and a new process must mend it. So
neither a platform's outage counts, nor load, nor a slow step: the loop may stand still for `wedged_after_s`, a minute by
default, which is as long as any step of a sane agent or import takes, and as long as children are given (`supervision`). What
counts is a loop that somebody's code blocks for ever, and a gRPC server that takes no connection any more: its threads are
gone, or the file descriptors are used up. The second is found as any client would: by knocking on the port, from the admin
port's own loop, and waiting for the first words of HTTP/2 (or of TLS). A connection that is taken and closed again is an answer
too: `max_connections` are open, and a new process would have as many again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from outboard.service.own_port import TLS_RECORDS, client_hello, reachable

BEAT_S: Final = 1.0
KNOCK_EVERY_S: Final = 10.0
KNOCK_PATIENCE_S: Final = 5.0
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""What an HTTP/2 client says first (RFC 9113, 3.4): the preface and empty SETTINGS."""
_SETTINGS_FRAME: Final = 4
_HEAD_BYTES: Final = 9
_TLS_HEAD_BYTES: Final = 5


class Pulse:
    """The beats of the event loop that makes it, readable from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = time.monotonic()
        self._handle = self._loop.call_soon(self._beat)

    @property
    def silent_s(self) -> float:
        """How long ago the loop beat last."""
        return max(0.0, time.monotonic() - self._at - BEAT_S)

    def stop(self) -> None:
        """Beat no more; in the loop's thread."""
        self._handle.cancel()

    def _beat(self) -> None:
        self._at = time.monotonic()
        self._handle = self._loop.call_later(BEAT_S, self._beat)


class Knocking:
    """Knocks on a port that speaks HTTP/2, again and again, in whatever loop runs `run`."""

    def __init__(self, host: str, port: int, *, has_tls: bool = False) -> None:
        self._hosts = reachable(host)
        self._port = port
        self._has_tls = has_tls
        self._answered_at = time.monotonic()

    @property
    def silent_s(self) -> float:
        """For how long nobody has answered, as far as was knocked."""
        return max(0.0, time.monotonic() - self._answered_at - KNOCK_EVERY_S - KNOCK_PATIENCE_S)

    async def run(self) -> None:
        """Knock for ever."""
        while True:
            if await self.knock():
                self._answered_at = time.monotonic()
            await asyncio.sleep(KNOCK_EVERY_S)

    async def knock(self) -> bool:
        """Knock once; tell whether somebody answered."""
        try:
            return await asyncio.wait_for(self._exchange(), KNOCK_PATIENCE_S)
        except ConnectionResetError:  # as `max_connections` sounds, see above
            return True
        except asyncio.IncompleteReadError as error:
            return not error.partial
        except (OSError, asyncio.TimeoutError):
            return False

    async def _exchange(self) -> bool:
        reader, writer = await self._connected()
        try:
            writer.write(client_hello() if self._has_tls else _PREFACE)
            head = await reader.readexactly(_TLS_HEAD_BYTES if self._has_tls else _HEAD_BYTES)
            return head[0] in TLS_RECORDS if self._has_tls else head[3] == _SETTINGS_FRAME
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for host in self._hosts[:-1]:
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(host, self._port)
        return await asyncio.open_connection(self._hosts[-1], self._port)
