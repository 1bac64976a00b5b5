"""flytekit's tasks on our engine: `pyflyte run` as real processes, with and without Outboard, calm and in trouble."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from interop.pyflyte import figures, notebooks, scenarios
from tables.sections import Section

_TROUBLE = ("scenario", "run by", "exit", "jobs started", "left running", "last words")
_CALM = ("run by", "exit", "output", "jobs started", "left running", "seconds")


def sections() -> list[Section]:
    """Return the tables of this part."""
    return [
        _section(
            "A workflow with three tasks with agents and two plain ones, run by `pyflyte run`",
            _CALM,
            lambda: [scenarios.calm(system) for system in scenarios.SYSTEMS],
            scenarios.complaints_of_calm,
        ),
        _section("`pyflyte run` in trouble", _TROUBLE, scenarios.troubles, scenarios.complaints_of_trouble),
        notebooks.section(),
        _section(
            "`import flytekit` with and without our entry point", figures.COLUMNS, figures.rows, figures.complaints
        ),
    ]


def _section(
    title: str,
    columns: Sequence[str],
    rows: Callable[[], Sequence[dict[str, Any]]],
    complaints: Callable[[Sequence[dict[str, Any]]], list[str]],
) -> Section:
    began = time.monotonic()
    found = rows()
    return Section(
        title=title,
        columns=columns,
        rows=found,
        failures=complaints(found),
        seconds=time.monotonic() - began,
        versions={"flytekit": version("flytekit")},
    )
