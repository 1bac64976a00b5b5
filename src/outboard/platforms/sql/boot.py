"""Starts the worker of a statement by path: `python boot.py`, in a job directory of the embedded platform.

The package's own `__init__` is made for people who write agents and would cost each worker a third of a second, so `outboard` and
`outboard.platforms` are stood in for by empty modules with the right search path.
"""

import sys
from pathlib import Path

PLATFORMS = Path(__file__).resolve().parents[1]


def stand_in_packages() -> None:
    """Make the platforms importable under their real names without executing the package's own `__init__`."""
    own = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if str(Path(entry).absolute()) != own]
    for name, path in (("outboard", PLATFORMS.parent), ("outboard.platforms", PLATFORMS)):
        package = type(sys)(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package


if __name__ == "__main__":
    stand_in_packages()
    from outboard.platforms.sql.worker import main

    sys.exit(main())
