"""Starts one of this folder's programs by path: `python boot.py PROGRAM [ARGUMENT ...]`.

A job needs a runner that is up in some ten milliseconds and idles in a few megabytes. Importing it as part of the
package would first execute `outboard/__init__.py`, which is made for people who write agents. So the packages on the
way are stood in for by empty modules with the right search path; the programs then use ordinary absolute imports and
pay only for what they name. Programs started so may import this folder's modules and the standard library, no more.
"""

# The runner of every job loads this file, and pathlib would double its start.
# ruff: noqa: PTH100, PTH120

import os
import sys

PACKAGE = "outboard.platforms.embedded"


def stand_in_packages() -> None:
    """Make this folder importable under its real name without executing any package's `__init__`."""
    path = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != path]
    name = PACKAGE
    while name:
        package = type(sys)(name)
        package.__path__ = [path]
        sys.modules[name] = package
        name, path = name.rpartition(".")[0], os.path.dirname(path)


if __name__ == "__main__":
    stand_in_packages()
    module = f"{PACKAGE}.{sys.argv[1]}"
    __import__(module)
    sys.exit(sys.modules[module].main(sys.argv[2:]))
