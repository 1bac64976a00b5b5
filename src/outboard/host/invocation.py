"""Calling agents: the one place where agent code runs.

An async method is awaited, a plain one runs in its agent's pool. Whatever it raises becomes an error of our tree
through the platform's error map; `SystemExit` in a coroutine would end the event loop and with it every other agent,
so it is caught too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

from outboard.agent.agents import Agent
from outboard.errors import AgentFault, OutboardError, Unavailable
from outboard.host.pools import WorkerPool

if sys.version_info >= (3, 11):
    from asyncio import timeout as deadline
else:
    from async_timeout import timeout as deadline


class Invoker:
    """Runs methods of agents, with a time limit, and translates what they raise."""

    def __init__(self) -> None:
        self._pools: dict[str, WorkerPool] = {}

    async def invoke(self, agent: Agent, method: str, *args: Any, timeout_s: float, **kwargs: Any) -> Any:
        """Call `agent.method(*args, **kwargs)` and return its result.

        Raises:
            OutboardError: Whatever the method raised, classified; `Unavailable` when it took longer than `timeout_s`.
        """
        function = getattr(agent, method)
        try:
            if agent.is_blocking:
                async with deadline(timeout_s):
                    return await self._pool(agent).run(function, *args, **kwargs)
            return await _run_within(function(*args, **kwargs), timeout_s)
        except OutboardError:
            raise
        except asyncio.CancelledError:
            raise
        except (asyncio.TimeoutError, TimeoutError) as error:
            words = str(error) or f"agent {agent.name} took longer than {timeout_s:g} s in {method}"
            raise Unavailable(words) from error
        except Exception as error:
            raise agent.platform.errors.classify(error) from error
        except (SystemExit, KeyboardInterrupt) as error:
            raise AgentFault(
                f"agent {agent.name} raised {type(error).__name__}, which would end the process"
            ) from error

    def close(self) -> None:
        """End the pools' idle threads."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, agent: Agent) -> WorkerPool:
        pool = self._pools.get(agent.name)
        if pool is None:
            pool = self._pools[agent.name] = WorkerPool(agent.name, agent.pool_size)
        return pool


async def _run_within(coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
    """Await a coroutine with a time limit that is armed only when it suspends.

    An agent that answers from memory never suspends; arming and disarming a timer would cost more than its answer.
    """
    try:
        waiting_for = coroutine.send(None)
    except StopIteration as done:
        return done.value
    async with deadline(timeout_s):
        return await _Suspended(coroutine, waiting_for)


class _Suspended(Awaitable[Any]):
    """A coroutine that was started already, and what it waits for; awaiting it goes on where it stands."""

    __slots__ = ("_coroutine", "_waiting_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waiting_for: Any) -> None:
        self._coroutine = coroutine
        self._waiting_for = waiting_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting_for = self._waiting_for
        while True:
            error: BaseException | None = None
            sent: Any = None
            try:
                sent = yield waiting_for
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as raised:  # noqa: BLE001 - cancellation must reach the coroutine
                error = raised
            try:
                waiting_for = self._coroutine.send(sent) if error is None else self._coroutine.throw(error)
            except StopIteration as done:
                return done.value
