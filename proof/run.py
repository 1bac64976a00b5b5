"""`make proof`: puts Outboard and flytekit's own service to every scenario, and counts.

Every scenario runs in a process of its own per system, two at a time, and beside them one that mostly waits. The table says, from the platforms' own ledgers, what
each system did; `build/reports/proof.json` has the same with a command per row that repeats it. The exit code is 1 when
Outboard broke a promise or could not be put to one, 0 otherwise: what the others do is for comparison.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from proof import catalogue, peers, report  # noqa: E402 - the path is set first
from proof.scenarios import EVERYBODY, OUTBOARD, Result, Scenario  # noqa: E402 - same

REPORT = ROOT / "build" / "reports" / "proof.json"
DEFAULT_SEED = 2030
_LIMIT_S = {False: 600.0, True: 4 * 3600.0}
_LAST_WORDS = 300
_LAST_LINES = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One system that is put to one scenario."""

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _options(arguments)
    if options.list:
        print("\n".join(f"{each.name:<32} {each.promise}" for each in catalogue.find(options.only)))
        return 0
    trials = plan(options)
    print(f"{len(trials)} trials, seed {options.seed}, {'full' if options.full else 'short'} form", file=sys.stderr)
    begun = time.monotonic()
    rows, unmeasured = run(trials, options.workers)
    for path in [options.report] if options.report else []:
        report.save(path, rows, unmeasured, _facts(options))
    print(f"\n{report.table(rows)}\n" if rows else "")
    print(report.notes(rows))
    return conclude(rows, unmeasured, time.monotonic() - begun)


def plan(options: argparse.Namespace) -> list[Trial]:
    """Return the trials that the options ask for."""
    systems = [name for name in EVERYBODY if name in options.system]
    if any(name != OUTBOARD for name in systems) and not peers.prepare():
        systems = [OUTBOARD]
    return [
        Trial(
            scenario=scenario,
            system=system,
            size=options.size or (scenario.full if options.full else scenario.short),
            seed=options.seed,
            limit_s=_LIMIT_S[options.full],
        )
        for scenario in catalogue.find(options.only)
        for system in systems
        if system in scenario.systems
    ]


def run(trials: Sequence[Trial], workers: int) -> tuple[list[report.Row], list[report.Unmeasured]]:
    """Run trials side by side; return their rows in the order of the trials, and those that gave none."""
    tell = _Progress(len(trials))
    with ThreadPoolExecutor(max_workers=workers) as computing, ThreadPoolExecutor(max_workers=1) as waiting:
        pools = {False: computing, True: waiting}
        begun = [pools[trial.scenario.is_waiting].submit(_perform, trial, tell) for trial in trials]
        found = [each.result() for each in begun]
    rows = [row for each in found if isinstance(each, list) for row in each]
    return rows, [each for each in found if isinstance(each, report.Unmeasured)]


def conclude(rows: Sequence[report.Row], unmeasured: Sequence[report.Unmeasured], took_s: float) -> int:
    """Say what came out, and return the exit code."""
    broken = [row for row in rows if row.is_broken]
    missing = [each for each in unmeasured if each.system == OUTBOARD]
    for row in broken:
        print(f"BROKEN: {row.result.scenario} / {row.result.variant}; again: {row.command}", file=sys.stderr)
    for each in unmeasured:
        print(f"NOT MEASURED: {each.name} [{each.system}]: {each.reason}; again: {each.command}", file=sys.stderr)
    ours = [row for row in rows if row.system == OUTBOARD and row.result.is_kept is not None]
    print(f"{len(ours) - len(broken)} of {len(ours)} promises kept; took {took_s:.0f} s")
    return 1 if broken or missing or not rows else 0


class _Progress:
    """Says how far it is, as trials end in any order."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def __call__(self, trial: Trial, words: str) -> None:
        with self._lock:
            self._done += 1
            print(f"{self._done:>3}/{self._total} {trial.scenario.name} [{trial.system}] {words}", file=sys.stderr)


def _perform(trial: Trial, tell: Callable[[Trial, str], None]) -> list[report.Row] | report.Unmeasured:
    """Run one trial in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="outboard-proof-") as folder:
        output = Path(folder) / "rows.json"
        command = [
            *(str(peers.interpreter(trial.system)), str(ROOT / "proof" / "row.py"), trial.scenario.name),
            *("--system", trial.system, "--size", str(trial.size), "--seed", str(trial.seed), "--output", str(output)),
        ]
        words = _run(command, trial.limit_s)
        if not output.exists():
            lines = words.splitlines() or ["it said nothing"]
            tell(trial, "\n".join(["gave no rows:", *lines[-_LAST_LINES:]]))
            last = lines[-1]
            return report.Unmeasured(
                name=trial.scenario.name, system=trial.system, reason=last[:_LAST_WORDS], command=trial.command
            )
        seconds, results = report.load(output)
    tell(trial, f"{seconds:.1f} s, {_verdict(results)}")
    return [report.Row(result=each, system=trial.system, seconds=seconds, command=trial.command) for each in results]


def _run(command: Sequence[str], limit_s: float) -> str:
    """Run a trial's process; return what it said. One that takes too long is ended with all that it started."""
    with subprocess.Popen(
        command,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            return process.communicate(timeout=limit_s)[1].strip()
        except subprocess.TimeoutExpired:
            return f"it was not done within {limit_s:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def _verdict(results: Sequence[Result]) -> str:
    judged = [each for each in results if each.is_kept is not None]
    return f"{sum(bool(each.is_kept) for each in judged)} of {len(judged)} kept"


def _environment() -> dict[str, str]:
    """Return the environment of a trial: nothing of the caller's that bends Python, and where our own packages lie."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OUTBOARD_"))}
    ours = dict.fromkeys([sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]])
    return {**kept, "OUTBOARD_PROOF_PACKAGES": os.pathsep.join(ours), "PYTHONHASHSEED": "0"}


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "seed": options.seed,
        "form": "full" if options.full else "short",
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "peer": peers.versions(),
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_names, default=[], metavar="NAME,...", help="scenarios, or modules of them")
    parser.add_argument("--system", type=_systems, default=list(EVERYBODY), metavar="NAME,...", help="default: all")
    parser.add_argument("--seed", type=_seed, default=DEFAULT_SEED, help="a number, or `random` (default %(default)s)")
    parser.add_argument("--size", type=int, default=0, help="the size of every scenario, instead of its own")
    parser.add_argument("--full", action="store_true", help="the full figures; hours rather than minutes (FULL=1)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="trials at the same time")
    parser.add_argument("--report", type=Path, help="where to write the rows; proof.json where everything runs")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are, and what they promise")
    options = parser.parse_args(arguments)
    options.full = options.full or os.environ.get("FULL", "") not in {"", "0"}
    if options.report is None and not options.only and set(options.system) == set(EVERYBODY):
        options.report = REPORT
    return options


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _systems(text: str) -> list[str]:
    chosen = _names(text)
    if not chosen or not set(chosen) <= set(EVERYBODY):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(EVERYBODY)}")
    return chosen


def _seed(text: str) -> int:
    return random.SystemRandom().randrange(2**31) if text == "random" else int(text)


if __name__ == "__main__":
    sys.exit(main())
