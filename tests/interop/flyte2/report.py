"""Makes the tables of a piece of this part: `python -m interop.flyte2.report PIECE FILE`; see the package."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from interop.flyte2 import CHECKS, EVERYTHING, EXECUTOR, SDK, aborts, building, local_runs, scenarios, storms, wire
from interop.flyte2.rows import COLUMNS, Row
from interop.flyte2.scenarios import Scenario
from interop.flyte2.world import OURS, PEER
from interop.go_programs import NotToBeHad
from tables.sections import Section

_TITLE: Final = "Flyte 2's executor and connector plugin drive services"
_OURS: Final[Sequence[Scenario]] = (*scenarios.TOGETHER, *scenarios.OURS_ALONE)
_NOTES: Final = (
    "The controller, its garbage collector, the plugin and its cache are Flyte's own (v2.0.43).",
    "An API server in memory stands for Kubernetes, and SeaweedFS for S3.",
    "Requeue after 0.3 s instead of 10 s, cache swept every 5 s (the least it allows), CreateTask's deadline 3 s.",
    "Flyte writes the secrets of a connection into its own state and its own log; ours keeps them nowhere.",
    "The SDK has no sync agents, so those rows have no counterpart.",
)


def main(name: str, file: str) -> None:
    """Make a piece's tables and write them as JSON."""
    Path(file).write_text(json.dumps([asdict(each) for each in _PIECES[name]()]), encoding="utf-8")


def _everything() -> list[Section]:
    return [
        *_sdk(is_lean=False),
        *_executor([(OURS, _OURS, scenarios.ONE_BY_ONE), (PEER, scenarios.TOGETHER, scenarios.ONE_BY_ONE)]),
    ]


def _sdk(*, is_lean: bool) -> list[Section]:
    tables: list[Section] = []
    with wire.bench() as tried:
        for table in (wire.types_section, wire.calls_section, partial(local_runs.local_section, is_lean=is_lean)):
            began = time.monotonic()
            made = table(tried)
            tables.append(replace(made, seconds=round(time.monotonic() - began, 1)))
    return tables


def _executor(worlds: Sequence[tuple[str, Sequence[Scenario], Sequence[Scenario]]]) -> list[Section]:
    """Return the table of worlds: whose services, what goes side by side there, and what one by one."""
    try:
        binary = building.DRIVER.build()
    except NotToBeHad as error:
        return [Section(title=_TITLE, skipped=str(error))]
    began = time.monotonic()
    rows: list[Row] = []
    for system, together, one_by_one in worlds:
        rows += asyncio.run(scenarios.play(system, binary, together, one_by_one))
    table = Section(
        title=_TITLE,
        columns=COLUMNS,
        rows=[row.to_json() for row in rows],
        failures=[f"{row.scenario}: {row.verdict}" for row in rows if row.broken and row.system == OURS],
        notes=_NOTES,
        versions={
            "flyte": version("flyte"),
            "flyteidl2": version("flyteidl2"),
            "github.com/flyteorg/flyte/v2": "v2.0.43",
        },
        seconds=round(time.monotonic() - began, 1),
    )
    return [table]


_PIECES: Final[Mapping[str, Callable[[], list[Section]]]] = {
    EVERYTHING: _everything,
    SDK: partial(_sdk, is_lean=True),
    EXECUTOR: partial(_executor, [(OURS, _OURS, scenarios.LEAN)]),
    CHECKS: partial(_executor, [(PEER, (), (storms.loses_rounds, aborts.collects_garbage))]),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
