"""The proof's runner: it counts, it repeats rows, and it fails when Outboard breaks a promise, and only then."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from outboard.domain.tasks import RawTask
from outboard.host import Host
from proof import catalogue
from proof.report import Row, Unmeasured, table
from proof.row import perform
from proof.run import conclude
from proof.scenarios import FLYTEKIT, OUTBOARD, Result, World
from proof.systems import Outboard

ROOT = Path(__file__).resolve().parents[3]
KEPT = Result(
    scenario="s", variant="v", tasks=2, jobs=2, second_jobs=0, live_left=0, handles=2, seed=1, is_kept=True, notes={}
)
BROKEN = replace(KEPT, jobs=3, second_jobs=1, is_kept=False)


def row(result: Result, system: str = OUTBOARD) -> Row:
    return Row(result=result, system=system, seconds=0.1, command="again")


class Careless(Outboard):
    """Starts every job twice, as a service does that forgets the first one."""

    def make_host(self, world: World) -> Host:
        host = super().make_host(world)
        create = host.create_task

        async def create_twice(task: RawTask, *, timeout_s: float | None = None) -> bytes:
            await create(replace(task, output_prefix=f"{task.output_prefix}-forgotten"), timeout_s=timeout_s)
            return await create(task, timeout_s=timeout_s)

        host.create_task = create_twice  # type: ignore[method-assign]
        return host


def test_the_runner_writes_every_figure_and_the_command_that_repeats_it(tmp_path: Path) -> None:
    report = tmp_path / "proof.json"
    command = [sys.executable, str(ROOT / "proof" / "run.py"), "--only", "calm/all", "--system", OUTBOARD]
    done = subprocess.run(
        [*command, "--size", "2", "--seed", "7", "--report", str(report)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_text(encoding="utf-8"))["rows"]
    assert [each["variant"] for each in rows] == ["token", "named", "lookup", "nothing"]
    for each in rows:
        assert (each["tasks"], each["jobs"], each["second_jobs"], each["live_left"], each["handles"]) == (2, 2, 0, 0, 2)
        assert (each["seed"], each["system"], each["is_kept"]) == (7, OUTBOARD, True)
        assert each["command"] == "python proof/run.py --only calm/all --system outboard --size 2 --seed 7"


def test_a_system_that_starts_jobs_twice_fails_the_run() -> None:
    (scenario,) = catalogue.find(["calm/all"])
    results = perform(scenario, Careless(), 2, 1)
    assert [each.is_kept for each in results] == [False] * 4
    assert {each.jobs for each in results} == {4}
    assert conclude([row(each) for each in results], [], 0.0) == 1


def test_a_seed_gives_the_same_figures_again() -> None:
    (scenario,) = catalogue.find(["calm/all"])
    assert perform(scenario, Outboard(), 3, 5) == perform(scenario, Outboard(), 3, 5)


def test_the_exit_code_is_about_outboard_alone() -> None:
    lost = Unmeasured(name="s", system=OUTBOARD, reason="it ended", command="again")
    assert conclude([row(KEPT), row(BROKEN, FLYTEKIT)], [replace(lost, system=FLYTEKIT)], 0.0) == 0
    assert conclude([row(KEPT), row(BROKEN)], [], 0.0) == 1
    assert conclude([row(KEPT)], [lost], 0.0) == 1
    assert conclude([], [], 0.0) == 1


def test_systems_stand_side_by_side() -> None:
    lines = table([row(KEPT), row(BROKEN, FLYTEKIT)]).splitlines()
    assert [cell.split() for cell in lines[-1].split("|")] == [
        ["s", "v", "2", "1"],
        ["2", "0", "0", "2", "yes"],
        ["3", "1", "0", "2", "NO"],
    ]


def test_a_name_that_fits_no_scenario_is_an_error() -> None:
    with pytest.raises(catalogue.UnknownScenario):
        catalogue.find(["calm/nothing-like-this"])
    with pytest.raises(catalogue.UnknownScenario):
        catalogue.find(["report"])
