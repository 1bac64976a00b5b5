"""Where the benchmark keeps things: what it builds in `.bench/`, what it reports in `build/reports/`."""

from __future__ import annotations

import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
OUR_BIN = Path(sys.executable).parent
ECHO = BENCH / "peers" / "echo.py"

SCRATCH = ROOT / ".bench"
FLYTEKIT_HOME = SCRATCH / "flytekit"
LOADER = SCRATCH / "load"
LOGS = SCRATCH / "logs"
REPORT = ROOT / "build" / "reports" / "bench.json"
DOCUMENT = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images" / "performance"
PLOTS_HOME = SCRATCH / "plots"
