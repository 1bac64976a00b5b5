"""Calls to agents with a client and a context: about a request that is being submitted, or about a job that lives.

This is where the parts meet: the client of the connection, the budget of the account, the deadline, the secrets, the
labels. A call whose credentials were refused is repeated once with a client that is opened anew, since secrets are
rotated while jobs run; one that may have taken effect is not. What came of each call is told to the accounts, and "slow
down" to the budget. While a call runs, its platform calls know it by `CURRENT_CALL`: that is where their order and their
deadline come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
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
        late: Callable[[Any], None] | None = None,
    ) -> Any:
        """Call `method` with `args` and the request's context; for `late` see `Invoker.invoke`."""
        deadline = time.monotonic() + timeout_s
        agent, connection, scope = request.agent, request.connection, request.task.scope
        client = self._clients.find(request.client_key) or await self._clients.open(
            request.client_key,
            agent.platform,
            connection,
            scope,
            timeout_s,
            request.secrets.provided,
            request.task.type,
        )
        if request.secrets.is_remote:
            await request.secrets.fetch(deadline - time.monotonic())
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
        run = partial(self._run, agent, client, method, args, options, context)
        return await (run() if self.tracing is None else _traced(self.tracing, run, lambda: task_fields(request.task)))

    async def about_job(self, live: LiveJob, method: str, *args: Any, timeout_s: float, **options: Any) -> Any:
        """Call `method` with `args` and the job's context."""
        deadline = time.monotonic() + timeout_s
        agent, handle = live.agent, live.handle
        client = self._clients.find(live.client_key) or await self._clients.open(
            live.client_key,
            agent.platform,
            live.connection,
            handle.scope,
            timeout_s,
            live.secrets.provided,
            handle.task_type,
        )
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
        run = partial(self._run, agent, client, method, args, options, context)
        return await (run() if self.tracing is None else _traced(self.tracing, run, lambda: handle_fields(live.handle)))

    async def about_account(self, live: LiveJob, method: str, *args: Any, timeout_s: float) -> Any:
        """Call `method` with `args` and the context of the job's account."""
        deadline = time.monotonic() + timeout_s
        agent, handle = live.agent, live.handle
        client = self._clients.find(live.client_key) or await self._clients.open(
            live.client_key,
            agent.platform,
            live.connection,
            handle.scope,
            timeout_s,
            live.secrets.provided,
            handle.task_type,
        )
        context = AccountContext(
            client=client.value,
            connection=live.connection,
            account=handle.account,
            log=live.log,
            deadline=deadline,
            budget=client.budget,
        )
        run = partial(self._run, agent, client, method, args, _NO_OPTIONS, context)
        return await (run() if self.tracing is None else _traced(self.tracing, run, dict))

    async def _run(
        self,
        agent: Agent,
        client: OpenClient,
        method: str,
        args: tuple[Any, ...],
        options: Mapping[str, Any],
        context: AccountContext[Any],
        trace: CallTrace | None = None,
    ) -> Any:
        is_repeated = False
        while True:
            client.users += 1
            call = AgentCall(agent.name, method, context.deadline)
            call.trace = trace
            token = CURRENT_CALL.set(call)
            try:
                if client.budget.guarded and method in client.budget.guarded:
                    async with Spending(client.budget, guard(method), context.timeout_s, makes_call=False):
                        call.spent = ""
                if method in _EFFECTIVE and context.timeout_s <= 0:
                    # Opening the client took all of it, or this process was suspended: others may be at it by now.
                    raise Unavailable(f"no time was left for {method}; nothing was sent", sent=Sent.NO)
                answer = await self._invoker.invoke(
                    agent, method, *args, context, timeout_s=context.timeout_s, **options
                )
            except OutboardError as error:
                self._accounts.failed(client.account, error)
                if isinstance(error, Throttled):
                    client.budget.call_failed(call, error)
                is_safe = isinstance(error, Unauthorized) and (error.sent is Sent.NO or method not in _EFFECTIVE)
                if is_repeated or not is_safe or not self._clients.refuse(client):
                    raise
            else:
                self._note(call, client, answer)
                # An agent that asks for each job by itself answers what it met for each: nothing but refused logins is one.
                if is_repeated or not _is_refused(answer) or not self._clients.refuse(client):
                    return answer
            finally:
                call.is_over = True
                CURRENT_CALL.reset(token)
                self._clients.release(client)
            is_repeated, refused_at = True, time.monotonic()
            client = await self._clients.reopen(client, context.timeout_s)
            if isinstance(context, Context) and isinstance(context.secrets, BoundSecrets) and context.secrets.is_remote:
                await context.secrets.fetch(context.timeout_s, asked_after=refused_at)
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


async def _traced(tracing: Tracing, run: partial[Any], facts: Facts) -> Any:
    """Make a call in a span of its own."""
    agent, _, method, args, *_ = run.args
    with tracing.agent_call(agent.name, method, facts, _job_ids(method, args)) as span:
        return await run(trace=span)


def _job_ids(method: str, args: tuple[Any, ...]) -> list[str]:
    """Return the ids of the jobs that a status question asks about."""
    if method not in STATUS_QUESTIONS or not args:
        return []
    jobs = args[0] if isinstance(args[0], list) else [args[0]]
    return [str(job.id) for job in jobs if isinstance(job, JobRef)]


def _is_refused(answer: object) -> bool:
    """Tell whether `get_many` met nothing but refused logins."""
    return isinstance(answer, dict) and bool(answer) and all(isinstance(each, Unauthorized) for each in answer.values())
