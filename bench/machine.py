"""What a reader must know of the machine and the versions to judge the numbers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import flytekit_environment

_GIB = 1024**3


def facts() -> dict[str, Any]:
    """Return the facts by name."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    found: dict[str, Any] = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}, {memory:.0f} GiB, "
        f"{platform.system()} {platform.release()}, load average {os.getloadavg()[0]:.2f} before the run",
        "Python": platform.python_version(),
        "ours": {name: importlib.metadata.version(name) for name in ("outboard", "grpcio", "protobuf", "uvloop")},
    }
    if flytekit_environment.is_installed():
        found["peer"] = flytekit_environment.versions()
    return found
