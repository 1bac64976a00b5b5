"""One engine process of section C: runs or resumes the tasks, and says as JSON what it did.

Started by `engine_load.py` as a process of its own, so that its peak memory is its own and a SIGKILL takes nothing else
along. How our engine is driven stands in `drive` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from pathlib import Path

import structlog

import usage
from agents.ledgered import Ledgered
from outboard.agent import Registry, Task
from outboard.engine import Engine, EngineSettings
from outboard.host import Host

_RUN = "bench"


async def drive(options: argparse.Namespace) -> int:
    """Run or resume all tasks and return how many succeeded."""
    settings = {
        "ledger": options.folder / "ledger",
        "gate": options.folder / "gate",
        "hold_after": options.hold_after,
    }
    engine_settings = EngineSettings(output_base=str(options.folder / "outputs"), max_live=options.concurrency)
    async with (
        Host(Registry([Ledgered.configure(settings)])) as host,
        Engine.in_process(host, journal=options.folder / "journal.db", settings=engine_settings) as engine,
    ):
        if options.verb == "resume":
            outcomes = await engine.resume(_RUN)
        else:
            tasks = [Task(type="ledgered", config={}) for _ in range(options.tasks)]
            outcomes = await engine.run_many(tasks, run_id=_RUN)
    return sum(outcome.is_success for outcome in outcomes)


def main() -> None:
    """Parse, drive, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("run", "resume"))
    parser.add_argument("--folder", type=Path, required=True, help="where journal, ledger and gate lie")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True, help="tasks in flight at once")
    parser.add_argument("--hold-after", type=int, required=True, help="jobs after this number wait for the gate")
    options = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    begun = time.perf_counter()
    succeeded = asyncio.run(drive(options))
    said = {
        "succeeded": succeeded,
        "seconds": time.perf_counter() - begun,
        "peak_bytes": usage.peak_rss_bytes(os.getpid()),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
