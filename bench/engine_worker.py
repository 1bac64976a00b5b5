"""One engine process of section C: runs or resumes the tasks, and says as JSON what it did.

Started by `engine_load.py` as a process of its own, so that its peak memory is its own and a SIGKILL takes nothing else
along. How our engine is driven stands in `drive` alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path

import usage


async def drive(options: argparse.Namespace) -> int:
    """Run or resume all tasks and return how many succeeded."""
    raise SystemExit(f"the engine has no way to {options.verb} many tasks yet")


def main() -> None:
    """Parse, drive, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("run", "resume"))
    parser.add_argument("--folder", type=Path, required=True, help="where journal, ledger and gate lie")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--concurrency", type=int, required=True, help="tasks in flight at once")
    parser.add_argument("--hold-after", type=int, required=True, help="jobs after this number wait for the gate")
    options = parser.parse_args()
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
