"""Flyte 2 against our service: the SDK's own client side and local runs, and the executor's own code with its connector plugin.

`client`, `tasks` and `values` are the SDK's side; `executor` and `driver/` (Go) are the engine's. `wire`, `local_runs` and
`scenarios` are what is tried, each against services that `services` starts and platforms that count jobs in a ledger.

The SDK changes the process that imports it: its metrics, its hook for exceptions, its log handlers. So `report` runs in a
process of its own, and this module, which our service imports for `agents`, imports nothing of the SDK.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tables.sections import Section

EVERYTHING: Final = "everything"
SDK: Final = "sdk"
EXECUTOR: Final = "executor"
CHECKS: Final = "checks"
"""Pieces: all; the SDK, shortened; the executor, shortened; and two scenarios with the SDK's service, which break."""

_ROOT: Final = Path(__file__).resolve().parents[3]
_LIMIT_S: Final = 3600
_LAST_WORDS: Final = 2000


def sections() -> list[Section]:
    """Return all tables of this part."""
    return piece(EVERYTHING)


def piece(name: str) -> list[Section]:
    """Return the tables of one piece, made in a process of its own.

    Raises:
        RuntimeError: The process failed; the message has its last words.
    """
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(_ROOT / place) for place in ("src", "tests", ".")),
        # The SDK reports its crashes to its makers unless it is told not to; crashes here are ours.
        "DO_NOT_TRACK": "1",
    }
    with tempfile.TemporaryDirectory(prefix="interop-flyte2-") as folder:
        tables = Path(folder) / "tables.json"
        command = [sys.executable, "-m", "interop.flyte2.report", name, str(tables)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S, env=variables)
        if done.returncode:
            raise RuntimeError(f"{name} came to no end: {(done.stdout + done.stderr)[-_LAST_WORDS:]}")
        return [Section(**each) for each in json.loads(tables.read_text("utf-8"))]
