"""Shows the tables of a `make` target, which names its parts in the module `parts` of its folder.

python tests/tables/run.py warehouses
python tests/tables/run.py warehouses --only bigquery,databricks
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
TARGETS: Final = ("interop", "warehouses", "attack", "deploy")


def main() -> int:
    """Run the target that is asked for; return 1 where anything is not as promised."""
    sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS, help="whose options follow; see its --help")
    options = parser.parse_args(sys.argv[1:2])
    return int(importlib.import_module(f"{options.target}.parts").REPORT.run(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
