"""Pings: whether a platform answers and takes our credentials, asked on purpose.

Everything else that is known of accounts (see `accounts`) comes from calls that tasks needed. A ping is the one call that is
made to find out: the platform's own `ping`, with the client, the budget and the secrets that a job of the connection would
have, and within a time limit whatever the platform does. What comes of it is told to the accounts as of any call.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from outboard.agent.context import AccountContext
from outboard.agent.jobs import Connection
from outboard.agent.platform import Platform
from outboard.agent.spending import CURRENT_CALL, AgentCall
from outboard.domain.identity import Scope
from outboard.errors import AgentFault, OutboardError, Unavailable
from outboard.host.accounts import Accounts
from outboard.host.clients import Clients, OpenClient, client_key
from outboard.host.invocation import deadline, is_cancelled
from outboard.host.logs import TaskLog
from outboard.host.pools import WorkerPool
from outboard.host.secrets import SecretSource
from outboard.host.words import Words

_WORDS_CHARACTERS: Final = 256
_THREADS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """What came of one ping.

    Attributes:
        account: What the platform counts quota by; empty where no client could be opened.
        words: What the platform found, without secrets; empty where it failed.
        error: Why it failed.
        seconds: How long it took, opening the client included.
        clock_skew: How far the platform's clock is ahead of ours; None where it does not say.
    """

    platform: str
    account: str = ""
    words: str = ""
    error: OutboardError | None = None
    seconds: float = 0.0
    clock_skew: timedelta | None = None


class Pings:
    """Pings platforms.

    Args:
        clients: Opens them.
        source: Where secrets are.
        accounts: Are told what came of it.
        words: Makes the platforms' words fit to be shown.
    """

    def __init__(self, clients: Clients, source: SecretSource, accounts: Accounts, words: Words) -> None:
        self._clients = clients
        self._source = source
        self._accounts = accounts
        self._words = words
        self._pools: dict[str, WorkerPool] = {}

    async def ping(
        self, platform: Platform[Any, Any], connection: Connection, *, scope: Scope, timeout_s: float
    ) -> Ping:
        """Return what comes of a platform's ping; never raises, and never takes longer than `timeout_s`."""
        began = time.monotonic()
        client: OpenClient | None = None
        words: object = ""
        failure: OutboardError | None = None
        try:
            async with deadline(timeout_s):
                key = client_key(platform, connection, scope, tenant=self._source.tenant(scope, ""))
                client = await self._clients.open(key, platform, connection, scope, timeout_s)
                words = await self._ask(client, platform, connection, began + timeout_s)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            failure = self._classified(platform, error, timeout_s)  # a platform raised it by itself
        except BaseException as error:  # noqa: BLE001 - whatever a platform's code raises is its answer
            failure = self._classified(platform, error, timeout_s)
        if client is not None and failure is not None:
            self._accounts.failed(client.account, failure)
        elif client is not None:
            self._accounts.answered(client.account)
        return Ping(
            platform=platform.name,
            account=self._words.text(client.account[1], _WORDS_CHARACTERS) if client is not None else "",
            words=self._words.text(words, _WORDS_CHARACTERS),
            error=failure,
            seconds=time.monotonic() - began,
            clock_skew=client.http.clock_skew if client is not None else None,
        )

    def close(self) -> None:
        """End the idle threads."""
        for pool in self._pools.values():
            pool.close()

    async def _ask(
        self, client: OpenClient, platform: Platform[Any, Any], connection: Connection, give_up: float
    ) -> object:
        account = client.account[1]
        context: AccountContext[Any] = AccountContext(
            client=client.value,
            connection=connection,
            account=account,
            log=TaskLog(self._words.text, platform=platform.name, account=account),
            deadline=give_up,
            budget=client.budget,
        )
        call = AgentCall(platform.name, "ping", give_up)
        client.users += 1
        token = CURRENT_CALL.set(call)
        try:
            if inspect.iscoroutinefunction(platform.ping):
                return await platform.ping(context)
            found = await self._pool(platform).run(_InThread(platform, context, call), None)
            return await found if inspect.isawaitable(found) else found
        finally:
            call.is_over = True
            CURRENT_CALL.reset(token)
            self._clients.release(client)

    def _pool(self, platform: Platform[Any, Any]) -> WorkerPool:
        pool = self._pools.get(platform.name)
        if pool is None:
            pool = self._pools[platform.name] = WorkerPool(f"{platform.name}-ping", _THREADS)
        return pool

    def _classified(self, platform: Platform[Any, Any], error: BaseException, timeout_s: float) -> OutboardError:
        if isinstance(error, OutboardError):
            return self._words.own(error)
        if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
            words = self._words.text(error) or f"{platform.name} did not answer within {timeout_s:g} s"
            return Unavailable(words)
        if isinstance(error, Exception):
            return self._words.own(platform.errors.classify(error))
        return AgentFault(f"platform {platform.name} raised {type(error).__name__} in ping; its author must mend it")


class _InThread:
    """A plain `ping`, made in a thread as part of the call that it was made in."""

    __slots__ = ("_call", "_context", "_platform")

    def __init__(self, platform: Platform[Any, Any], context: AccountContext[Any], call: AgentCall) -> None:
        self._platform = platform
        self._context = context
        self._call = call

    def __call__(self) -> object:
        token = CURRENT_CALL.set(self._call)
        try:
            return self._platform.ping(self._context)
        finally:
            CURRENT_CALL.reset(token)
