"""How long from exec until the service says SERVING, and what it holds in memory then.

Both are byte-compiled and started in turns, ours first, then flytekit, in the same way and asked by the same health check. The
first start of each is not counted: it fills the page cache. Memory is the resident set of the whole process tree one second after
SERVING, before any call; pages that it shares with others count in full, on both sides.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cores
import servers
import usage
from catalogue import FLYTEKIT, OURS
from places import BENCH, FLYTEKIT_HOME, OUR_BIN, ROOT
from report import Row, row

_SETTLE_S = 1.0
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often to start each."""

    runs: int = 5
    with_ours: bool = True


def measure(plan: Plan) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows, and every single start as details."""
    byte_compile()
    launches = {OURS: servers.ours()} if plan.with_ours else {}
    launches[FLYTEKIT] = servers.flytekit()
    starts: dict[str, list[float]] = {name: [] for name in launches}
    sizes: dict[str, list[float]] = {name: [] for name in launches}
    with cores.apart() as placing:
        for run in range(plan.runs + 1):
            for name, launch in launches.items():
                with servers.running(launch, cores=placing.server) as server:
                    time.sleep(_SETTLE_S)
                    if run:
                        starts[name].append(server.started_in_s)
                        sizes[name].append(usage.resident_bytes(server.pid) / _MIB)
    rows = [row("start.time", starts), row("start.memory", sizes)]
    return rows, {"start_s": starts, "memory_mib": sizes}


def byte_compile() -> None:
    """Compile everything that either server imports, so that neither compiles while it is timed."""
    _compile(OUR_BIN / "python", [OUR_BIN.parent / "lib", ROOT / "src", BENCH / "agents"])
    _compile(FLYTEKIT_HOME / "bin" / "python", [FLYTEKIT_HOME / "lib", BENCH / "peers"])


def _compile(python: Path, folders: list[Path]) -> None:
    # Some distributions ship templates or tests that are no Python of this version; what a server imports compiles.
    subprocess.run(
        [str(python), "-m", "compileall", "-q", "-j", "0", *map(str, folders)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
