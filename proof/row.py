"""Puts one system to one scenario, in a process of its own: the runner starts it with the interpreter that the system needs.

flytekit's interpreter has flytekit's packages; what Outboard's test kit needs beyond them comes from our own environment,
behind flytekit's own, so that flytekit runs with the versions that it was installed with.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    sys.path.insert(1, str(ROOT / "src"))
    sys.path += filter(None, os.environ.get("OUTBOARD_PROOF_PACKAGES", "").split(os.pathsep))

if TYPE_CHECKING:
    from proof.scenarios import Result, Scenario, System


def main() -> int:
    """Write the rows of one scenario as JSON; return 0, also where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--system", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    logging.disable(
        logging.CRITICAL
    )  # both systems tell of every fault that they meet, and faults are all they meet here
    from proof import catalogue  # noqa: PLC0415 - the path is set by now
    from proof.systems import SYSTEMS  # noqa: PLC0415 - same

    (scenario,) = catalogue.find([options.name])
    begun = time.perf_counter()
    results = perform(scenario, SYSTEMS[options.system](), options.size, options.seed)
    told = {"seconds": round(time.perf_counter() - begun, 3), "results": [asdict(each) for each in results]}
    options.output.write_text(json.dumps(told), encoding="utf-8")
    return 0


def perform(scenario: Scenario, system: System, size: int, seed: int) -> list[Result]:
    """Return what a scenario counts; coroutines are run in virtual time.

    Raises:
        ValueError: It counted nothing, so it proves nothing.
    """
    from outboard.testing.virtual_time import run_virtually  # noqa: PLC0415 - the path is set by now

    made = scenario.run(system, size, seed)
    results = list(run_virtually(made, patience_s=0) if isinstance(made, Coroutine) else made)
    if not results:
        raise ValueError(f"{scenario.name} counted nothing")
    return results


if __name__ == "__main__":
    sys.exit(main())
