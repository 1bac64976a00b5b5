"""Starts a program of ours by path: `python boot.py MODULE [ARGUMENT ...]`; the module has a `main(arguments)`.

A job needs a runner that is up in some ten milliseconds and idles in a few megabytes. Importing it as part of the
package would first execute `outboard/__init__.py`, which is made for people who write agents. So the package is stood in
for by an empty module with the right search path; the programs then use ordinary absolute imports and pay only for what
they name. The packages on their way have a docstring and nothing else.
"""

# The runner of every job loads this file, and pathlib would double its start.
# ruff: noqa: PTH100, PTH120

import os
import sys

PATH = os.path.abspath(__file__)
"""What jobs give to Python."""


def stand_in_package() -> None:
    """Make `outboard` importable under its real name without executing its `__init__`."""
    folder = os.path.dirname(PATH)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != folder]
    package = type(sys)("outboard")
    package.__path__ = [os.path.dirname(folder)]
    sys.modules["outboard"] = package


if __name__ == "__main__":
    stand_in_package()
    module = sys.argv[1]
    __import__(module)
    sys.exit(sys.modules[module].main(sys.argv[2:]))
