"""What is tried with `pyflyte run`: the same workflow with and without Outboard, calm and in trouble; a row each."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from interop.pyflyte.stages import ALONE, FOR_EVER, WITH, Stage

Row = dict[str, Any]
SYSTEMS: Final = (ALONE, WITH)
COROUTINES: Final = "rest_named"
FUNCTIONS: Final = "rest_token"
_KINDS: Final[Mapping[str, str]] = {COROUTINES: "delete is a coroutine", FUNCTIONS: "delete is a function"}
_PATIENCE_S: Final = 6.0


@contextmanager
def stage() -> Iterator[Stage]:
    """Give a stage of its own."""
    with tempfile.TemporaryDirectory(prefix="interop-pyflyte-") as folder, Stage(Path(folder) / "stage") as made:
        yield made


def calm(system: str) -> Row:
    """Three tasks with agents and two plain ones."""
    with stage() as here:
        run = here.start(system, "flow", "--folder", str(here.folder / "data"), "--n", "100")
        code = run.wait()
        return {
            "run by": system,
            "exit": code,
            "output": run.last_words,
            "jobs started": here.started,
            "left running": here.live,
            "seconds": round(run.seconds, 1),
        }


def interrupted(system: str, kind: str) -> Row:
    """Ctrl-C while a job runs for ever."""
    with stage() as here:
        run = here.start(system, "one", **_course(FOR_EVER), INTEROP_KIND=kind)
        _await_polls(here)
        run.send(signal.SIGINT)
        return _row(here, f"Ctrl-C, {_KINDS[kind]}", system, run.wait(), run.last_words)


def interrupted_twice() -> Row:
    """Ctrl-C twice, of a job that heeds no cancel."""
    with stage() as here:
        run = here.start(WITH, "one", **_course({**FOR_EVER, "deaf_to": 100}))
        _await_polls(here)
        run.send(signal.SIGINT)
        run.await_words("cancelling")
        run.send(signal.SIGINT)
        code = run.wait()
        named = next((line for line in run.text.splitlines() if line.startswith("left running")), "")
        named = named.partition(", handle")[0]
        return _row(here, "Ctrl-C twice, and the platform heeds none", WITH, code, named)


def killed_alone() -> Row:
    """`kill -9` of flytekit's own run."""
    with stage() as here:
        run = here.start(ALONE, "one", **_course(FOR_EVER))
        _await_polls(here)
        run.kill()
        return _row(here, "kill -9", ALONE, -9, "nothing remembers the job")


def killed_and_resumed() -> Row:
    """`kill -9`, then `outboard jobs` and `outboard resume`."""
    with stage() as here:
        _killed(here)
        listed = _open_runs(here)
        here.server.ledger.settle(here.await_started(1)[0], "SUCCEEDED")
        resumed = here.outboard("resume")
        words = f"{len(listed)} run listed; resume: {resumed.stdout.strip()}"
        return _row(here, "kill -9, then outboard resume", WITH, resumed.returncode, words)


def killed_and_cancelled() -> Row:
    """`kill -9`, then `outboard cancel`."""
    with stage() as here:
        _killed(here)
        run_id = _open_runs(here)[0]
        done = here.outboard("cancel", run_id)
        words = (done.stdout or done.stderr).strip().splitlines()[-1]
        return _row(here, "kill -9, then outboard cancel", WITH, done.returncode, words)


def killed_and_gone_on_with() -> Row:
    """`kill -9`, then the workflow again with `OUTBOARD_RESUME=last`."""
    with stage() as here:
        _killed(here)
        here.server.ledger.settle(here.await_started(1)[0], "SUCCEEDED")
        run = here.start(WITH, "one", **_course(FOR_EVER), OUTBOARD_RESUME="last")
        return _row(here, "kill -9, then again with OUTBOARD_RESUME=last", WITH, run.wait(), run.last_words)


def lost_then_well(system: str) -> Row:
    """The platform loses the first job (RETRYABLE_FAILED); the task allows two retries."""
    with stage() as here:
        run = here.start(system, "one", **_course(FOR_EVER), INTEROP_RETRIES="2")
        here.server.ledger.settle(here.await_started(1)[0], "LOST")
        if system == WITH:
            here.server.ledger.settle(here.await_started(2)[1], "SUCCEEDED")
        return _row(here, "job lost (RETRYABLE_FAILED), retries=2", system, run.wait(), run.last_words)


