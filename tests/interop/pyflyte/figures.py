"""What our entry point costs `import flytekit`: the same interpreter, with the entry point and with it left out, in turn."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

COLUMNS: Final = ("entry point", "ms (median)", "ms (least)", "ratio", "modules of Outboard")
_ROUNDS: Final = 7
_MOST: Final = 1.2
_PROGRAM: Final = """
import importlib.metadata, sys, time
real = importlib.metadata.entry_points
def chosen(**wanted):
    found = real(**wanted)
    return [each for each in found if {keeps} or each.name != "outboard"] if wanted == {{"group": "flytekit.plugins"}} else found
importlib.metadata.entry_points = chosen
began = time.perf_counter()
import flytekit
print(time.perf_counter() - began, sum(name.split(".")[0] == "outboard" for name in sys.modules))
"""


def rows() -> Sequence[dict[str, Any]]:
    """Measure both in turn, so that the machine's moods strike both."""
    found: dict[bool, list[tuple[float, int]]] = {False: [], True: []}
    for _ in range(_ROUNDS):
        for keeps, times in found.items():
            times.append(measured(keeps=keeps))
    least = {keeps: min(seconds for seconds, _ in times) for keeps, times in found.items()}
    return [
        {
            "entry point": "ours" if keeps else "none",
            "ms (median)": round(1000 * statistics.median(seconds for seconds, _ in times)),
            "ms (least)": round(1000 * least[keeps]),
            "ratio": round(least[keeps] / least[False], 2),
            "modules of Outboard": times[0][1],
        }
        for keeps, times in found.items()
    ]


def complaints(found: Sequence[dict[str, Any]]) -> list[str]:
    """Return what is not as promised: the import stays as it was."""
    ratio = found[-1]["ratio"]
    return [f"`import flytekit` takes {ratio} times as long with us"] if ratio > _MOST else []


def measured(*, keeps: bool) -> tuple[float, int]:
    """Return the seconds of an import, and how many modules of ours it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(keeps=keeps)], capture_output=True, text=True, check=True
    )
    seconds, modules = done.stdout.split()
    return float(seconds), int(modules)
