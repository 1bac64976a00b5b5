"""Calls to agents with a client and a context: about a request that is being submitted, or about a job that lives.

This is where the parts meet: the client of the connection, the budget of the account, the deadline, the secrets, the
labels. A call whose credentials were refused is repeated once with a client that is opened anew, since secrets are
rotated while jobs run; one that may have taken effect is not. What came of each call is told to the accounts, and "slow
down" to the budget. While a call runs, its platform calls know it by `CURRENT_CALL`: that is where their order and their
deadline come from.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from outboard.agent.agents import Agent
from outboard.agent.context import AccountContext, Context
from outboard.agent.jobs import JobRef
from outboard.agent.platform_calls import CallTrace
from outboard.agent.spending import CURRENT_CALL, STATUS_QUESTIONS, AgentCall, Spending
from outboard.errors import OutboardError, Sent, Throttled, Unauthorized, Unavailable
from outboard.host.accounts import Accounts
from outboard.host.budgets.budgets import guard
from outboard.host.clients import Clients, OpenClient
from outboard.host.invocation import Invoker
from outboard.host.jobs import LiveJob
from outboard.host.logs import handle_fields, task_fields
from outboard.host.platform_call_metrics import expose
from outboard.host.requests import Request
from outboard.host.secrets import BoundSecrets
from outboard.host.tracing import Facts, Tracing

_EFFECTIVE: Final = ("create", "do")
_NO_OPTIONS: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class _Call:
    """A method that is to be called.

    Attributes:
        begin_by: When it must have begun, in monotonic time; at the latest with the context's deadline.
    """

    agent: Agent
    method: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    context: AccountContext[Any]
    begin_by: float

    @property
    def left_s(self) -> float:
        """For how long it may still begin."""
        return self.begin_by - time.monotonic()


class Calls:
    """Builds contexts and runs agents' methods with them.

    Attributes:
        tracing: What makes spans; None where tracing is off.
    """

    def __init__(self, clients: Clients, invoker: Invoker, accounts: Accounts, tracing: Tracing | None = None) -> None:
        self._clients = clients
        self.tracing = tracing
        self._invoker = invoker
        self._accounts = accounts
        expose()

    def status_wait_s(self, live: LiveJob) -> float:
        """Return about how long a status call about the job would wait for its account's budget; 0 when nobody knows."""
        client = self._clients.find(live.client_key)
        return 0.0 if client is None else client.budget.status_wait_s(live.agent.name)

    async def about_request(
        self,
        request: Request,
        method: str,
        *args: Any,
        timeout_s: float,
        begins_within_s: float = float("inf"),
        late: Callable[[Any], None] | None = None,
    ) -> Any:
        """Call `method` with `args` and the request's context.

        Args:
            request: What the call is about.
            method: Of the request's agent.
            args: Come before the context.
            timeout_s: For all of it.
            begins_within_s: How long it may wait for the client and the secrets; if it takes them longer, nothing is called.
            late: See `Invoker.invoke`.
        """
        now = time.monotonic()
        deadline, begin_by = now + timeout_s, now + min(timeout_s, begins_within_s)
        agent, connection, scope = request.agent, request.connection, request.task.scope
        client = self._clients.find(request.client_key) or await self._clients.open(
            request.client_key,
            agent.platform,
            connection,
            scope,
            begin_by - now,
            request.secrets.provided,
            request.task.type,
        )
        if request.secrets.is_remote:
            await request.secrets.fetch(begin_by - time.monotonic())
        context = Context(
            client=client.value,
            connection=connection,
            account=request.account,
            log=request.log,
            deadline=deadline,
            budget=client.budget,
            key=request.key,
            scope=scope,
            output_prefix=request.task.output_prefix,
            secrets=request.secrets,
            labels=request.labels,
            identity=request.task.identity,
            provided=request.secrets.provided,
        )
        options = _NO_OPTIONS if late is None else {"late": late}
        call = _Call(agent, method, args, options, context, begin_by)
        return await self._made(call, client, lambda: task_fields(request.task))

    async def about_job(self, live: LiveJob, method: str, *args: Any, timeout_s: float, **options: Any) -> Any:
        """Call `method` with `args` and the job's context."""
        deadline = time.monotonic() + timeout_s
        handle = live.handle
        client = self._clients.find(live.client_key) or await self._opened(live, timeout_s)
        if live.secrets.is_remote:
            await live.secrets.fetch(deadline - time.monotonic())
        context = Context(
            client=client.value,
            connection=live.connection,
            account=handle.account,
            log=live.log,
            deadline=deadline,
            budget=client.budget,
            key=handle.key,
            scope=handle.scope,
            output_prefix=handle.output_prefix,
            secrets=live.secrets,
            last_status=live.last,
            provided=live.secrets.provided,
        )
        call = _Call(live.agent, method, args, options, context, deadline)
        return await self._made(call, client, lambda: handle_fields(live.handle))

    async def about_account(self, live: LiveJob, method: str, *args: Any, timeout_s: float) -> Any:
        """Call `method` with `args` and the context of the job's account."""
        deadline = time.monotonic() + timeout_s
        client = self._clients.find(live.client_key) or await self._opened(live, timeout_s)
        context = AccountContext(
            client=client.value,
            connection=live.connection,
            account=live.handle.account,
            log=live.log,
            deadline=deadline,
            budget=client.budget,
        )
        return await self._made(_Call(live.agent, method, args, _NO_OPTIONS, context, deadline), client, dict)

    async def _opened(self, live: LiveJob, timeout_s: float) -> OpenClient:
        handle = live.handle
        return await self._clients.open(
            live.client_key,
            live.agent.platform,
            live.connection,
            handle.scope,
            timeout_s,
            live.secrets.provided,
            handle.task_type,
        )

    def _made(self, call: _Call, client: OpenClient, facts: Facts) -> Awaitable[Any]:
        """Return a call that is under way, in a span of its own where calls are traced."""
        return self._run(call, client) if self.tracing is None else self._traced(self.tracing, call, client, facts)

    async def _traced(self, tracing: Tracing, call: _Call, client: OpenClient, facts: Facts) -> Any:
        with tracing.agent_call(call.agent.name, call.method, facts, _job_ids(call.method, call.args)) as span:
            return await self._run(call, client, span)

    async def _run(self, call: _Call, client: OpenClient, trace: CallTrace | None = None) -> Any:
        agent, method, context = call.agent, call.method, call.context
        is_repeated = False
        while True:
            client.users += 1
            running = AgentCall(agent.name, method, context.deadline)
            running.trace = trace
            token = CURRENT_CALL.set(running)
            try:
                if client.budget.guarded and method in client.budget.guarded:
                    async with Spending(client.budget, guard(method), call.left_s, makes_call=False):
                        running.spent = ""
                if method in _EFFECTIVE and call.left_s <= 0:
                    # Opening the client took all of it, or this process was suspended: others may be at it by now.
                    raise Unavailable(f"no time was left for {method}; nothing was sent", sent=Sent.NO)
                answer = await self._invoker.invoke(
                    agent, method, *call.args, context, timeout_s=context.timeout_s, **call.options
                )
            except OutboardError as error:
                self._accounts.failed(client.account, error)
                if isinstance(error, Throttled):
                    client.budget.call_failed(running, error)
                is_safe = isinstance(error, Unauthorized) and (error.sent is Sent.NO or method not in _EFFECTIVE)
                if is_repeated or not is_safe or not self._clients.refuse(client):
                    raise
            else:
                self._note(running, client, answer)
                # An agent that asks for each job by itself answers what it met for each: nothing but refused logins is one.
                if is_repeated or not _is_refused(answer) or not self._clients.refuse(client):
                    return answer
            finally:
                running.is_over = True
                CURRENT_CALL.reset(token)
                self._clients.release(client)
            is_repeated, refused_at = True, time.monotonic()
            client = await self._clients.reopen(client, call.left_s)
            if isinstance(context, Context) and isinstance(context.secrets, BoundSecrets) and context.secrets.is_remote:
                await context.secrets.fetch(call.left_s, asked_after=refused_at)
            context.client, context.budget = client.value, client.budget

    def _note(self, call: AgentCall, client: OpenClient, answer: object) -> None:
        if call.method == "get_many" and isinstance(answer, dict):
            failures = [each for each in answer.values() if isinstance(each, OutboardError)]
            throttled = next((each for each in failures if isinstance(each, Throttled)), None)
            if throttled is not None:
                client.budget.call_failed(call, throttled)
            if failures and len(failures) == len(answer):
                # Nothing but errors came back; agents may ask for each job by itself.
                self._accounts.failed(client.account, failures[-1])
                return
        self._accounts.answered(client.account)


def _job_ids(method: str, args: tuple[Any, ...]) -> list[str]:
    """Return the ids of the jobs that a status question asks about."""
    if method not in STATUS_QUESTIONS or not args:
        return []
    jobs = args[0] if isinstance(args[0], list) else [args[0]]
    return [str(job.id) for job in jobs if isinstance(job, JobRef)]


def _is_refused(answer: object) -> bool:
    """Tell whether `get_many` met nothing but refused logins."""
    return isinstance(answer, dict) and bool(answer) and all(isinstance(each, Unauthorized) for each in answer.values())
