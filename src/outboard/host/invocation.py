"""Calling agents: the one place where agent code runs.

An async method is awaited, a plain one runs in its agent's pool. Whatever it raises becomes an error of our tree
through the platform's error map, its message without secrets; `SystemExit` in a coroutine would end the event loop and
with it every other agent, so it is caught too. Pure methods (`connection`, `links`, `judge`) are called where they are
needed, under `blamed`. Every synchronous step of an agent's code is timed (see `agent_time`), so that whoever keeps the loop
is known by name. A thread gets the call that it belongs to (`CURRENT_CALL`) handed over; a coroutine sees it anyway.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

from typing_extensions import Self

from outboard.agent.agents import Agent
from outboard.agent.spending import CURRENT_CALL, AgentCall
from outboard.errors import AgentFault, OutboardError, Unavailable
from outboard.host.agent_time import Step
from outboard.host.pools import WorkerPool
from outboard.host.words import Words

if sys.version_info >= (3, 11):
    from asyncio import timeout as deadline
else:
    from async_timeout import timeout as deadline

__all__ = ["Invoker", "blamed", "deadline", "is_cancelled"]


class Invoker:
    """Runs methods of agents, with a time limit, and translates what they raise."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._pools: dict[str, WorkerPool] = {}

    async def invoke(
        self,
        agent: Agent,
        method: str,
        *args: Any,
        timeout_s: float,
        late: Callable[[Any], None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call `agent.method(*args, **kwargs)` and return its result.

        Args:
            agent: Whose method.
            method: Its name.
            args: What it gets.
            timeout_s: When to give up waiting. A coroutine is cancelled then; a thread runs on.
            late: Gets the result of a thread that came back after everybody had given up.
            kwargs: What it gets by name.

        Raises:
            OutboardError: Whatever the method raised, classified; `Unavailable` when it took longer than `timeout_s`.
        """
        function = getattr(agent, method)
        try:
            if agent.is_blocking:
                async with deadline(timeout_s):
                    return await self._pool(agent).run(_InThread(function, *args, **kwargs), late)
            return await _run_within(function(*args, **kwargs), Step(agent.name, method), timeout_s)
        except OutboardError as error:
            self._words.own(error)
            raise
        except (asyncio.CancelledError, _CancelledItself) as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            raise AgentFault(f"agent {agent.name} cancelled its own call of {method}") from error
        except GeneratorExit:
            raise
        except (asyncio.TimeoutError, TimeoutError) as error:
            words = self._words.text(error) or f"agent {agent.name} took longer than {timeout_s:g} s in {method}"
            raise Unavailable(words) from error
        except Exception as error:
            raise self._words.own(agent.platform.errors.classify(error)) from error
        except BaseException as error:
            raise _fatal(agent, error) from error

    def close(self) -> None:
        """End the pools' idle threads."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, agent: Agent) -> WorkerPool:
        pool = self._pools.get(agent.name)
        if pool is None:
            pool = self._pools[agent.name] = WorkerPool(agent.name, agent.pool_size)
        return pool


class _InThread(partial[Any]):
    """A call for a thread, made as part of the agent's call that it was made in."""

    agent_call: AgentCall | None

    def __new__(cls, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Self:
        """Take note of the agent's call."""
        made = super().__new__(cls, function, *args, **kwargs)
        made.agent_call = CURRENT_CALL.get()
        return made

    def __call__(self) -> Any:
        call = self.agent_call
        token = CURRENT_CALL.set(call)
        try:
            if call is None or call.trace is None:
                return super().__call__()
            with call.trace.attached():
                return super().__call__()
        finally:
            CURRENT_CALL.reset(token)


class _CancelledItself(Exception):
    """An agent raised `CancelledError` although nobody had cancelled its call."""


class _Blame:
    """Times a pure method of an agent and translates what it raises."""

    __slots__ = ("_agent", "_method", "_step")

    def __init__(self, agent: Agent, method: str) -> None:
        self._agent = agent
        self._method = method
        self._step = Step(agent.name, method)

    def __enter__(self) -> None:
        self._step.__enter__()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._step.__exit__(kind, error, trace)
        if error is None or isinstance(error, OutboardError):
            return
        if isinstance(error, Exception):
            raise AgentFault(
                f"{self._method} of agent {self._agent.name} raised {type(error).__name__}; its author must mend it"
            ) from error
        raise _fatal(self._agent, error) from error


def blamed(agent: Agent, method: str) -> _Blame:
    """Turn whatever a pure method of an agent raises in this block into an `AgentFault`, errors of our tree apart."""
    return _Blame(agent, method)


def _fatal(agent: Agent, error: BaseException) -> AgentFault:
    # `SystemExit`, but also the panics of extensions written in Rust, which are no `Exception` on purpose.
    return AgentFault(f"agent {agent.name} raised {type(error).__name__}, which would end the process")


def is_cancelled() -> bool:
    """Tell whether somebody cancelled this call, rather than that the agent's code raised `CancelledError` by itself.

    Python 3.10 cannot tell once something was awaited, and then takes it for the former.
    """
    cancelling: Callable[[], int] | None = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or cancelling() > 0


async def _run_within(coroutine: Coroutine[Any, Any, Any], step: Step, timeout_s: float) -> Any:
    """Await a coroutine with a time limit that is armed only when it suspends.

    An agent that answers from memory never suspends; arming and disarming a timer would cost more than its answer.
    """
    try:
        with step:
            waiting_for = coroutine.send(None)
    except StopIteration as done:
        return done.value
    except asyncio.CancelledError as error:
        raise _CancelledItself from error  # nothing was awaited yet, so nobody else can have done it
    async with deadline(timeout_s):
        return await _Suspended(coroutine, step, waiting_for)


class _Suspended(Awaitable[Any]):
    """A coroutine that was started already, and what it waits for; awaiting it goes on where it stands."""

    __slots__ = ("_coroutine", "_step", "_waiting_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: Step, waiting_for: Any) -> None:
        self._coroutine = coroutine
        self._step = step
        self._waiting_for = waiting_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting_for = self._waiting_for
        while True:
            error: BaseException | None = None
            sent: Any = None
            try:
                sent = yield waiting_for
            except GeneratorExit:
                with self._step:
                    self._coroutine.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - cancellation must reach the coroutine
                error = raised
            try:
                with self._step:
                    waiting_for = self._coroutine.send(sent) if error is None else self._coroutine.throw(error)
            except StopIteration as done:
                return done.value
