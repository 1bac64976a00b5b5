"""An engine in another process, killed or interrupted, and what becomes of its jobs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from integration.engine.ledger_platform import Ledger

TESTS = Path(__file__).parents[2]
PROCESS = Path(__file__).with_name("engine_process.py")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(verb: str, count: int = 1, **config: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), verb, str(tmp_path), str(count), json.dumps(config)],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a process said at its end, the last line of its output."""
    out, _ = process.communicate(timeout=60)
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def wait_for(is_true: Callable[[], object], process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + 60
    while not is_true():
        assert process.poll() is None, "the engine ended too early"
        assert time.monotonic() < give_up
        time.sleep(0.005)


@pytest.mark.parametrize(("held_from", "moment"), [(0, 1), (10, 22)], ids=["early", "in the middle"])
def test_a_killed_run_is_resumed_without_a_job_lost_or_doubled(
    start: Start, ledger: Ledger, tmp_path: Path, held_from: int, moment: int
) -> None:
    gate = tmp_path / "gate"
    engine = start("run", 40, gate=str(gate), held_from=held_from, slow_create_s=0.02)
    wait_for(lambda: len(ledger.keys("started")) >= moment, engine)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    assert moment <= len(ledger.keys("started")) <= held_from + 12
    gate.touch()
    assert said(start("resume"))["phases"] == ["SUCCEEDED"] * 40
    keys = ledger.keys("started")
    assert len(keys) == len(set(keys)) == 40
    assert ledger.keys("cancelled") == []
    assert said(start("resume"))["phases"] == ["SUCCEEDED"] * 40
    assert len(ledger.keys("started")) == 40


@pytest.mark.parametrize("retries", [0, 1], ids=["first attempt", "second attempt"])
def test_the_time_limit_of_an_attempt_goes_on_when_its_run_is_resumed(
    start: Start, ledger: Ledger, tmp_path: Path, retries: int
) -> None:
    attempts = ["LOST"] * retries + ["DONE"]
    gate = tmp_path / "gate"
    engine = start("run", 1, retries=retries, timeout_s=3600, attempts=attempts, gate=str(gate), held_from=retries)

    def is_recorded() -> bool:
        with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
            row = connection.execute("SELECT 1 FROM task WHERE attempt = ? AND handle IS NOT NULL", (retries,))
            return row.fetchone() is not None

    wait_for(lambda: len(ledger.keys("started")) > retries and is_recorded(), engine)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    with sqlite3.connect(tmp_path / "journal.db") as connection:  # a day passes
        connection.execute(
            "UPDATE task SET started_at = started_at - 86400, attempt_started_at = attempt_started_at - 86400"
        )
    connection.close()
    assert said(start("resume"))["phases"] == ["FAILED"]
    # A cancel may be sent again before the first is confirmed.
    assert set(ledger.keys("cancelled")) == {ledger.keys("started")[-1]}


def test_a_run_killed_while_a_create_is_under_way_sends_it_again_under_its_key(start: Start, ledger: Ledger) -> None:
    engine = start("run", 1, slow_create_s=0.5)
    wait_for(lambda: ledger.keys("asked"), engine)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    assert ledger.keys("started") == []
    assert said(start("resume"))["phases"] == ["SUCCEEDED"]
    assert len(ledger.keys("asked")) == 2
    assert len(set(ledger.keys("asked"))) == 1


@pytest.mark.parametrize("verb", ["run", "plain"])
def test_an_interrupt_cancels_every_job_and_waits(start: Start, ledger: Ledger, verb: str) -> None:
    engine = start(verb, 20, polls=-1)
    wait_for(lambda: len(ledger.keys("started")) >= 12, engine)
    engine.send_signal(signal.SIGINT)
    answer = said(engine)
    assert answer["left"] == []
    assert engine.returncode == (130 if verb == "plain" else 0)
    assert ledger.alive() == set()
    assert len(ledger.keys("started")) == 12


@pytest.mark.parametrize("verb", ["run", "plain"])
def test_a_second_interrupt_says_what_is_left_running(start: Start, ledger: Ledger, verb: str) -> None:
    engine = start(verb, 1, polls=-1, ignores_cancel=True)
    wait_for(lambda: ledger.keys("started"), engine)
    engine.send_signal(signal.SIGINT)
    wait_for(lambda: ledger.keys("cancelled"), engine)
    engine.send_signal(signal.SIGINT)
    (left,) = said(engine)["left"]
    assert ledger.keys("started")[0] in left
    assert "handle" in left


def test_a_run_killed_while_it_cancels_goes_on_cancelling_when_it_is_resumed(start: Start, ledger: Ledger) -> None:
    engine = start("run", 3, polls=-1, ignores_cancel=True)
    wait_for(lambda: len(ledger.keys("started")) == 3, engine)
    engine.send_signal(signal.SIGINT)
    wait_for(lambda: len(set(ledger.keys("cancelled"))) == 3, engine)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    for key in ledger.keys("started"):
        job = ledger.root / "jobs" / key
        job.write_text(job.read_text().replace('"ignores_cancel": true', '"ignores_cancel": false'))
    assert said(start("resume"))["phases"] == ["ABORTED"] * 3
    assert len(ledger.keys("started")) == 3
