"""`outboard explain` as people type it: by task, identity, key, handle, file, standard input and error id."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.cli.shells import Done, Shell
from outboard.cli.exits import Exit
from outboard.domain.seals import ServiceKey

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def ended(shell: Shell, gate: Callable[..., list[str]], gates: Path) -> dict[str, Any]:
    """A task that failed, as the journal has it."""
    (gates / "open").touch()
    done = shell.run(*gate("-c", "fails=true", "--quiet"))
    assert done.code == Exit.FAILED, done.err
    return recorded(shell)


def recorded(shell: Shell) -> dict[str, Any]:
    (run,) = json.loads(shell.run("jobs", "--json").out)["runs"]
    (task,) = run["tasks"]
    return {**task, "run": run["run"]}


def story(done: Done) -> dict[str, Any]:
    assert done.code == Exit.SUCCESS, done.out + done.err
    document: dict[str, Any] = json.loads(done.out)
    assert document["version"] == 1
    return document


def test_a_task_is_explained_by_every_name_that_it_has(shell: Shell, ended: dict[str, Any], gates: Path) -> None:
    starts = (gates / "starts").read_text()
    first = story(shell.run("explain", "job", "--json"))
    key, identity = first["handle"]["binds"]["key"], first["identity"]
    assert first["platform"]["state"] == "BROKEN"
    assert first["platform"]["phase"] == "FAILED"
    assert first["platform"]["failure"]["is_retryable"] is False
    assert first["platform"]["rule"] == "the table has BROKEN"
    assert first["record"]["stage"] == "submitted"
    assert any("the same will fail again" in step for step in first["next"])
    (shell.folder / "raw").write_bytes(base64.b64decode(ended["handle"]))
    (shell.folder / "text").write_text(ended["handle"] + "\n")
    for name in (identity, identity.rpartition(":")[0], key, f"{ended['run']}/job", ended["handle"], "raw", "text"):
        again = story(shell.run("explain", name, "--json"))
        assert again["handle"]["binds"]["key"] == key, name
        assert again["platform"]["state"] == "BROKEN", name
    told = shell.run("explain", "job")
    assert "verdict" in told.out
    assert "final: another attempt will fail too" in told.out
    assert f"https://gates.example/{key}" in told.out
    assert (gates / "starts").read_text() == starts, "nothing was started"
    assert not list(gates.glob("*.cancelled")), "and nothing cancelled"


def test_a_handle_is_read_from_standard_input(shell: Shell, ended: dict[str, Any]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "outboard", "explain", "-", "--json"],
        input=ended["handle"].encode(),
        env=shell.environment,
        cwd=shell.folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["handle"]["binds"]["agent"] == "gate"


def test_a_sealed_handle_is_told_as_far_as_it_goes(shell: Shell, gate: Callable[..., list[str]], gates: Path) -> None:
    (gates / "open").touch()
    shell.environment["OUTBOARD_SERVICE_KEYS"] = KEY
    assert shell.run(*gate("--quiet")).code == Exit.SUCCESS
    handle = recorded(shell)["handle"]
    read = story(shell.run("explain", handle, "--json"))
    key_id = ServiceKey.parse(KEY).key_id.hex()
    assert read["handle"]["key_id"] == key_id
    assert read["handle"]["binds"]["agent"] == "gate"
    _, address = shell.serve()
    del shell.environment["OUTBOARD_SERVICE_KEYS"]
    there = ("explain", handle, "--type", "gate", "--endpoint", address, "--json")
    assert (
        story(shell.run(*there))["service"] is None
    )  # it may be an unfinished submission, which a poll would go on with
    assert story(shell.run(*there, "--poll"))["service"]["endpoint"] == address
    sealed = shell.run("explain", handle)
    assert sealed.code == Exit.SUCCESS, sealed.err
    assert f"sealed with key {key_id}" in sealed.out
    assert "OUTBOARD_SERVICE_KEYS" in sealed.out
    assert KEY not in sealed.out


def test_what_a_platform_prints_when_it_is_imported_is_no_part_of_the_answer(
    shell: Shell, ended: dict[str, Any]
) -> None:
    noisy = "from outboard.agent import Platform\nprint('password=hunter2000')\nclass Noisy(Platform):\n    name = 'noisy'\n"
    (shell.folder / "noisy.py").write_text(noisy)
    done = shell.run("explain", "job", "--json", "--agents", "noisy:Noisy")
    assert story(done)
    assert "password=[redacted]" in done.err


def test_a_service_is_asked_where_the_job_is_there(shell: Shell, gate: Callable[..., list[str]], gates: Path) -> None:
    process, address = shell.serve()
    (gates / "open").touch()
    assert shell.run(*gate("--endpoint", address, "--quiet")).code == Exit.SUCCESS
    asked = story(shell.run("explain", "job", "--json"))
    assert asked["service"] == {
        "endpoint": address,
        "phase": "SUCCEEDED",
        "message": "",
        "failure": None,
        "error": None,
    }
    process.kill()
    process.communicate()
    gone = story(shell.run("explain", "job", "--json", "--limit", "5"))
    assert gone["service"]["error"].startswith("EndpointUnreachable")
    assert any("outboard doctor" in step for step in gone["next"])
    assert story(shell.run("explain", "job", "--json", "--offline"))["service"] is None


def test_lines_of_a_log_are_found_by_error_id_and_by_task(shell: Shell, ended: dict[str, Any]) -> None:
    key = story(shell.run("explain", "job", "--json"))["handle"]["binds"]["key"]
    lines = [
        {"event": "status not answered", "key": key, "error_id": "4f1d2c3b4a59", "timestamp": "2026-11-23T01:02:03Z"},
        {"event": "of another task", "key": "ob-x-" + "a" * 26, "timestamp": "2026-11-23T01:02:04Z"},
        {"event": "refused", "reason": "password=hunter2000", "error_id": "4f1d2c3b4a59"},
    ]
    text = "no json\n" + "\n".join(json.dumps(line) for line in lines) + "\n{broken\n"
    (shell.folder / "service.log").write_text(text)
    by_id = shell.run("explain", "4f1d2c3b4a59", "--log", "service.log")
    assert by_id.code == Exit.SUCCESS, by_id.err
    assert "2026-11-23 01:02:03 UTC  log: status not answered" in by_id.out
    assert "log: refused" in by_id.out
    assert "hunter2000" not in by_id.out
    assert "of another task" not in by_id.out
    by_task = shell.run("explain", "job", "--log", "service.log")
    assert "log: status not answered" in by_task.out


def test_what_means_nothing_is_refused_in_one_line(shell: Shell, ended: dict[str, Any]) -> None:
    (shell.folder / "empty").touch()
    refused = {
        "nothing": "no task 'nothing'",
        "eyeball": "no task 'eyeball'",
        "p:d:e:n:x": "'x' is no number of an attempt",
        "p:d:e:n:0": "the journal has no task",
        "ob-f-n0-0-" + "a" * 26: "give its output prefix",
        "4f1d2c3b4a59": "give the service's log",
        "empty": "is empty",
        "x" * 5000: "no task",
    }
    processes = {what: shell.start("explain", what) for what in refused}
    for what, process in processes.items():
        done = shell.end(process)
        assert done.code == Exit.USAGE, (what, done.out)
        assert refused[what] in done.err
        assert "Traceback" not in done.err
        assert done.out == ""


def test_bytes_that_are_no_handle_are_told_to_be_none(shell: Shell) -> None:
    (shell.folder / "odd").write_bytes(b"\xffOB\x09\x01nonsense")
    (shell.folder / "json").write_bytes(b'{"job_id": "7"}')
    for name in ("odd", "json"):
        done = shell.run("explain", name)
        assert done.code == Exit.SUCCESS, done.err
        assert "unreadable" in done.out
    assert shell.run("explain", "odd", "--type", "gate:one").code == Exit.USAGE
