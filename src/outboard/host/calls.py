"""Calls to agents with a client and a context: about a request that is being submitted, or about a job that lives.

This is where the parts meet: the client of the connection, the budget of the account, the deadline, the secrets, the
labels.
"""

from __future__ import annotations

import time
from typing import Any

from outboard.agent.agents import Agent
from outboard.agent.context import AccountContext, Budget, Context
from outboard.errors import AgentError, OutboardError, Sent
from outboard.host.budgets import Budgets
from outboard.host.clients import ClientKey, Clients
from outboard.host.invocation import Invoker
from outboard.host.jobs import LiveJob
from outboard.host.requests import Request


class Calls:
    """Builds contexts and runs agents' methods with them."""

    def __init__(self, clients: Clients, budgets: Budgets, invoker: Invoker) -> None:
        self._clients = clients
        self._budgets = budgets
        self._invoker = invoker

    async def about_request(self, request: Request, method: str, *args: Any, timeout_s: float) -> Any:
        """Call `method` with `args` and the request's context."""
        deadline = time.monotonic() + timeout_s
        agent = request.agent
        async with self._lease(agent, request.client_key, request.connection, request.task.scope) as client:
            context = Context(
                client=client,
                account=request.account,
                log=request.log,
                deadline=deadline,
                budget=self._budget(agent, request.account),
                key=request.key,
                scope=request.task.scope,
                output_prefix=request.task.output_prefix,
                secrets=request.secrets,
                labels=request.labels,
                identity=request.task.identity,
                environment=request.task.environment,
            )
            return await self._invoker.invoke(agent, method, *args, context, timeout_s=timeout_s)

    async def about_job(self, live: LiveJob, method: str, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
        """Call `method` with `args` and the job's context."""
        deadline = time.monotonic() + timeout_s
        agent, handle = live.agent, live.handle
        async with self._lease(agent, live.client_key, live.connection, handle.scope) as client:
            context = Context(
                client=client,
                account=handle.account,
                log=live.log,
                deadline=deadline,
                budget=self._budget(agent, handle.account),
                key=handle.key,
                scope=handle.scope,
                output_prefix=handle.output_prefix,
                secrets=live.secrets,
                last_status=live.last,
            )
            return await self._invoker.invoke(agent, method, *args, context, timeout_s=timeout_s, **kwargs)

    async def about_account(self, live: LiveJob, method: str, *args: Any, timeout_s: float) -> Any:
        """Call `method` with `args` and the context of the job's account."""
        deadline = time.monotonic() + timeout_s
        agent, account = live.agent, live.handle.account
        async with self._lease(agent, live.client_key, live.connection, live.handle.scope) as client:
            context = AccountContext(
                client=client, account=account, log=live.log, deadline=deadline, budget=self._budget(agent, account)
            )
            return await self._invoker.invoke(agent, method, *args, context, timeout_s=timeout_s)

    async def reopen(self, key: ClientKey) -> None:
        """Open a connection's client anew at its next use."""
        await self._clients.discard(key)

    def _lease(self, agent: Agent, key: ClientKey, connection: Any, scope: Any) -> _ClassifiedLease:
        return _ClassifiedLease(self._clients, key, agent, connection, scope)

    def _budget(self, agent: Agent, account: str) -> Budget:
        return self._budgets.of(agent.platform.name, account, agent.platform.quotas)


class _ClassifiedLease:
    """A lease whose opening errors are classified by the platform's error map; nothing was sent yet."""

    __slots__ = ("_agent", "_lease")

    def __init__(self, clients: Clients, key: ClientKey, agent: Agent, connection: Any, scope: Any) -> None:
        self._agent = agent
        self._lease = clients.lease(key, agent.platform, connection, scope)

    async def __aenter__(self) -> Any:
        try:
            return await self._lease.__aenter__()
        except OutboardError:
            raise
        except Exception as error:
            classified = self._agent.platform.errors.classify(error)
            if isinstance(classified, AgentError):
                classified.sent = Sent.NO
            raise classified from error

    async def __aexit__(self, *error: object) -> None:
        await self._lease.__aexit__(*error)
