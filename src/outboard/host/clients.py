"""Clients: opened once per connection, shared by all its jobs, closed when idle.

The key is the platform, the connection and, where the connection's secrets belong to a project, the scope: two
projects never share a client that was opened with one project's credentials. Opening is single flight; a failed
opening is not kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from outboard.agent.http import Http
from outboard.agent.jobs import Connection
from outboard.agent.platform import Platform
from outboard.domain.identity import Scope
from outboard.domain.secret_refs import SecretRef, SecretScope
from outboard.host.budgets import Budgets
from outboard.host.secrets import SecretSource

ClientKey = tuple[str, str, Scope | None]


@dataclass(slots=True)
class _Open:
    """An open client and who uses it."""

    manager: AbstractAsyncContextManager[Any]
    http: Http
    client: Any
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)
    is_stale: bool = False

    async def close(self) -> None:
        try:
            await self.manager.__aexit__(None, None, None)
        finally:
            await self.http.close()


def client_key(platform: Platform[Any, Any], connection: Connection, scope: Scope) -> ClientKey:
    """Return what two calls must share to share a client."""
    is_scoped = any(ref.scope is SecretScope.PROJECT for ref in secret_refs(connection))
    return platform.name, json.dumps(connection.to_json(), sort_keys=True), scope if is_scoped else None


def secret_refs(connection: Connection) -> list[SecretRef]:
    """Return the secrets that a connection refers to."""
    return [
        value for name in type(connection).model_fields if isinstance(value := getattr(connection, name), SecretRef)
    ]


class Clients:
    """The open clients of a host."""

    def __init__(self, secrets: SecretSource, budgets: Budgets, idle_s: float) -> None:
        self._secrets = secrets
        self._budgets = budgets
        self._idle_s = idle_s
        self._open: dict[ClientKey, _Open] = {}
        self._opening: dict[ClientKey, asyncio.Lock] = {}

    def find(self, key: ClientKey) -> _Open | None:
        """Return the open client of a connection, if there is one."""
        return self._open.get(key)

    def lease(self, key: ClientKey, platform: Platform[Any, Any], connection: Connection, scope: Scope) -> Lease:
        """Return a context manager that yields the client of a connection; it stays open for the next caller."""
        return Lease(self, key, platform, connection, scope)

    async def discard(self, key: ClientKey) -> None:
        """Stop handing out a client (its credentials were refused); it closes when its last user is done."""
        entry = self._open.pop(key, None)
        if entry is not None:
            entry.is_stale = True
            if entry.users == 0:
                await entry.close()

    async def close_idle(self) -> None:
        """Close what nobody used for the idle time."""
        limit = time.monotonic() - self._idle_s
        for key, entry in list(self._open.items()):
            if entry.users == 0 and entry.used_at < limit:
                await self.discard(key)

    async def close(self) -> None:
        """Close all; one that fails to close does not keep the others open."""
        entries = list(self._open.values())
        self._open.clear()
        await asyncio.gather(*(entry.close() for entry in entries), return_exceptions=True)

    async def open(self, key: ClientKey, platform: Platform[Any, Any], connection: Connection, scope: Scope) -> _Open:
        """Return the open client of a connection, opening it when there is none."""
        entry = self._open.get(key)
        if entry is not None:
            return entry
        lock = self._opening.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                entry = self._open.get(key)
                if entry is None:
                    account = platform.account(connection)
                    budget = self._budgets.of(platform.name, account, platform.quotas)
                    http = Http(budget=budget, errors=platform.errors)
                    manager = platform.open(connection, self._secrets.bind(secret_refs(connection), scope), http)
                    entry = _Open(manager=manager, http=http, client=await manager.__aenter__())
                    self._open[key] = entry
                return entry
        finally:
            self._opening.pop(key, None)


class Lease:
    """The use of a client by one call."""

    __slots__ = ("_clients", "_entry", "_request")

    def __init__(
        self, clients: Clients, key: ClientKey, platform: Platform[Any, Any], connection: Connection, scope: Scope
    ) -> None:
        self._clients = clients
        self._request = (key, platform, connection, scope)
        self._entry: _Open | None = None

    async def __aenter__(self) -> Any:
        self._entry = self._clients.find(self._request[0]) or await self._clients.open(*self._request)
        self._entry.users += 1
        return self._entry.client

    async def __aexit__(self, *_: object) -> None:
        entry = self._entry
        if entry is None:
            return
        entry.users -= 1
        entry.used_at = time.monotonic()
        if entry.is_stale and entry.users == 0:
            await entry.close()
