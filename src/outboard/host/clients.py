"""Clients: opened once per connection, shared by all its jobs, closed when idle or refused.

The key is the platform, the connection and, where the connection's secrets belong to a project, the scope: two
projects never share a client that was opened with one project's credentials. Where the engine provided such secrets
itself (Flyte 2), a digest of these belongs to it as well. Where the operator's rules or stores tell projects apart, it is never
shared between them at all.

A client that was opened with a value of limited lifetime is replaced before that ends, and one whose credentials were refused
at once, with secrets that its stores are asked for anew, past what is remembered of them.

Each client has a keeper, a task that enters the platform's context manager, holds it open and leaves it again: some
libraries insist that one task does both. Whoever needs the client waits for the keeper as long as its own deadline
allows; a caller that gives up does not stop the opening, or a login slower than a poll would never succeed. An opening
that fails is not kept, and the accounts are told of it once, however many wait for it. A client whose credentials were
refused is handed out no more and closes with its last user.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from outboard.agent.http import Http
from outboard.agent.jobs import Connection
from outboard.agent.platform import Platform
from outboard.agent.spending import CURRENT_CALL, AgentCall
from outboard.domain.egress import Egress
from outboard.domain.identity import Scope
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.secret_refs import SecretRef, SecretScope
from outboard.errors import AgentError, AgentFault, OutboardError, Sent, Unavailable
from outboard.host.accounts import AccountKey, Accounts
from outboard.host.budgets.budgets import AccountBudget, Budgets
from outboard.host.invocation import deadline
from outboard.host.logs import TaskLog
from outboard.host.secrets import SecretSource
from outboard.host.tracing import Tracing
from outboard.host.words import Words

ClientKey = tuple[str, str, Scope | None, str, str]
_OPENING_S: Final = 60.0
_CLOSING_S: Final = 10.0
_SWEEP_S: Final = 60.0
_REFUSALS_APART_S: Final = 10.0
_ACCOUNT_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Opening:
    """What a client is opened with."""

    platform: Platform[Any, Any]
    connection: Connection
    scope: Scope
    provided: Provided
    task_type: str


class OpenClient:
    """A client and who uses it."""

    __slots__ = (
        "account", "budget", "http", "is_stale", "keeper", "key", "opening", "ready", "renew_at", "stop", "used_at", "users",
        "value",
    )  # fmt: skip

    def __init__(
        self, key: ClientKey, opening: Opening, account: AccountKey, http: Http, budget: AccountBudget
    ) -> None:
        self.key = key
        self.opening = opening
        self.account = account
        self.http = http
        self.budget = budget
        self.value: Any = None
        self.users = 0
        self.used_at = time.monotonic()
        self.is_stale = False
        self.renew_at = float("inf")
        self.stop = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self.keeper: asyncio.Task[None] | None = None


def client_key(
    platform: Platform[Any, Any],
    connection: Connection,
    scope: Scope,
    provided: Provided = NOTHING,
    tenant: str = "",
) -> ClientKey:
    """Return what two calls must share to share a client; for `tenant` see `BoundSecrets`."""
    refs = secret_refs(connection)
    is_scoped = any(ref.scope is SecretScope.PROJECT for ref in refs)
    credentials = provided.digest(frozenset(ref.key for ref in refs)) if provided else ""
    by_whom = scope if is_scoped else None
    return platform.name, json.dumps(connection.to_json(), sort_keys=True), by_whom, credentials, tenant if refs else ""


def secret_refs(connection: Connection) -> list[SecretRef]:
    """Return the secrets that a connection refers to, at any depth."""
    return list(_refs(connection))


def _refs(value: object) -> Iterator[SecretRef]:
    if isinstance(value, SecretRef):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _refs(getattr(value, name))
    elif isinstance(value, (tuple, frozenset)):
        for each in value:
            yield from _refs(each)


class Clients:
    """The open clients of a host.

    Args:
        secrets: Where their secrets are.
        budgets: What they spend.
        words: Makes the platforms' words fit to be shown.
        idle_s: When one that nobody uses is closed.
        accounts: Are told of those that cannot be opened.
        opened: Called in the event loop before the first is opened.
        egress: What addresses that tasks choose may reach.
        tracing: What makes spans; None where tracing is off.
    """

    def __init__(
        self,
        secrets: SecretSource,
        budgets: Budgets,
        words: Words,
        idle_s: float,
        accounts: Accounts,
        opened: Callable[[], None] = lambda: None,
        egress: Egress | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._opened = opened
        self._egress = egress
        self._tracing = tracing
        self._secrets = secrets
        self._budgets = budgets
        self._words = words
        self._idle_s = idle_s
        self._accounts = accounts
        self._ready: dict[ClientKey, OpenClient] = {}
        self._opening: dict[ClientKey, OpenClient] = {}
        self._keepers: set[asyncio.Task[None]] = set()
        self._refused_at: dict[ClientKey, float] = {}
        self._sweeper: asyncio.Task[None] | None = None

    def find(self, key: ClientKey) -> OpenClient | None:
        """Return the open client of a connection, if there is one."""
        client = self._ready.get(key)
        if client is not None and time.monotonic() >= client.renew_at:
            self._retire(client)
            return None
        return client

    async def open(
        self,
        key: ClientKey,
        platform: Platform[Any, Any],
        connection: Connection,
        scope: Scope,
        timeout_s: float,
        provided: Provided = NOTHING,
        task_type: str = "",
    ) -> OpenClient:
        """Return the open client of a connection, opening it when there is none.

        Raises:
            AgentError: It cannot be opened, or not within `timeout_s`; nothing was sent.
            MissingSecret: It needs a secret that is nowhere.
        """
        return await self._open(key, Opening(platform, connection, scope, provided, task_type), timeout_s)

    async def reopen(self, client: OpenClient, timeout_s: float) -> OpenClient:
        """Return the client that took the place of a refused one, opening it when there is none; raises as `open` does."""
        return await self._open(client.key, client.opening, timeout_s)

    async def _open(self, key: ClientKey, opening: Opening, timeout_s: float) -> OpenClient:
        give_up = time.monotonic() + timeout_s
        while True:
            client = self.find(key)
            if client is not None:
                return client
            client = self._opening.get(key) or self._start(key, opening)
            await asyncio.wait({client.ready}, timeout=max(0.0, give_up - time.monotonic()))
            if not client.ready.done():
                raise Unavailable(
                    f"the connection to {opening.platform.name} was not open after {timeout_s:g} s; it is still being opened",
                    sent=Sent.NO,
                )
            client.ready.result()
            if not client.is_stale:
                return client

    def release(self, client: OpenClient) -> None:
        """End one use of a client."""
        client.users -= 1
        client.used_at = time.monotonic()
        if client.is_stale and client.users == 0:
            client.stop.set()

    def refuse(self, client: OpenClient) -> bool:
        """Stop handing out a client whose credentials were refused; tell whether another one is worth a try.

        Rotated secrets are found so. Where the new ones are refused as well, opening again at every poll would only
        add logins to the trouble: it is tried once in a while.
        """
        if client.is_stale:
            return True  # another call found out first
        now = time.monotonic()
        if now - self._refused_at.get(client.key, -_REFUSALS_APART_S) < _REFUSALS_APART_S:
            return False
        self._refused_at[client.key] = now
        self._retire(client)
        return True

    def close_idle(self) -> None:
        """Close what nobody used for the idle time."""
        now = time.monotonic()
        for client in list(self._ready.values()):
            if client.users == 0 and now - client.used_at > self._idle_s:
                self._retire(client)
        self._refused_at = {k: at for k, at in self._refused_at.items() if now - at < _REFUSALS_APART_S}

    async def close(self) -> None:
        """Close all, each within a time limit; one that fails to close does not keep the others open."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for client in (*self._ready.values(), *self._opening.values()):
            client.is_stale = True
            client.stop.set()
            if not client.ready.done() and client.keeper is not None:
                client.keeper.cancel()
        self._ready.clear()
        if self._keepers:
            await asyncio.wait(self._keepers, timeout=_CLOSING_S + 1)
        for keeper in self._keepers:
            keeper.cancel()

    def _start(self, key: ClientKey, opening: Opening) -> OpenClient:
        if self._sweeper is None:
            self._sweeper = asyncio.ensure_future(self._sweep())
            self._opened()
        platform = opening.platform
        try:
            account = platform.account(opening.connection)
        except Exception as error:
            raise self._classified(platform, error) from error
        account = str(account)[:_ACCOUNT_CHARACTERS]
        by_whom = json.dumps(key[1:], default=str)
        budget = self._budgets.of(platform.name, account, platform.quotas, connection=by_whom, errors=platform.errors)
        http = Http(budget=budget, errors=platform.errors, egress=self._egress)
        client = OpenClient(key, opening, (platform.name, account), http, budget)
        keeper = asyncio.ensure_future(self._keep(client))
        client.keeper = keeper
        self._opening[key] = client
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)
        return client

    def _retire(self, client: OpenClient) -> None:
        if self._ready.get(client.key) is client:
            del self._ready[client.key]
        client.is_stale = True
        if client.users == 0:
            client.stop.set()

    async def _keep(self, client: OpenClient) -> None:
        platform, connection = client.opening.platform, client.opening.connection
        log = TaskLog(self._words.text, platform=platform.name)
        # The keeper is a task of its own, and so is its context: what it sets is nobody else's.
        call = AgentCall(platform.name, "open", time.monotonic() + _OPENING_S)
        CURRENT_CALL.set(call)
        try:
            opening = client.opening
            secrets = self._secrets.bind(secret_refs(connection), opening.scope, opening.provided, opening.task_type)
            if secrets.is_remote:
                await secrets.fetch(_OPENING_S, asked_after=self._refused_at.get(client.key))
                client.renew_at = max(secrets.renew_at, time.monotonic() + _REFUSALS_APART_S)
            manager = platform.open(connection, secrets, client.http)
            client.value = await self._traced(manager, call)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for it
            classified = self._classified(platform, error)
            if not isinstance(error, asyncio.CancelledError):
                self._accounts.failed(client.account, classified)
            client.ready.set_exception(classified)
            await self._quietly(client.http.close(), log)
            return
        finally:
            call.is_over = True
            del self._opening[client.key]
        if not client.is_stale:
            self._ready[client.key] = client
        client.ready.set_result(None)
        await client.stop.wait()
        await self._quietly(manager.__aexit__(None, None, None), log)
        await self._quietly(client.http.close(), log)

    async def _traced(self, manager: AbstractAsyncContextManager[Any], call: AgentCall) -> Any:
        """Return what a platform opens, in a span of its own where tracing is on."""
        if self._tracing is None:
            return await self._entered(manager, call)
        with self._tracing.agent_call(call.agent, call.method, dict) as call.trace:
            return await self._entered(manager, call)

    async def _entered(self, manager: AbstractAsyncContextManager[Any], call: AgentCall) -> Any:
        """Return what a platform opens; that we wait no longer is told as ours, and its own time-outs as its own."""
        try:
            async with deadline(_OPENING_S):
                return await manager.__aenter__()
        except (asyncio.TimeoutError, TimeoutError):
            if time.monotonic() < call.deadline:
                raise
            words = f"the connection to {call.agent} was not open after {_OPENING_S:g} s; see what its login waits for"
            raise Unavailable(words, sent=Sent.NO) from None

    def _classified(self, platform: Platform[Any, Any], error: BaseException) -> OutboardError:
        if isinstance(error, asyncio.CancelledError):
            return Unavailable(f"the connection to {platform.name} was given up; ask another replica", sent=Sent.NO)
        if isinstance(error, Exception):
            classified = self._words.own(platform.errors.classify(error))
        else:
            classified = AgentFault(f"platform {platform.name} raised {type(error).__name__} while it was opened")
        if isinstance(classified, AgentError):
            classified.sent = Sent.NO
        if classified is not error:
            classified.__cause__ = error
        return classified

    async def _quietly(self, closing: Any, log: TaskLog) -> None:
        """Await the end of something; that it fails is no reason to lose what was done with it."""
        try:
            async with deadline(_CLOSING_S):
                await closing
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - see above
            log.warning("client not closed properly", error=type(error).__name__)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.close_idle()
