"""Certificates of a service and of its clients, both authorities and a token, replaced again and again under load."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attack.tls_target import CLIENTS, SERVER, Target, target
from certificates import Authority, Mount
from outboard.engine.addresses import ServiceAddress
from outboard.engine.credentials import Credentials
from outboard.engine.remote import RemoteEndpoint
from outboard.errors import OutboardError
from tables.sections import Section

CALLS_PER_S: Final = 200
_OVERLAP_S: Final = 0.7
"""How long what was there before is trusted beside what is new; hours, outside of tests. A handshake must not take longer."""


@dataclass
class Load:
    """What calls came to."""

    calls: int = 0
    failed: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    connections: int = 0

    async def count(self, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call and count it."""
        begun = time.monotonic()
        try:
            await call()
        except OutboardError as error:
            self.failed.append(f"{time.monotonic():.1f} {error}")
        self.calls += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)


class Rotation:
    """Authorities and certificates of a service and of its clients, replaced step by step."""

    def __init__(self, victim: Target, clients: Sequence[Mount], token: Path) -> None:
        self._victim = victim
        self._clients = clients
        self._token = token
        self._authorities = (SERVER, CLIENTS)
        self.steps = 0
        self.refused = 0

    async def turn(self) -> None:
        """Replace both authorities and all certificates, with a mistake on the way."""
        server, clients = self._authorities
        new_server, new_clients = Authority("server"), Authority("clients")
        both, both_clients = server.pem + new_server.pem, clients.pem + new_clients.pem
        service = self._victim.mount
        pair = server.pair()
        # 1. Everybody trusts both.
        self._put_clients(clients, both)
        await self._taken(service, pair, both_clients)
        # 2. A mistake: the key of another certificate, and an expired one.
        await self._mistake(service, (new_server.pair()[0], new_server.pair()[1]), both_clients)
        await self._mistake(service, new_server.pair(expired=True), both_clients)
        # 3. New certificates.
        pair = new_server.pair()
        await self._taken(service, pair, both_clients)
        self._put_clients(new_clients, both)
        self._token.write_text(f"token-{self.steps}")
        # 4. The old authorities are gone. What clients connected with before goes on, and they have new certificates.
        await self._taken(service, pair, new_clients.pem)
        self._put_clients(new_clients, new_server.pem)
        self._authorities = (new_server, new_clients)

    def _put_clients(self, authority: Authority, ca: bytes) -> None:
        for mount in self._clients:
            mount.put(*authority.pair("client.example"), ca)
        self.steps += 1

    async def _taken(self, mount: Mount, pair: tuple[bytes, bytes], ca: bytes) -> None:
        count = len(self._victim.service.logged("tls certificate is renewed"))
        mount.put(*pair, ca)
        self.steps += 1
        await self._victim.service.until(
            lambda: len(self._victim.service.logged("tls certificate is renewed")) >= count + self._processes
        )
        await asyncio.sleep(_OVERLAP_S)

    async def _mistake(self, mount: Mount, pair: tuple[bytes, bytes], ca: bytes) -> None:
        words = "tls files are refused; the ones before stay in force"
        count = len(self._victim.service.logged(words))
        mount.put(*pair, ca)
        self.refused += 1
        await self._victim.service.until(lambda: len(self._victim.service.logged(words)) >= count + self._processes)

    @property
    def _processes(self) -> int:
        return max(1, len(self._victim.service.workers))


async def rotated(seconds: float, processes: int, clients: int = 4) -> Section:
    """Replace certificates under load for some time."""
    load, options = Load(), ("--processes", str(processes)) if processes > 1 else ()
    async with target(*options, age_s=2) as victim:
        with tempfile.TemporaryDirectory() as name:
            token = Path(name) / "token"
            token.write_text("token")
            mounts = [Mount(Path(name) / str(n), *CLIENTS.pair("a.example"), SERVER.pem) for n in range(clients)]
            rotation = Rotation(victim, mounts, token)
            ended = asyncio.Event()
            callers = [
                asyncio.ensure_future(_steadily(victim, mount, token, load, ended, CALLS_PER_S / clients))
                for mount in mounts
            ]
            newcomers = asyncio.ensure_future(_newly(victim, mounts[0], token, load, ended))
            begun, turns = time.monotonic(), 0
            while time.monotonic() - begun < seconds:
                await rotation.turn()
                turns += 1
            ended.set()
            await asyncio.gather(*callers, newcomers)
            took_s = time.monotonic() - begun
    row = {
        "processes": processes,
        "seconds": round(took_s, 1),
        "calls": load.calls,
        "per second": round(load.calls / took_s),
        "clients": clients,
        "further connections": load.connections,
        "rotations of all": turns,
        "files replaced": rotation.steps,
        "refused meanwhile": rotation.refused,
        "slowest ms": round(load.slowest_s * 1000),
        "failed calls": len(load.failed),
    }
    failures = [f"a call failed while certificates were replaced: {words}" for words in load.failed[:3]]
    if load.calls < took_s * CALLS_PER_S / 2:
        failures.append(f"only {load.calls} calls in {took_s:.0f} s: that is no load")
    return Section(
        title="Certificates replaced under load",
        columns=tuple(row),
        rows=[row],
        failures=failures,
        notes=[
            "A rotation replaces both authorities (old and new side by side, then the new), all certificates and the token.",
            "On the way come a key of another certificate and an expired one, which the service refuses.",
            "The service closes connections after 2 s, so that clients connect anew all the time; others make one call each.",
        ],
    )


async def _steadily(
    victim: Target, mount: Mount, token: Path, load: Load, ended: asyncio.Event, per_second: float
) -> None:
    """Call at a steady rate, whatever the answers take."""
    calls: set[asyncio.Future[None]] = set()
    async with _client(victim, mount, token) as remote:
        begun, made = time.monotonic(), 0
        while not ended.is_set():
            due = int((time.monotonic() - begun) * per_second)
            for _ in range(due - made):
                call = asyncio.ensure_future(load.count(remote.list_agents))
                calls.add(call)
                call.add_done_callback(calls.discard)
            made = due
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls)


async def _newly(victim: Target, mount: Mount, token: Path, load: Load, ended: asyncio.Event) -> None:
    """Connect anew for each call."""
    while not ended.is_set():
        async with _client(victim, mount, token) as remote:
            await load.count(remote.list_agents)
        load.connections += 1
        await asyncio.sleep(0.1)


def _client(victim: Target, mount: Mount, token: Path) -> RemoteEndpoint:
    credentials = Credentials(ca=mount.ca, certificate=mount.certificate, key=mount.key, token_file=token)
    address = ServiceAddress.at(f"localhost:{victim.port}", credentials=credentials)
    return RemoteEndpoint(address)