def lost_for_good(system: str) -> Row:
    """The platform loses the only job."""
    with stage() as here:
        run = here.start(system, "one", **_course({**FOR_EVER, "message": "node 7 went away"}))
        here.server.ledger.settle(here.await_started(1)[0], "LOST")
        return _row(here, "job lost (RETRYABLE_FAILED), retries=0", system, run.wait(), run.last_words)


def hung(system: str) -> Row:
    """A job that runs for ever, of a task with `timeout=1`."""
    with stage() as here:
        run = here.start(system, "one", **_course(FOR_EVER), INTEROP_TIMEOUT_S="1")
        here.await_started(1)
        code = run.wait(_PATIENCE_S)
        words = run.last_words if code is not None else f"still waits after {_PATIENCE_S:g} s"
        return _row(here, "job hangs, timeout=1 s", system, code, words)


def troubles() -> Sequence[Row]:
    """All that can go wrong, with and without Outboard."""
    return [
        *(interrupted(system, kind) for kind in _KINDS for system in SYSTEMS),
        interrupted_twice(),
        killed_alone(),
        killed_and_resumed(),
        killed_and_cancelled(),
        killed_and_gone_on_with(),
        *(lost_then_well(system) for system in SYSTEMS),
        *(lost_for_good(system) for system in SYSTEMS),
        *(hung(system) for system in SYSTEMS),
    ]


def _course(course: Mapping[str, Any]) -> dict[str, str]:
    return {"INTEROP_COURSE": json.dumps(course)}


def _await_polls(here: Stage) -> None:
    """Wait until a job runs and is being polled, so that its handle is known."""
    here.await_started(1)
    here.await_polls(2)


def _killed(here: Stage) -> None:
    run = here.start(WITH, "one", **_course(FOR_EVER))
    _await_polls(here)
    run.kill()


def _open_runs(here: Stage) -> list[str]:
    runs = json.loads(here.outboard("jobs", "--json").stdout)["runs"]
    return [run["run"] for run in runs if run["unfinished"]]


def _row(here: Stage, scenario: str, system: str, code: int | None, words: str) -> Row:
    return {
        "scenario": scenario,
        "run by": system,
        "exit": code,
        "jobs started": here.started,
        "left running": here.live,
        "last words": words,
    }


def complaints_of_calm(rows: Sequence[Row]) -> list[str]:
    """Return what is not as promised: both ways end well and with the same output."""
    found = [f"{row['run by']}: exit code {row['exit']}" for row in rows if row["exit"] != 0]
    outputs = {row["output"] for row in rows}
    return found if len(outputs) == 1 else [*found, f"the outputs differ: {sorted(outputs)}"]


def complaints_of_trouble(rows: Sequence[Row]) -> list[str]:
    """Return what is not as promised, of the rows with Outboard: no job left unnamed, none started twice, an honest end."""
    found = []
    for row in rows:
        if row["run by"] != WITH:
            continue
        wanted = EXPECTED[row["scenario"]]
        for column, value in wanted.items():
            if row[column] != value:
                found.append(f"{row['scenario']}: {column} is {row[column]}, not {value}")
        if row["left running"] and "left running" not in row["last words"]:
            found.append(f"{row['scenario']}: a job is left running and not named")
    return found


EXPECTED: Final[Mapping[str, Mapping[str, Any]]] = {
    "Ctrl-C, delete is a coroutine": {"exit": 1, "jobs started": 1, "left running": 0},
    "Ctrl-C, delete is a function": {"exit": 1, "jobs started": 1, "left running": 0},
    "Ctrl-C twice, and the platform heeds none": {"exit": 1, "jobs started": 1, "left running": 1},
    "kill -9, then outboard resume": {
        "exit": 0,
        "jobs started": 1,
        "left running": 0,
        "last words": "1 run listed; resume: answer=42",
    },
    "kill -9, then outboard cancel": {"exit": 0, "jobs started": 1, "left running": 0},
    "kill -9, then again with OUTBOARD_RESUME=last": {
        "exit": 0,
        "jobs started": 1,
        "left running": 0,
        "last words": "42",
    },
    "job lost (RETRYABLE_FAILED), retries=2": {"exit": 0, "jobs started": 2, "left running": 0, "last words": "42"},
    "job lost (RETRYABLE_FAILED), retries=0": {"exit": 1, "jobs started": 1, "left running": 0},
    "job hangs, timeout=1 s": {"exit": 1, "jobs started": 1, "left running": 0},
}
"""What is promised with Outboard, by scenario."""
