"""Examination: what an operator may ask a host about itself and about one task, without anything following from it.

Nothing here is on the way of a task, so a service has it made when somebody asks first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from outboard.agent.jobs import Connection
from outboard.agent.platform import Platform
from outboard.agent.registry import Registry
from outboard.domain.identity import Scope
from outboard.domain.keys import Key
from outboard.domain.secret_refs import SecretRef
from outboard.domain.tasks import TaskType
from outboard.host.inquiries import Inquiries, Inquiry
from outboard.host.pings import Ping, Pings
from outboard.host.requests import declared_secrets
from outboard.host.secrets import Presence, SecretSource

_NOBODY: Final = Scope()


class Examination:
    """Asks platforms, stores of secrets and records on behalf of an operator.

    Args:
        registry: The agents.
        source: Where secrets are.
        pings: Pings platforms.
        inquiries: Looks into one task.
    """

    def __init__(self, registry: Registry, source: SecretSource, pings: Pings, inquiries: Inquiries) -> None:
        self._registry = registry
        self._source = source
        self._pings = pings
        self._inquiries = inquiries

    async def ping(
        self, platform: Platform[Any, Any], connection: Connection, *, scope: Scope = _NOBODY, timeout_s: float
    ) -> Ping:
        """Return what comes of a platform's ping of a connection; see `Pings.ping`."""
        return await self._pings.ping(platform, connection, scope=scope, timeout_s=timeout_s)

    async def secrets_presence(
        self, scope: Scope | None = None, refs: Sequence[SecretRef] | None = None, timeout_s: float = 10.0
    ) -> Sequence[Presence]:
        """Return whether declared secrets are there and in which store, without their values.

        Args:
            scope: Whose task would read them; None is the installation itself.
            refs: Which; those that the agents and their callbacks declare when left out. What a task or a connection names
                is not known before it comes.
            timeout_s: How long remote stores may take.
        """
        wanted = declared_secrets(self._registry) if refs is None else refs
        return await self._source.presence(wanted, scope, "", timeout_s)

    async def inquire(
        self,
        handle: bytes,
        *,
        task_type: TaskType | None = None,
        output_prefix: str = "",
        timeout_s: float,
        asks: bool = True,
    ) -> Inquiry:
        """Return what can be found out about a handle; see `Inquiries.inquire`."""
        return await self._inquiries.inquire(handle, task_type, output_prefix, timeout_s=timeout_s, asks=asks)

    async def recorded_handle(self, key: Key, output_prefix: str, *, timeout_s: float) -> bytes | None:
        """Return the handle that a key's submission record holds, if any; see `Inquiries.recorded_handle`."""
        return await self._inquiries.recorded_handle(key, output_prefix, timeout_s=timeout_s)

    def close(self) -> None:
        """Ask no more."""
        self._pings.close()
        self._inquiries.close()
