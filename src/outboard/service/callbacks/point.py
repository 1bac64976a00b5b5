"""The point where platforms call this service: the port, the desk behind it, and the ways to other processes."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from outboard.host.callbacks.callbacks import CallbackReceiver
from outboard.service.callbacks.desk import Desk
from outboard.service.callbacks.relay import Reached, Relay
from outboard.service.callbacks.server import CallbackServer
from outboard.service.settings import ServiceSettings


class Called(Protocol):
    """What is needed of a host."""

    @property
    def callbacks(self) -> CallbackReceiver:
        """What verifies callbacks for the host's agents."""
        ...


class CallbackPoint:
    """Takes callbacks for a service.

    Args:
        host: Whose agents.
        settings: Where to listen.
        named: Returns the process that has the agent of a name; None where none has.
        on_jobs: Called with the agent and ids of jobs that a callback was about.
        tls: Of the port; None is plain HTTP.
    """

    def __init__(
        self,
        host: Called,
        settings: ServiceSettings,
        named: Callable[[str], Reached | None] | None = None,
        on_jobs: Callable[[str, Sequence[str]], None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        desk = Desk(host.callbacks, Relay(named) if named is not None else None)
        desk.on_jobs = on_jobs
        self._server = CallbackServer(
            settings.host,
            settings.callbacks_port or 0,
            desk.answer,
            desk.refused,
            is_shared=settings.processes > 1,
            tls=tls,
        )

    @property
    def port(self) -> int:
        """Where it listens, once it does."""
        return self._server.port

    async def start(self) -> None:
        """Listen; `InvalidSettings` where that is not possible."""
        await self._server.start()

    async def close(self, grace_s: float) -> None:
        """Take no more, and give what is under way this long."""
        await self._server.close(grace_s)
