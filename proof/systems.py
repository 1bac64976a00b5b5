"""The systems under proof: Outboard's host, and flytekit's service as its authors use it.

Each makes replicas over a `World`; the same scenario runs over all of them. flytekit lives in an environment of its own,
so its side is imported only where it is asked for.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import SecretStr

from outboard.agent import Registry
from outboard.host import Host, HostSettings
from outboard.testing.ledger_agents import LedgerPlatform
from outboard.testing.replicas import Served
from proof.scenarios import DILIGENT, FLYTEKIT, OUTBOARD, System, World

SETTINGS: Final = HostSettings(
    installation="proof",
    service_keys=(SecretStr(base64.b64encode(bytes(range(32))).decode()),),  # an installation with replicas has a key
)


class Outboard:
    """Our host with the kit's agents, one per submission kind."""

    name = OUTBOARD

    def make_host(self, world: World) -> Host:
        """Return a host over the world."""
        platform = LedgerPlatform(world.ledger, world.faults, latency=world.latency, stores=world.stores)
        return Host(Registry([platform]), SETTINGS, stores=world.stores)


class Flytekit:
    """flytekit's own service, with connectors written as those that it ships are written."""

    name = FLYTEKIT

    def make_host(self, world: World) -> Served:
        """Return its service over the world, behind an adapter."""
        from proof.peer_flytekit import FlytekitService  # noqa: PLC0415 - flytekit is only in the peer's environment

        return FlytekitService(world)


class DiligentFlytekit:
    """The same service, with connectors whose author gets out of its API whatever can be got."""

    name = DILIGENT

    def make_host(self, world: World) -> Served:
        """Return its service over the world, behind an adapter."""
        from proof.peer_flytekit import FlytekitService  # noqa: PLC0415 - flytekit is only in the peer's environment

        return FlytekitService(world, is_diligent=True)


SYSTEMS: Final[Mapping[str, Callable[[], System]]] = {
    OUTBOARD: Outboard,
    FLYTEKIT: Flytekit,
    DILIGENT: DiligentFlytekit,
}
"""By name."""
