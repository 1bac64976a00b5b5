"""Calling agents: the one place where agent code runs.

An async method is awaited, a plain one runs in its agent's pool. Whatever it raises becomes an error of our tree
through the platform's error map; `SystemExit` in a coroutine would end the event loop and with it every other agent,
so it is caught too.
"""

from __future__ import annotations

import asyncio
import sys
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
            async with deadline(timeout_s):
                if agent.is_blocking:
                    return await self._pool(agent).run(function, *args, **kwargs)
                return await function(*args, **kwargs)
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
