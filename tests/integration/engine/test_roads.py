"""Whatever ends a task, and wherever its job stands then, nothing is left running and nothing is started twice.

`roads.py` has the scenarios; `PYTHONPATH=tests python -m integration.engine.roads` prints the figures of the matrix.
"""

from __future__ import annotations

import pytest

from integration.engine.roads import CRASHED, ROADS, Cell, cells, crash, play
from outboard.testing.virtual_time import run_virtually


@pytest.mark.parametrize("road", ROADS)
def test_no_road_leaves_a_job_behind_or_starts_a_second_one(road: str) -> None:
    chosen = [cell for cell in cells() if cell.road == road]
    counts = [run_virtually(lambda cell=cell: play(cell), patience_s=0) for cell in chosen]  # type: ignore[misc]  # a lambda's default
    assert len(counts) >= 24
    assert any(count.jobs for count in counts)
    assert [str(count) for count in counts if not count.is_kept] == []


@pytest.mark.parametrize("then_cancel", [False, True], ids=["resumed", "cancelled"])
@pytest.mark.parametrize("cell", CRASHED, ids=str)
def test_an_engine_may_be_killed_before_any_of_its_steps(cell: Cell, then_cancel: bool) -> None:
    counts = crash(cell, then_cancel=then_cancel, seed=1, stride=1 if "user abort" in cell.road else 17)
    assert len(counts) > 5
    assert [str(count) for count in counts if not count.is_kept] == []


def test_the_count_would_see_a_job_that_is_left() -> None:
    """A cell whose jobs heed no cancel at all cannot come out clean."""
    cell = Cell(road="user abort", moment="polling", heeds_from=10**6)
    count = run_virtually(lambda: play(cell), patience_s=0)
    assert (count.live, count.is_kept) == (1, False)
