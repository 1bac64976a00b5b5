"""The child of an isolated platform: a supervised process whose agents are called over gRPC, on a Unix socket.

What becomes of calls while it is down or does not answer stands in `forwarding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import grpc

from outboard.service.supervision.child import END_S, Child, ChildSpec, Role
from outboard.service.supervision.hello import Hello

Carrier = Callable[[], Sequence[tuple[str, str]]]
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class PlatformChild(Child):
    """One isolated platform's process, who starts it again, and a channel to it while it lives."""

    role: ClassVar[Role] = Role(noun="isolated platform", field="isolated")

    def __init__(
        self, spec: ChildSpec, socket: Path, on_change: Callable[[], None], carrier: Carrier | None = None
    ) -> None:
        super().__init__(spec, socket, on_change)
        self._carrier = carrier
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def carried(self) -> Sequence[tuple[str, str]] | None:
        """Return the metadata by which the child goes on with the present trace; None where there is none."""
        return self._carrier() if self._carrier is not None else None

    def method(self, path: str, kind: str = "unary_unary") -> Any:
        """Return gRPC's callable of a method, which takes and gives bytes; only while it is up."""
        method = self._methods.get(path)
        if method is None and self._channel is not None:
            method = self._methods[path] = getattr(self._channel, kind)(path)
        return method

    async def stop(self, grace_s: float) -> None:
        """Tell it to end, wait for that, and kill what is left after `grace_s`."""
        await super().stop(grace_s)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def connect(self, hello: Hello) -> None:
        """Open the channel."""
        self._channel = grpc.aio.insecure_channel(hello.target, options=_OPTIONS)

    def disconnect(self) -> None:
        """Close the channel; calls that still wait end with its socket."""
        self._methods.clear()
        channel, self._channel = self._channel, None
        if channel is not None:
            closing = asyncio.ensure_future(channel.close(END_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
