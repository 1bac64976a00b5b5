"""`outboard check` as an author has it: in a folder with an agent, in a terminal or in a pipeline."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from integration.cli.shells import Shell

_ONLY = ("--only", "runs", "--only", "started-once/reply-lost", "--only", "declared")
_BAD = ("failed", "not run")


@pytest.fixture(autouse=True)
def no_other_agents(shell: Shell) -> None:
    del shell.environment["OUTBOARD_AGENTS"]


def document(text: str) -> Any:
    return json.loads(text)


def findings_of(report: Any, agent: str) -> dict[str, Any]:
    (found,) = (each for each in report["agents"] if each["agent"] == agent)
    return {finding["check"]: finding for finding in found["findings"]}


def install(shell: Shell, *points: str) -> None:
    package = shell.folder / "somebody-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[outboard.cases]\n" + "\n".join(points) + "\n")


def test_a_right_agent_passes_and_a_wrong_one_is_told_what_to_change(shell: Shell) -> None:
    done = shell.run("check", "wrong_package:RIGHT", "wrong_package:WRONG", *_ONLY)
    assert done.code == 1
    assert "wrong started-once/reply-lost: FAILED\n  seen:   the platform has 2 jobs for one task" in done.out
    assert "change: send ctx.key.token() as the platform's idempotency token" in done.out
    assert "right started-once" not in done.out
    assert "checking right (1 of 2)" in done.err


def test_the_report_is_one_json_document_here_and_in_a_file(shell: Shell) -> None:
    done = shell.run("check", "wrong_package:WRONG", *_ONLY, "--json", "--report", "build/check.json")
    report = document(done.out)
    assert (done.code, done.err) == (1, "")
    assert report == document((shell.folder / "build" / "check.json").read_text())
    assert (report["version"], report["is_conforming"]) == (1, False)
    assert findings_of(report, "wrong")["started-once/reply-lost"]["outcome"] == "failed"
    assert report["counts"]["failed"] == 1


def test_without_a_case_the_ten_lines_are_printed_and_strictness_fails(shell: Shell) -> None:
    done = shell.run("check", "wrong_package:Both")
    assert done.code == 0
    assert "CASE = Case(MyAgent, my_platform)" in done.out
    assert shell.run("check", "wrong_package:Right", "--strict").code == 1


def test_a_case_may_be_named_for_an_agent(shell: Shell) -> None:
    done = shell.run("check", "wrong_package:Wrong", "--case", "wrong_package:WRONG", *_ONLY, "--json")
    assert findings_of(document(done.out), "wrong")["started-once/reply-lost"]["outcome"] == "failed"
    alone = shell.run("check", "--case", "wrong_package:RIGHT", *_ONLY, "--json")
    assert (alone.code, document(alone.out)["is_conforming"]) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name what to check, or say --all"),
        (("wrong_package",), "names no agent"),
        (("wrong_package:Missing",), "has no Missing"),
        (("wrong_package:NOT_ONE",), "neither an agent class nor a platform nor a case"),
        (("--case", "wrong_package:Right", "wrong_package:Right"), "is no Case"),
    ],
)
def test_wrong_usage_is_told(shell: Shell, arguments: tuple[str, ...], words: str) -> None:
    done = shell.run("check", *arguments)
    assert done.code == 2
    assert words in done.err


def test_a_module_that_cannot_be_loaded_fails_the_run_and_is_named(shell: Shell) -> None:
    (shell.folder / "breaks.py").write_text("from outboard import AsyncAgent, TaskType\nclass A(AsyncAgent): pass\n")
    done = shell.run("check", "no_such_module:Agent", "breaks:A")
    assert done.code == 1
    assert "not loaded: no_such_module:Agent: no_such_module cannot be imported" in done.err
    assert "not loaded: breaks:A: A needs a name that never changes" in done.err


def test_packages_name_their_cases_and_a_broken_one_is_told(shell: Shell) -> None:
    install(shell, "right = wrong_package:RIGHT", "gone = no_such_module:CASE", "odd = wrong_package:NOT_ONE")
    done = shell.run("check", "--all", "--only", "runs/succeeds", "--json")
    report = document(done.out)
    assert findings_of(report, "right")["runs/succeeds"]["outcome"] == "passed"
    assert {each["source"]: each["reason"] for each in report["failures"]} == {
        "gone": "its case needs no_such_module, which cannot be imported",
        "odd": "wrong_package:NOT_ONE is no Case; name one",
    }
    assert done.code == 1


def test_side_by_side_the_report_is_that_of_one_after_the_other_with_every_case_of_an_agent(shell: Shell) -> None:
    install(shell, "first = wrong_package:RIGHT", "second = wrong_package:RIGHT", "wrong = wrong_package:WRONG")
    reports = []
    for jobs in ("1", "3"):
        done = shell.run("check", "wrong_package:Both", *_ONLY, "--json", "--jobs", jobs)
        reports.append(document(done.out))
        assert done.code == 1
        for finding in (finding for each in reports[-1]["agents"] for finding in each["findings"]):
            del finding["seconds"]
    assert [(each["agent"], each["case"]) for each in reports[0]["agents"]] == [
        ("right", "first"),
        ("right", "second"),
        ("wrong", "wrong"),
    ]
    assert reports[0] == reports[1]


def test_a_worker_that_dies_ends_the_run_and_says_how_to_see_more(shell: Shell) -> None:
    (shell.folder / "deadly.py").write_text(
        "import os\nfrom dataclasses import replace\nfrom wrong_package import RIGHT\n"
        "def end(site): os._exit(9)\nDEADLY = replace(RIGHT, stand_in=end)\n"
    )
    done = shell.run("check", "wrong_package:RIGHT", "deadly:DEADLY", "--only", "runs", "--jobs", "2")
    assert done.code == 1
    assert "--jobs 1 checks one after the other" in done.err


def test_every_installed_agent_has_a_case_and_runs(shell: Shell, tmp_path: Path) -> None:
    done = shell.run(
        "check",
        "--all",
        "--strict",
        "--only",
        "runs",
        "--only",
        "declared",
        "--only",
        "handles",
        "--json",
        "--jobs",
        "1",
    )
    report = document(done.out)
    assert report["failures"] == []
    bad = [finding for each in report["agents"] for finding in each["findings"] if finding["outcome"] in _BAD]
    # How long the event loop stood still is for `make conformance`, which has the machine for itself.
    assert [finding for finding in bad if finding["check"] != "blocking/steps"] == []
    assert (done.code == 0) is report["is_conforming"] is (not bad)
    ours = {"duckdb", "duckdb_rows", "process", "file_sensor", "flytekit_file_sensor"}
    names = {"athena", "bigquery", "databricks", "databricks_sql", "snowflake", "sql"} | ours
    assert {each["agent"] for each in report["agents"] if each["has_case"]} == names
    assert {each["case"] for each in report["agents"]} == {point.name for point in entry_points(group="outboard.cases")}
    for each in report["agents"]:
        assert "runs/succeeds" in [finding["check"] for finding in each["findings"] if finding["outcome"] == "passed"]
