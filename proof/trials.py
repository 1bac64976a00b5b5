"""Trials: one system put to one scenario each, in a process of its own, several at the same time.

Trials that compute share a few workers; those that mostly wait for real time have one beside them. A trial's process leads
a process group: when it takes too long, or the run is broken off, it is ended with all the services that it started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proof import peers
from proof.report import Row, Unmeasured, load
from proof.scenarios import Result, Scenario

_PROGRAM: Final = Path(__file__).resolve().parent / "row.py"
_LAST_WORDS: Final = 300
_LAST_LINES: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One system that is put to one scenario.

    Attributes:
        limit_s: Real seconds after which it is given up.
    """

    scenario: Scenario
    system: str
    size: int
    seed: int
    limit_s: float

    @property
    def command(self) -> str:
        """What a person types to do it again."""
        return (
            f"python proof/run.py --only {self.scenario.name} --system {self.system}"
            f" --size {self.size} --seed {self.seed}"
        )


class Trials:
    """Runs trials; the progress goes to standard error.

    Args:
        trials: What to run.
        workers: How many of those that compute run at the same time.
    """

    def __init__(self, trials: Sequence[Trial], workers: int) -> None:
        self._trials = trials
        self._workers = workers
        self._lock = threading.Lock()
        self._done = 0
        self._is_broken_off = False
        self._running: set[int] = set()

    def run(self) -> tuple[list[Row], list[Unmeasured]]:
        """Return the rows in the order of the trials, and the trials that gave none."""
        with ThreadPoolExecutor(self._workers) as computing, ThreadPoolExecutor(1) as waiting:
            pools = {False: computing, True: waiting}
            begun = [pools[trial.scenario.is_waiting].submit(self._perform, trial) for trial in self._trials]
            try:
                found = [each.result() for each in begun]
            except BaseException:
                self._break_off()
                raise
        rows = [row for each in found if isinstance(each, list) for row in each]
        return rows, [each for each in found if isinstance(each, Unmeasured)]

    def _perform(self, trial: Trial) -> list[Row] | Unmeasured:
        with tempfile.TemporaryDirectory(prefix="outboard-proof-") as folder:
            output = Path(folder) / "rows.json"
            words = self._await_process(trial, output)
            if not output.exists():
                lines = words.splitlines() or ["it said nothing"]
                self._tell(trial, "\n".join(["gave no rows:", *lines[-_LAST_LINES:]]))
                reason = lines[-1][:_LAST_WORDS]
                return Unmeasured(name=trial.scenario.name, system=trial.system, reason=reason, command=trial.command)
            seconds, results = load(output)
        self._tell(trial, f"{seconds:.1f} s, {_verdict(results)}")
        return [Row(result=each, system=trial.system, seconds=seconds, command=trial.command) for each in results]

    def _await_process(self, trial: Trial, output: Path) -> str:
        """Run the trial's process, and return what it said on standard error."""
        size, seed = ("--size", str(trial.size)), ("--seed", str(trial.seed))
        system = ("--system", trial.system, "--output", str(output))
        with self._lock:
            if self._is_broken_off:
                return "the run was broken off"
            process = subprocess.Popen(
                [str(peers.interpreter(trial.system)), str(_PROGRAM), trial.scenario.name, *system, *size, *seed],
                env=_environment(output.parent),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._running.add(process.pid)
        try:
            return process.communicate(timeout=trial.limit_s)[1].strip()
        except subprocess.TimeoutExpired:
            return f"it was not done within {trial.limit_s:.0f} s"
        finally:
            if process.poll() is None:
                _end_group(process.pid)
                process.communicate()
            with self._lock:
                self._running.discard(process.pid)

    def _break_off(self) -> None:
        """End what runs, and begin nothing more."""
        with self._lock:
            self._is_broken_off = True
            for group in self._running:
                _end_group(group)

    def _tell(self, trial: Trial, words: str) -> None:
        with self._lock:
            self._done += 1
            place = f"{self._done:>3}/{len(self._trials)}"
            print(f"{place} {trial.scenario.name} [{trial.system}] {words}", file=sys.stderr)


def _end_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _verdict(results: Sequence[Result]) -> str:
    judged = [each for each in results if each.is_kept is not None]
    return f"{sum(bool(each.is_kept) for each in judged)} of {len(judged)} kept"


def _environment(folder: Path) -> dict[str, str]:
    """Return a trial's environment: nothing of the caller's that bends Python, our own packages, a folder that goes with it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OUTBOARD_"))}
    ours = dict.fromkeys([sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]])
    return {**kept, "TMPDIR": str(folder), "OUTBOARD_PROOF_PACKAGES": os.pathsep.join(ours), "PYTHONHASHSEED": "0"}
