"""What is typed in a document and does something else here than at the reader's: see `reader`.

python -m documents.stand_ins PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

_START_S: Final = 60
_READY: Final = re.compile(r"^outboard serves .*$", re.MULTILINE)
_OPTIONS_WITH_VALUE: Final = {"-r", "-c", "--requirement", "--constraint"}


def _say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")


def outboard(arguments: Sequence[str]) -> int:
    """Run the command; a service goes on in the background once it answers."""
    command = [sys.executable, "-m", "outboard", *arguments]
    if arguments[:1] != ["serve"] or "--help" in arguments:
        os.execv(sys.executable, command)  # noqa: S606 - signals must reach it
    log = Path(os.environ["READER_STATE"], f"service-{time.monotonic_ns()}.log")
    with log.open("wb") as written:
        service = subprocess.Popen(command, stdout=written, stderr=subprocess.STDOUT, start_new_session=True)
    log.with_suffix(".pid").write_text(str(service.pid))
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        text = log.read_text("utf-8")
        ready = _READY.search(text)
        if ready:
            _say(ready[0])
            return 0
        if service.poll() is not None:
            break
        time.sleep(0.05)
    _say(log.read_text("utf-8"), "the service did not become ready")
    return 1


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


PROGRAMS: Final[dict[str, Callable[[Sequence[str]], int]]] = {"outboard": outboard, "make": make, "pip": pip}

if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))
