"""The peer's environment: flytekit from PyPI in a virtual environment of its own, the one that the benchmark uses too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from proof.scenarios import OUTBOARD

_BENCH = Path(__file__).resolve().parent.parent / "bench"
HOME = _BENCH.parent / ".bench" / "flytekit"


def prepare() -> bool:
    """Install flytekit unless it is there; return whether there is one to compare with, and say so where there is not."""
    try:
        _environment().install()
    except subprocess.CalledProcessError as error:
        print(f"flytekit could not be installed ({error}); Outboard is proven alone", file=sys.stderr)
        return False
    return True


def interpreter(system: str) -> Path:
    """Return the Python that a system runs in."""
    return Path(sys.executable) if system == OUTBOARD else HOME / "bin" / "python"


def versions() -> dict[str, str]:
    """Return what is installed that matters to a reader of the report; nothing where nothing is."""
    environment = _environment()
    found: dict[str, str] = environment.versions() if environment.is_installed() else {}
    return found


def _environment() -> Any:
    if str(_BENCH) not in sys.path:
        sys.path.append(str(_BENCH))
    import flytekit_environment  # noqa: PLC0415 - the benchmark's own module, found beside it

    return flytekit_environment
