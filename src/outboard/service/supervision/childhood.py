"""A child's side of control: it answers its parent, and tells its siblings what they may want to know."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from outboard.service.supervision.control import (
    ALIVE,
    DESCRIBE,
    HASTEN,
    LEVEL,
    METRICS,
    Control,
    Unanswered,
    ask_from_loop,
    in_loop,
)
from outboard.service.supervision.samples import write_page

if TYPE_CHECKING:
    from outboard.service.serving import Service

_TELLING_S: Final = 5.0
_MOST_TELLINGS: Final = 100
"""Callbacks only hasten: in a flood, siblings may find out by their polls."""


def answer_parent(service: Service, path: str) -> Control:
    """Answer what the parent asks about a service, on a Unix socket, from any moment of the running loop on."""
    loop = asyncio.get_running_loop()
    return Control(
        path,
        {
            ALIVE: lambda _: in_loop(loop, lambda: asyncio.sleep(0, result=True)),
            METRICS: lambda _: write_page(service.metrics.collect()),
            LEVEL: service.levels,
            DESCRIBE: lambda _: in_loop(loop, service.description),
            HASTEN: lambda told: in_loop(loop, lambda: service.hasten(told[1], told[2])),
        },
    )


def sibling_teller(path: str, name: str) -> Callable[[str, Sequence[str]], None]:
    """Return what passes an agent's name and ids of its jobs on to all siblings, so that they ask about these jobs soon.

    Args:
        path: Where the parent answers.
        name: This process's name there.
    """
    telling: set[asyncio.Task[None]] = set()

    async def tell(agent: str, job_ids: Sequence[str]) -> None:
        with contextlib.suppress(Unanswered):  # their next polls find out
            await ask_from_loop(path, HASTEN, [name, agent, list(job_ids)], timeout_s=_TELLING_S)

    def begin(agent: str, job_ids: Sequence[str]) -> None:
        if len(telling) < _MOST_TELLINGS:
            task = asyncio.ensure_future(tell(agent, job_ids))
            telling.add(task)
            task.add_done_callback(telling.discard)

    return begin
