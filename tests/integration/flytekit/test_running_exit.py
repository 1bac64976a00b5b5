"""How a process ends that has run tasks of flytekit: soon, quietly, and with no job of its own left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from outboard.testing.platform_server import PlatformServer

_TESTS = Path(__file__).resolve().parents[2]
_TASK = """
import threading, os, sys
from integration.flytekit.running_tasks import LedgerTask
job = LedgerTask("job", {"running_s": None}, kind="rest_named")
quick = LedgerTask("quick", {"running_s": 0.05}, kind="rest_named")
"""


def run(tmp_path: Path, server: PlatformServer, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that hangs is a failure."""
    (tmp_path / "settings.json").write_text(json.dumps({"platforms": {"RestPlatform": {"url": server.url}}}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOARD_")}
    environment |= {
        "OUTBOARD_HOME": str(tmp_path / "home"),
        "OUTBOARD_SETTINGS": str(tmp_path / "settings.json"),
        "OUTBOARD_AGENTS": "outboard.testing.rest_agents:RestPlatform",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH")])),
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-c", _TASK + program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_process_whose_tasks_are_over_ends_without_a_word(tmp_path: Path) -> None:
    with PlatformServer() as server:
        done = run(tmp_path, server, "quick()")
        assert (done.returncode, len(server.ledger.jobs)) == (0, 1)
    # The job's link comes after it where the first look found the job over.
    assert [line for line in done.stderr.splitlines() if "Job: " not in line][-1].endswith("quick-0 succeeded")


def test_a_process_that_ends_beside_a_waiting_thread_cancels_its_job(tmp_path: Path) -> None:
    told = "threading.Thread(target=job, daemon=True).start()\nimport time\n"
    told += "from outboard.flytekit.running.shared_engine import current_engine\n"
    told += "while not (current_engine() and any(e.is_sent for e in current_engine()._errands)): time.sleep(0.02)\n"
    told += "time.sleep(0.5)"
    with PlatformServer() as server:
        done = run(tmp_path, server, told)
        assert done.returncode == 0
        assert len(server.ledger.jobs) == 1
        assert server.ledger.live() == []
    assert "not confirmed" not in done.stderr  # pools of threads, which the agents use, still take work


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_an_engine_of_its_own(tmp_path: Path) -> None:
    program = "quick()\npid = os.fork()\nquick()\nif pid: sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    with PlatformServer() as server:
        done = run(tmp_path, server, program)
        assert done.returncode == 0, done.stderr
        assert len(server.ledger.jobs) == 3
        assert server.ledger.second_jobs() == []
