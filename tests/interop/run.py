"""`make interop`: everything that is tried against real engines and real SDKs.

python tests/interop/run.py
python tests/interop/run.py --only propeller,pyflyte
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT)]

from tables.reporting import Report  # noqa: E402 - found only now

REPORT: Final = Report(
    target="interop",
    about=__doc__ or "",
    parts={
        "propeller": "FlytePropeller's connector plugins drive our service",
        "flyte2": "Flyte 2's SDK and connector plugin drive our service",
        "hosted": "flytekit's connectors on our service, and jobs in flight",
        "pyflyte": "flytekit's tasks on our engine",
    },
)

if __name__ == "__main__":
    sys.exit(REPORT.run())
