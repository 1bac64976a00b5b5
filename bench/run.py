"""The benchmark: ours, flytekit and the bare minimum, side by side in one run.

  A  GetTask and CreateTask: calls per second and server CPU per call, under load from an outside program (Go, grpc-go).
     Targets: at least 1.3x flytekit's GetTask rate, at most 1.25x the bare grpc.aio echo's CPU per GetTask.
  B  Cold start until health says SERVING (at most 0.6x flytekit's) and idle memory (at most 0.75x).
  C  10,000 no-op tasks through the engine in process, journal on: tasks per second and peak memory; then the same again,
     killed with SIGKILL on the way with 1,000 tasks in flight, and resumed: exactly 10,000 jobs.

The first run installs flytekit into `.bench/flytekit` and builds the load generator. All numbers go to
`build/reports/bench.json`. A missed target is said, and is no failure unless `--strict` is given.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import calls
import cold_start
import engine_load
import flytekit_environment
import loader
import report
import servers
from places import REPORT, ROOT

_FAILURES = (
    calls.UnequalWorkError,
    engine_load.EngineFailedError,
    loader.LoaderFailedError,
    servers.ServerFailedError,
)


def main() -> int:
    """Run the chosen sections; return 0, 2 when one could not be measured, 1 with `--strict` when a target is missed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended with us
    begun = time.monotonic()
    rows: list[report.Row] = []
    details: dict[str, Any] = {}
    failures: list[str] = []
    if {"A", "B"} & options.only:
        flytekit_environment.install()
    for section in sorted(options.only):
        print(f"measuring section {section} ...", file=sys.stderr)
        try:
            found, seen = _measure(section, options)
        except _FAILURES as failure:
            failures.append(f"section {section} was not measured: {failure}")
            continue
        rows += found
        details[section] = seen
    facts = _facts()
    report.save(REPORT, rows, facts, details)
    print(f"\n{report.table(rows)}\n")
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    print(f"took {time.monotonic() - begun:.0f} s; every round is in {REPORT.relative_to(ROOT)}")
    print("\n".join(failures), file=sys.stderr)
    if failures:
        return 2
    missed = [row for row in rows if row.is_met is False]
    return 1 if options.strict and missed else 0


def _measure(section: str, options: argparse.Namespace) -> tuple[list[report.Row], dict[str, Any]]:
    with_ours = not options.peers_only
    if section == "A":
        rounds, seconds = (3, 1.5) if options.quick else (options.rounds, options.seconds)
        plan = calls.Plan(
            rounds=rounds,
            seconds=seconds,
            callers=options.callers,
            jobs=options.jobs,
            is_pinned=not options.no_pin,
            with_ours=with_ours,
        )
        return calls.measure(plan)
    if section == "B":
        return cold_start.measure(cold_start.Plan(runs=3 if options.quick else options.starts, with_ours=with_ours))
    return engine_load.measure(1_000 if options.quick else options.tasks)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_sections, default={"A", "B", "C"}, metavar="A,B,C", help="sections to run")
    parser.add_argument("--quick", action="store_true", help="a short run to see that all works; too noisy to judge by")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--rounds", type=int, default=5, help="A: rounds per method (default %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="A: seconds per round and server (default %(default)s)"
    )
    parser.add_argument("--callers", type=int, default=64, help="A: calls in flight (default %(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=200, help="A: jobs that GetTask polls in turn (default %(default)s)"
    )
    parser.add_argument("--no-pin", action="store_true", help="A: do not give the servers a core of their own")
    parser.add_argument("--starts", type=int, default=7, help="B: starts of each service (default %(default)s)")
    parser.add_argument("--tasks", type=int, default=10_000, help="C: tasks (default %(default)s)")
    parser.add_argument("--peers-only", action="store_true", help="A, B: measure flytekit and the echo without ours")
    return parser.parse_args()


def _sections(text: str) -> set[str]:
    chosen = set(text.upper().split(","))
    if not chosen <= {"A", "B", "C"}:
        raise argparse.ArgumentTypeError("choose from A, B and C, separated by commas")
    return chosen


def _facts() -> dict[str, Any]:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    ours = {name: importlib.metadata.version(name) for name in ("outboard", "grpcio", "protobuf", "flyteidl", "uvloop")}
    facts: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, "
        f"{platform.system()} {platform.release()}, load average {os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        "ours": ours,
    }
    if flytekit_environment.is_installed():
        facts["peer"] = flytekit_environment.versions()
    return facts


if __name__ == "__main__":
    sys.exit(main())
