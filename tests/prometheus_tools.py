"""Prometheus' own programs, where this machine has them: Debian and Ubuntu call the package `prometheus`.

A test without them is skipped and says so; in `OUTBOARD_REAL_PARTS=required` runs it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Return the path of `promtool` or `prometheus`."""
    found = shutil.which(name)
    if found is None:
        words = f"a real part was not tried: {name} is not installed (apt-get install prometheus)"
        if os.environ.get("OUTBOARD_REAL_PARTS") == "required":
            pytest.fail(words)
        pytest.skip(words)
    return found


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool and return what it said."""
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
