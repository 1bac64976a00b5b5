"""The benchmark: ours, flytekit's connector service and the bare minimum, side by side in one run.

  calls       GetTask and CreateTask: calls per second, CPU per call
  blocking    a client that blocks for 200 ms, 200 GetTasks at once; the same by pages of 100
  fleet       10,000 live jobs at a platform that allows 10 calls per second, in real time
  virtual     the same in process and in virtual time, for longer, with polls spread and in bursts
  growth      CPU, platform calls and memory with 1,000, 10,000 and 100,000 live jobs
  neighbours  a noisy agent beside a quiet one
  processes   2 processes against 1
  start       cold start and idle memory
  engine      10,000 tasks through the local engine, and again through a SIGKILL; three minutes, and only when it is named

What each line must reach stands in `bench/catalogue.py`. The first run installs flytekit and matplotlib into `.bench/` and
builds the load generator. All numbers go to `build/reports/bench.json` (of `--quick` to `bench-quick.json`), and from there
to `docs/performance.md`; `--render` does only that. With `--only`, the sections that were not run keep the numbers of the
last run in the report. A missed target is said, and is no failure unless `--strict` is given.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import blocking
import calls
import cold_start
import document
import engine_load
import fleet
import flytekit_environment
import growth
import machine
import neighbours
import processes
import report
import virtual
from catalogue import LINES
from places import DOCUMENT, REPORT, ROOT

_Measured = tuple[list[report.Row], dict[str, Any]]
_NEEDS_NO_PEER = frozenset({"virtual", "processes", "engine"})


def main() -> int:
    """Run the chosen sections; return 0, 2 when one could not be measured, 1 with `--strict` when a target is missed."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended with us
    if options.render:
        document.write(report.Report.load(options.render), DOCUMENT)
        return 0
    if set(options.only) - _NEEDS_NO_PEER:
        flytekit_environment.install()
    found, failures = _run(options)
    print(f"\n{report.table(found.rows)}\n")
    print("\n".join(f"{name}: {value}" for name, value in found.facts.items()))
    path = REPORT.with_name("bench-quick.json") if options.quick else REPORT
    whole = found.merged(report.Report.load(path)) if path.exists() and set(options.only) < set(_NAMES) else found
    whole.save(path)
    if not options.quick:
        document.write(whole, DOCUMENT)
    print(f"every round is in {path.relative_to(ROOT)}")
    if failures:
        return 2
    return 1 if options.strict and any(row.is_met is False for row in found.rows) else 0


def _run(options: argparse.Namespace) -> tuple[report.Report, list[str]]:
    begun = time.monotonic()
    facts = machine.facts()
    rows: list[report.Row] = []
    details: dict[str, Any] = {}
    failures: list[str] = []
    for name, measure in _sections(options).items():
        if name not in options.only:
            continue
        started = time.monotonic()
        print(f"measuring {name} ...", file=sys.stderr)
        try:
            found, details[name] = measure()
        except Exception as failure:  # noqa: BLE001 - what one section could not measure must not lose what others did
            failures.append(f"{name} was not measured: {type(failure).__name__}: {failure}")
            print(failures[-1], file=sys.stderr)
            continue
        rows += found
        took = time.monotonic() - started
        print(f"{report.table(found)}\n{name} took {took:.0f} s\n", file=sys.stderr)
        details[name]["took_s"] = round(took)
    order = {key: place for place, key in enumerate(LINES)}
    rows.sort(key=lambda row: order[row.key])
    facts["took"] = f"{time.monotonic() - begun:.0f} s for {', '.join(options.only)}"
    return report.Report(rows=rows, facts=facts, details=details), failures


def _sections(options: argparse.Namespace) -> Mapping[str, Callable[[], _Measured]]:
    """Return what measures each section, in the order of the run."""
    ours = not options.peers_only
    pinned = not options.no_pin
    full: dict[str, Callable[[], _Measured]] = {
        "calls": lambda: calls.measure(calls.Plan(with_ours=ours, is_pinned=pinned)),
        "blocking": lambda: blocking.measure(blocking.Plan(with_ours=ours)),
        "fleet": lambda: fleet.measure(fleet.Plan(with_ours=ours)),
        "virtual": lambda: virtual.measure(virtual.Plan()),
        "growth": lambda: growth.measure(growth.Plan(with_ours=ours)),
        "neighbours": lambda: neighbours.measure(neighbours.Plan(with_ours=ours)),
        "processes": lambda: processes.measure(processes.Plan(with_ours=ours)),
        "start": lambda: cold_start.measure(cold_start.Plan(with_ours=ours)),
        "engine": lambda: engine_load.measure(10_000),
    }
    if not options.quick:
        return full
    sizes = tuple(replace(size, warm_s=10, seconds=10) for size in growth.SIZES[:2])
    small = growth.Plan(sizes=sizes, peer_seconds=5, with_ours=ours)
    return {
        "calls": lambda: calls.measure(calls.Plan(rounds=2, seconds=1, with_ours=ours, is_pinned=pinned)),
        "blocking": lambda: blocking.measure(blocking.Plan(rounds=1, slow_seconds=4, with_ours=ours)),
        "fleet": lambda: fleet.measure(fleet.Plan(seconds=30, peer_seconds=25, with_ours=ours)),
        "virtual": lambda: virtual.measure(virtual.Plan(jobs=2_000, minutes=3)),
        "growth": lambda: growth.measure(small),
        "neighbours": lambda: neighbours.measure(neighbours.Plan(seconds=5, with_ours=ours)),
        "processes": lambda: processes.measure(processes.Plan(rounds=2, with_ours=ours)),
        "start": lambda: cold_start.measure(cold_start.Plan(runs=2, with_ours=ours)),
        "engine": lambda: engine_load.measure(1_000),
    }


_NAMES = ("calls", "blocking", "fleet", "virtual", "growth", "neighbours", "processes", "start", "engine")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        type=_chosen,
        default=list(_NAMES[:-1]),
        metavar="NAME,NAME",
        help="sections to run; default all but engine",
    )
    parser.add_argument("--quick", action="store_true", help="a short look that all works; too noisy to judge by")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--no-pin", action="store_true", help="calls: do not give the servers a core of their own")
    parser.add_argument("--peers-only", action="store_true", help="measure flytekit and the limits without ours")
    parser.add_argument(
        "--render", type=Path, nargs="?", const=REPORT, metavar="REPORT", help="only write docs/performance.md anew"
    )
    return parser.parse_args()


def _chosen(text: str) -> list[str]:
    chosen = text.split(",")
    if not set(chosen) <= set(_NAMES):
        raise argparse.ArgumentTypeError(f"choose from {', '.join(_NAMES)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
