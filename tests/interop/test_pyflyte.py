"""`pyflyte run` with and without Outboard: what the tables of `make interop` promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from interop.pyflyte import figures, notebooks, scenarios
from interop.pyflyte.stages import WITH

Row = dict[str, Any]


def test_a_workflow_gives_the_same_with_and_without_us() -> None:
    rows = [scenarios.calm(system) for system in scenarios.SYSTEMS]
    assert scenarios.complaints_of_calm(rows) == []
    assert [row["output"] for row in rows] == ["100 rows, sum 328350, answer 42"] * 2


@pytest.mark.parametrize(
    "play",
    [
        lambda: scenarios.interrupted(WITH, scenarios.COROUTINES),
        lambda: scenarios.interrupted(WITH, scenarios.FUNCTIONS),
        scenarios.interrupted_twice,
        scenarios.killed_and_resumed,
        scenarios.killed_and_cancelled,
        scenarios.killed_and_gone_on_with,
        lambda: scenarios.lost_then_well(WITH),
        lambda: scenarios.lost_for_good(WITH),
        lambda: scenarios.hung(WITH),
    ],
    ids=[
        "ctrl-c-async",
        "ctrl-c-blocking",
        "ctrl-c-twice",
        "kill-resume",
        "kill-cancel",
        "kill-again",
        "lost-retried",
        "lost",
        "hung",
    ],
)
def test_no_trouble_leaves_a_job_unnamed_or_starts_it_twice(play: Callable[[], Row]) -> None:
    row = play()
    assert scenarios.complaints_of_trouble([row]) == []


def test_what_was_said_of_flytekit_alone_is_so() -> None:
    """The comparison is fair: a blocking `delete` of flytekit's works, one that is a coroutine does not."""
    assert scenarios.interrupted(scenarios.SYSTEMS[0], scenarios.FUNCTIONS)["left running"] == 0
    assert scenarios.interrupted(scenarios.SYSTEMS[0], scenarios.COROUTINES)["left running"] == 1


def test_a_notebook_runs_it_obeys_its_interrupt_and_goes_on() -> None:
    section = notebooks.section()
    if section.skipped:
        pytest.skip(section.skipped)
    assert section.failures == []


def test_importing_flytekit_loads_a_handful_of_small_modules_of_ours() -> None:
    rows = [figures.measured(keeps=keeps) for keeps in (False, True)]
    assert [modules for _, modules in rows] == [0, 5]
