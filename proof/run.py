"""`make proof`: puts Outboard and flytekit's own service to every scenario, and counts.

The table says, from the platforms' own ledgers, what each system did (see `trials` for how they are run);
`build/reports/proof.json` has the same with a command per row that repeats it. The exit code is 1 when Outboard broke a
promise or could not be put to one, 0 otherwise: what the others do is for comparison.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

from proof import catalogue, peers, report  # noqa: E402 - the path is set first
from proof.scenarios import EVERYBODY, OUTBOARD  # noqa: E402 - same
from proof.trials import Trial, Trials  # noqa: E402 - same

REPORT = ROOT / "build" / "reports" / "proof.json"
DEFAULT_SEED = 2030
_LIMIT_S = {False: 600.0, True: 4 * 3600.0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    options = _options(arguments)
    if options.list:
        print("\n".join(f"{each.name:<32} {each.promise}" for each in catalogue.find(options.only)))
        return 0
    trials = plan(options)
    print(f"{len(trials)} trials, seed {options.seed}, {'full' if options.full else 'short'} form", file=sys.stderr)
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trials are ended with us
    rows, unmeasured = Trials(trials, options.workers).run()
    if options.report is not None:
        report.save(options.report, rows, unmeasured, _facts(options))
    print(f"\n{report.table(rows)}\n" if rows else "")
    print(report.notes(rows if options.only else [row for row in rows if row.system == OUTBOARD]))
    return conclude(rows, unmeasured, time.monotonic() - begun)


def plan(options: argparse.Namespace) -> list[Trial]:
    """Return the trials that the options ask for."""
    systems = [name for name in EVERYBODY if name in options.system]
    if any(name != OUTBOARD for name in systems) and not peers.prepare():
        systems = [name for name in systems if name == OUTBOARD]
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
