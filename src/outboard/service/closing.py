"""What is awaited at the end, and given up when it takes too long: agents' code may swallow its cancellation, or hang."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from outboard.host.logs import TaskLog
from outboard.service.served_host import ServedHost


async def bounded(ending: Sequence[Awaitable[None]], limit_s: float) -> None:
    """Await several ends, and give up what takes longer."""
    tasks = {asyncio.ensure_future(each) for each in ending}
    if tasks:
        done, late = await asyncio.wait(tasks, timeout=limit_s)
        for task in late:
            task.cancel()
        for task in done:
            task.result()


async def close_host(host: ServedHost, limit_s: float) -> None:
    """Close a host; what takes longer is given up, and said. It is not awaited again: it may swallow its cancellation."""
    closing = asyncio.ensure_future(host.close())
    await asyncio.wait({closing}, timeout=limit_s)
    if closing.done():
        closing.result()
    else:
        closing.cancel()
        TaskLog().error("background work did not end in time", limit_s=round(limit_s, 1))
