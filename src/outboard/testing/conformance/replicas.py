"""Two replicas of a service in real time, for agents that no virtual clock reaches.

It is called like `outboard.testing.replicas.Fleet`. A replica that died is left where it hangs: it gets no calls any
more, and what it waits for never comes while the check runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask, TaskType
from outboard.errors import Unavailable
from outboard.host import Host

T = TypeVar("T")
_CLOSING_S: Final = 10.0
_LATE_S: Final = 4.0
"""How long after its deadline an answer is waited for: other work may keep the machine."""


class RealFleet:
    """Replicas in round robin.

    Args:
        count: How many.
        make_host: Makes the host of each; the function that it is given takes that host out of service.
    """

    def __init__(self, count: int, make_host: Callable[[Callable[[], None]], Host]) -> None:
        self._dead: set[int] = set()
        self._hosts = [make_host(lambda number=number: self._dead.add(number)) for number in range(count)]  # type: ignore[misc]  # mypy infers no lambda with a default
        self._turn = 0

    async def close(self) -> None:
        """Close the hosts, the dead ones too: nobody looks at the platform any more."""
        for host in self._hosts:
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(host.close(), _CLOSING_S)

    async def create_task(self, task: RawTask, *, timeout_s: float) -> bytes:
        """See `Host.create_task`."""
        return await self._call(lambda host: host.create_task(task, timeout_s=timeout_s), timeout_s)

    async def get_task(self, handle: bytes, *, task_type: TaskType, output_prefix: str, timeout_s: float) -> TaskStatus:
        """See `Host.get_task`."""
        return await self._call(
            lambda host: host.get_task(handle, task_type=task_type, output_prefix=output_prefix, timeout_s=timeout_s),
            timeout_s,
        )

    async def delete_task(self, handle: bytes, *, task_type: TaskType, timeout_s: float) -> None:
        """See `Host.delete_task`."""
        await self._call(lambda host: host.delete_task(handle, task_type=task_type, timeout_s=timeout_s), timeout_s)

    async def execute_task(self, task: RawTask, *, timeout_s: float) -> TaskStatus:
        """See `Host.execute_task`."""
        return await self._call(lambda host: host.execute_task(task, timeout_s=timeout_s), timeout_s)

    async def _call(self, work: Callable[[Host], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        living = [host for number, host in enumerate(self._hosts) if number not in self._dead]
        self._turn += 1
        try:
            return await asyncio.wait_for(work(living[self._turn % len(living)]), timeout_s + _LATE_S)
        except (asyncio.TimeoutError, TimeoutError):
            raise Unavailable(f"no answer within {timeout_s:g} s", code="DEADLINE_EXCEEDED") from None
