"""10,000 tasks of a no-op agent through our engine, in process, with the journal on; then the same with a SIGKILL.

First run: one engine process takes all tasks from beginning to end; tasks per second, and the process's peak memory.

Second run: the platform holds jobs back from a certain number on, so that 1,000 are in flight, and more are just being
created, when the ledger shows enough lines and the engine gets SIGKILL. Another process resumes the run from the
journal alone. The platform's ledger, which no engine writes, must then show one job per task: none lost, none twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.ledgered import repeated_keys, started_keys
from catalogue import OURS
from places import BENCH, LOGS, OUR_BIN, ROOT, SCRATCH
from report import Row, row

_IN_FLIGHT = 1_000
_CONCURRENCY = 1_200
_LIMIT_S = 900.0
_WORKER = BENCH / "engine_worker.py"
_MIB = 1024 * 1024


class EngineFailedError(Exception):
    """An engine process did not do its part; the message says where its output lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Files of one run: the engine's journal, the platform's ledger and gate."""

    folder: Path
    tasks: int
    hold_after: int

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    def command(self, verb: str) -> list[str]:
        """The command line of an engine process that runs or resumes."""
        return [
            *(str(OUR_BIN / "python"), str(_WORKER), verb, "--folder", str(self.folder)),
            *("--tasks", str(self.tasks), "--concurrency", str(_CONCURRENCY), "--hold-after", str(self.hold_after)),
        ]


def measure(tasks: int) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and what the engine processes reported."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        straight = Workspace(folder=Path(folder), tasks=tasks, hold_after=tasks)
        through = _finish(_start(straight, "run"), straight)
        _check(straight, through)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        in_flight = min(_IN_FLIGHT, tasks // 2)
        killed = Workspace(folder=Path(folder), tasks=tasks, hold_after=(tasks - in_flight) // 2)
        at_kill = _kill_midway(killed, killed.hold_after + in_flight)
        resumed = _resume(killed)
        jobs, distinct = len(started_keys(killed.ledger)), len(set(started_keys(killed.ledger)))
        repeated = len(repeated_keys(killed.ledger))
    seen = {
        "engine.rate": tasks / through["seconds"],
        "engine.memory": through["peak_bytes"] / _MIB,
        "engine.killed": at_kill - killed.hold_after,
        "engine.lost": tasks - distinct,
        "engine.doubled": jobs - distinct,
        "engine.failed": tasks - resumed["succeeded"],
        "engine.repeated": repeated,
        "engine.resume": resumed["seconds"],
    }
    rows = [row(key, {OURS: value}) for key, value in seen.items()]
    return rows, {"straight": through, "started_at_kill": at_kill, "resumed": resumed, "repeated": repeated}


def _check(workspace: Workspace, said: dict[str, Any]) -> None:
    """A rate counts only if every task ended well and had exactly one job."""
    keys = started_keys(workspace.ledger)
    if said["succeeded"] != workspace.tasks or len(keys) != workspace.tasks or len(set(keys)) != workspace.tasks:
        raise EngineFailedError(
            f"{said['succeeded']} tasks succeeded with {len(keys)} jobs of {len(set(keys))} keys for {workspace.tasks} tasks"
        )


def _kill_midway(workspace: Workspace, started: int) -> int:
    """Kill a running engine once its platform has started so many jobs; return how many there were in the end."""
    process = _start(workspace, "run")
    limit = time.monotonic() + _LIMIT_S
    while len(started_keys(workspace.ledger)) < started:
        if process.poll() is not None or time.monotonic() > limit:
            raise EngineFailedError(f"the engine never had {started} jobs; its output is in {LOGS / 'engine.log'}")
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return len(started_keys(workspace.ledger))


def _resume(workspace: Workspace) -> dict[str, Any]:
    workspace.gate.touch()
    return _finish(_start(workspace, "resume"), workspace)


def _start(workspace: Workspace, verb: str) -> subprocess.Popen[bytes]:
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / "engine.log").open("ab") as log:
        return subprocess.Popen(
            workspace.command(verb), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )


def _finish(process: subprocess.Popen[bytes], workspace: Workspace) -> dict[str, Any]:
    try:
        said, _ = process.communicate(timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise EngineFailedError(f"{workspace.tasks} tasks took more than {_LIMIT_S:.0f} s") from None
    if process.returncode:
        raise EngineFailedError(
            f"the engine ended with code {process.returncode}; its output is in {LOGS / 'engine.log'}"
        )
    result: dict[str, Any] = json.loads(said)
    return result
