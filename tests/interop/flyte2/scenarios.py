"""All scenarios: those that go side by side, and those that need the service for themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from interop.flyte2 import aborts, connections, endings, storms
from interop.flyte2.executor import ExecutorFailed
from interop.flyte2.rows import Row
from interop.flyte2.world import World, world

_LIMIT_S: Final = 60.0
Scenario: TypeAlias = Callable[[World], Awaitable[Row]]

TOGETHER: Final[Sequence[Scenario]] = (
    endings.succeeds_inline,
    endings.succeeds_by_file,
    endings.fails,
    endings.fails_then_succeeds,
    aborts.aborts_queued,
    aborts.aborts_running,
    aborts.aborts_creating,
    aborts.aborts_ended,
    storms.creates_slowly,
    connections.brings_secrets,
    connections.lacks_a_secret,
    connections.lacks_custom,
    connections.goes_by_project,
)
"""Each with its own actions, at the same time."""
OURS_ALONE: Final[Sequence[Scenario]] = (
    endings.answers_at_once,
    endings.refuses_at_once,
    endings.carries_every_type,
    endings.keeps_names_in_order,
)
"""What the SDK's service has no counterpart of."""
ONE_BY_ONE: Final[Sequence[Scenario]] = (
    storms.loses_rounds,
    aborts.insists_on_an_abort,
    aborts.collects_garbage,
    storms.restarts,
    storms.is_killed,
    storms.takes_many,
)
"""A lost round takes other actions' events with it, and a restart everybody's polls."""
LEAN: Final[Sequence[Scenario]] = (storms.loses_rounds, aborts.insists_on_an_abort, aborts.collects_garbage)
"""Of those one by one, the ones for every run of the tests."""


async def play(system: str, binary: Path, together: Sequence[Scenario], one_by_one: Sequence[Scenario]) -> list[Row]:
    """Play scenarios in one world and return their rows in order."""
    async with world(system, binary) as played:
        rows = list(await asyncio.gather(*(_row(played, scenario) for scenario in together)))
        rows += [await _row(played, scenario) for scenario in one_by_one]
        return rows


async def _row(played: World, scenario: Scenario) -> Row:
    try:
        return await asyncio.wait_for(scenario(played), _LIMIT_S)
    except (TimeoutError, asyncio.TimeoutError):
        return _unfinished(played.system, scenario, f"it came to no end within {_LIMIT_S:g} s")
    except ExecutorFailed as error:
        return _unfinished(played.system, scenario, str(error))


def _unfinished(system: str, scenario: Scenario, words: str) -> Row:
    title = (scenario.__doc__ or "").partition("\n")[0]
    zeros = {"actions": 1, "attempts": 0, "jobs": 0, "live": 0, "creates": 0, "polls": 0, "errors": 0}
    return Row(scenario=title, system=system, phases="", words="", broken=[words], **zeros)
