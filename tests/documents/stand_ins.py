"""What is typed in a document and does something else here than at the reader's: see `reader`.

python -m documents.stand_ins PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import metadata
from typing import Final

from packaging.requirements import Requirement

from documents.services import serve

_OPTIONS_WITH_VALUE: Final = {"-r", "-c", "--requirement", "--constraint"}


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")


SKIPPED: Final = 77
"""The exit code of what cannot be tried on this machine."""
LACKING: Final = "lacking"
"""A file among the document's state that says why; what follows in the document may fail for that."""


def outboard(arguments: Sequence[str]) -> int:
    """Run the command; a service goes on in the background once it answers."""
    if arguments[:1] == ["serve"] and "--help" not in arguments:
        return serve(arguments)
    if arguments[:2] == ["deploy", "render"]:
        from documents import clusters

        return clusters.rendered(arguments)
    os.execv(sys.executable, [sys.executable, "-m", "outboard", *arguments])  # noqa: S606 - signals must reach it
    raise AssertionError("nothing comes after execv")


def make(arguments: Sequence[str]) -> int:
    """Look whether the targets are there."""
    return subprocess.run(["make", "--dry-run", "--silent", "--directory", os.environ["READER_ROOT"], *arguments],
                          stdout=subprocess.DEVNULL, check=False).returncode  # fmt: skip


def pip(arguments: Sequence[str]) -> int:
    """Look whether what is asked for can be: the form of each requirement, and extras of ours."""
    extras = set(metadata("outboard").get_all("Provides-Extra") or ())
    words = iter(arguments[1:])
    for word in words:
        if word in _OPTIONS_WITH_VALUE:
            next(words)
        elif not word.startswith("-"):
            wanted = Requirement(word)
            unknown = wanted.extras - extras if wanted.name == "outboard" else set()
            if unknown:
                _say(f"outboard has no extra {sorted(unknown)}")
                return 1
    return 0 if arguments[:1] == ["install"] else 2


PROGRAMS: Final = {
    "outboard": "stand_ins",
    "make": "stand_ins",
    "pip": "stand_ins",
    "helm": "clusters",
    "kubectl": "clusters",
    "docker": "machines",
    "systemctl": "machines",
    "journalctl": "machines",
    "curl": "machines",
    "sleep": "machines",
}
"""The module where each is; it is imported when it is typed, so that the others start fast."""

if __name__ == "__main__":
    program: Callable[[Sequence[str]], int] = getattr(import_module(f"documents.{PROGRAMS[sys.argv[1]]}"), sys.argv[1])
    sys.exit(program(sys.argv[2:]))
