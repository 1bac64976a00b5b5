"""Local runs of the SDK: what a user gets for a connector task without Outboard, and with it through the bridge.

Every task here is a class of the SDK's own kind; the bridge is one call before the run. The SDK's loop waits three seconds
after each look, the last one too, so no run takes less.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import flyte
from flyte.connectors import ConnectorRegistry

from interop.flyte2 import bridge
from interop.flyte2.services import ROOT
from interop.flyte2.tasks import ConnectorTask
from interop.flyte2.values import Job, Point
from interop.flyte2.wire import Bench
from interop.flyte2.world import job_task
from outboard.testing.ledger_jobs import FAILED, LOST
from tables.sections import Section

_COLUMNS: Final = ("run", "with", "answer", "jobs", "seconds", "right")
_WORDS: Final = "no such table"
_TYPES: Final = {"zulu": int, "alpha": Point, "mike": Job, "bravo": dict[str, list[int]], "kilo": float}
_VALUES: Final = {
    "zulu": 7,
    "alpha": Point(x=1, y=0.5, tags=["a"]),
    "mike": Job(name="n", size=3, points=[1.5]),
    "bravo": {"b": [2, 1]},
    "kilo": 3.0,
}
_ECHO: Final = {"region": "here"}


def local_section(tried: Bench, *, is_lean: bool = False) -> Section:
    """Return what local runs of connector tasks give, without and with Outboard."""
    flyte.init(log_level=logging.CRITICAL)  # it prints every failure; the rows have them
    rows = [
        _run(
            tried,
            "flyte.run of a job",
            "the SDK alone",
            job_task("alone"),
            lambda told: "Cannot find connector" in told,
        )
    ]
    bridge.connect(tried.service.address)
    try:
        rows += [_run(tried, *each) for each in _bridged(is_lean=is_lean)]
        rows += [] if is_lean else [_command(tried)]
    finally:
        ConnectorRegistry._REGISTRY.clear()
        ConnectorRegistry._METADATA.clear()
    return Section(
        title="Flyte 2 SDK: local runs of connector tasks",
        columns=_COLUMNS,
        rows=rows,
        failures=[f"{row['run']}: {row['answer']}" for row in rows if not row["right"]],
        notes=[
            "The SDK runs connectors in its own process; `bridge` registers one per task type of an endpoint.",
        ],
    )


def _bridged(*, is_lean: bool) -> Sequence[tuple[str, str, ConnectorTask, Callable[[str], bool], Mapping[str, Any]]]:
    echo = ConnectorTask("local-echo", "echo", _ECHO, inputs=_TYPES, outputs=_TYPES)
    failing = job_task("local-failed", running_s=0.1, outcome=FAILED, message=_WORDS)
    lost = job_task("local-lost", running_s=0.1, outcome=LOST, message=_WORDS)
    runs = [
        ("flyte.run of a job", "Outboard", job_task("local-job", running_s=0.2), lambda told: told == "(42,)", {}),
        ("flyte.run of five types", "Outboard", echo, lambda told: told == repr(tuple(_VALUES.values())), _VALUES),
        ("flyte.run of a failure", "Outboard", failing, lambda told: _WORDS in told, {}),
        ("flyte.run of a failure worth a retry", "Outboard", lost, lambda told: _WORDS in told, {}),
    ]
    return runs[:2] if is_lean else runs


def _run(
    tried: Bench,
    title: str,
    system: str,
    task: ConnectorTask,
    is_right: Callable[[str], bool],
    inputs: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    before, began = len(tried.ledger.jobs), time.monotonic()
    try:
        answer = repr(tuple(flyte.with_runcontext(mode="local").run(task, **(inputs or {})).outputs()))
    except Exception as error:  # noqa: BLE001 - what the user gets
        answer = f"{type(error).__name__}: {error}"
    return {
        "run": title,
        "with": system,
        "answer": answer,
        "jobs": len(tried.ledger.jobs) - before,
        "seconds": round(time.monotonic() - began, 1),
        "right": is_right(answer),
    }


def _command(tried: Bench) -> Mapping[str, Any]:
    """Run the SDK's command on a file of a user's."""
    before, began = len(tried.ledger.jobs), time.monotonic()
    script = shutil.copy(Path(__file__).with_name("local_task.py"), tried.folder)
    variables = {
        **os.environ,
        "OUTBOARD_ENDPOINT": tried.service.address,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests"))),
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }
    command = [str(Path(sys.executable).with_name("flyte")), "run", "--local", str(script), "counted"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=variables, cwd=tried.folder
    )
    told = " ".join((done.stdout + done.stderr).split())
    return {
        "run": "flyte run --local",
        "with": "Outboard",
        "answer": told[-200:],
        "jobs": len(tried.ledger.jobs) - before,
        "seconds": round(time.monotonic() - began, 1),
        "right": done.returncode == 0 and "42" in told,
    }
