"""Shares: which part of every quota is this process's.

Replicas know nothing of each other, so a platform's quota is divided by how many there are: a configured number, or the number
of addresses behind the name of a headless service, asked every 15 s. What was known last holds while the name cannot be
resolved: an outage of DNS must neither stop calls nor multiply them. A service of several processes divides its part
once more.

In dual-stack clusters every pod has an address of each family, so the families are counted apart and the larger count is
taken. Between two looks a replica that was added may overdraw; the platform's "slow down" is there for that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from outboard.host.logs import TaskLog
from outboard.host.settings import HostSettings

_EVERY_S: Final = 15.0
_PATIENCE_S: Final = 10.0

Resolve = Callable[[str], Awaitable[Iterable[tuple[int, str]]]]
"""From a host name to its addresses, each with its family; `OSError` when it cannot be resolved."""


async def resolve_addresses(name: str) -> Iterable[tuple[int, str]]:
    """Return the addresses of a host name by asyncio's own resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return {(int(family), str(address[0])) for family, _, _, _, address in found}


class Shares:
    """The part of every quota that is ours.

    Args:
        settings: How many replicas and processes there are, or where to ask.
        changed: Is told the part, above 0 and at most 1, whenever it is another one.
        resolve: How names are resolved.
    """

    def __init__(
        self, settings: HostSettings, changed: Callable[[float], None], resolve: Resolve = resolve_addresses
    ) -> None:
        self._processes = settings.processes
        self._name = settings.replicas_dns
        self._changed = changed
        self._resolve = resolve
        self._watching: asyncio.Task[None] | None = None
        self._is_failing = False
        self.replicas = settings.replicas
        changed(self.share)

    @property
    def share(self) -> float:
        """Our part."""
        return 1.0 / (self.replicas * self._processes)

    def watch(self) -> None:
        """Begin to look for replicas, in this event loop; to be called as often as one likes."""
        if self._watching is None and self._name:
            self._watching = asyncio.ensure_future(self._watch())

    async def close(self) -> None:
        """Look no more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})

    async def _watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Look once how many replicas there are."""
        log = TaskLog(name=self._name)
        try:
            found = await asyncio.wait_for(self._resolve(self._name), _PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - whatever a resolver raises, counting goes on
            if not self._is_failing:
                self._is_failing = True
                words = "replicas cannot be counted; check replicas_dns; the last known number holds"
                log.warning(words, replicas=self.replicas, error=type(error).__name__)
            return
        self._is_failing = False
        families: dict[int, set[str]] = {}
        for family, address in found:
            families.setdefault(family, set()).add(address)
        replicas = max((len(addresses) for addresses in families.values()), default=1)
        if replicas != self.replicas:
            log.info("replicas share the platforms' quotas", replicas=replicas, before=self.replicas)
            self.replicas = replicas
            self._changed(self.share)
