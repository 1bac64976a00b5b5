"""Real parts: servers, emulators and vendors' clients, each in a virtual environment of its own under `.parts/`.

They live apart from the tests' environment, since what they need would bend its versions. An environment is made by the first
test that wants it, from `requirements/parts/<name>.txt` (every version pinned, with its hashes; `make lock` writes it), and
kept until those lines change. Where the packages cannot be had, that test is skipped with a reason that says so; in
`OUTBOARD_REAL_PARTS=required` runs it fails.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).resolve().parents[1]
_HOME: Final = _ROOT / ".parts"
_REQUIREMENTS: Final = _ROOT / "requirements" / "parts"
_LIMIT_S: Final = 600
_LAST_WORDS: Final = 300
_not_to_be_had: Final[dict[str, str]] = {}


class NotToBeHad(Exception):
    """A real part cannot be installed on this machine; the message says why, in words for a report."""


def environment(name: str) -> Path:
    """Return the interpreter of an environment, whose programs lie beside it; a test that has none is skipped.

    Args:
        name: Of a file in `requirements/parts/`.
    """
    try:
        return install(name)
    except NotToBeHad as error:
        if os.environ.get("OUTBOARD_REAL_PARTS") == "required":
            raise
        pytest.skip(f"a real part was not tried: {error}")


def install(name: str) -> Path:
    """Return the interpreter of an environment that holds what is wanted, made where it is not there yet.

    Raises:
        NotToBeHad: The packages cannot be installed here.
    """
    if name in _not_to_be_had:
        raise NotToBeHad(_not_to_be_had[name])
    home, wanted = _HOME / name, _REQUIREMENTS / f"{name}.txt"
    mark = home / ".installed"
    print_of_wanted = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    python = home / "bin" / "python"
    with _alone(name):
        if mark.exists() and mark.read_text() == print_of_wanted:
            return python
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes"]
        try:
            done = subprocess.run(
                [*pip, "-r", str(wanted)], capture_output=True, text=True, timeout=_LIMIT_S, check=False
            )
            words = done.stderr.strip()[-_LAST_WORDS:] if done.returncode else ""
        except subprocess.TimeoutExpired:
            words = f"it took longer than {_LIMIT_S} s"
        if words:
            _not_to_be_had[name] = f"requirements/parts/{name}.txt cannot be installed: {words}"
            raise NotToBeHad(_not_to_be_had[name])
        mark.write_text(print_of_wanted)
    return python


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process makes an environment; others that want it wait."""
    _HOME.mkdir(exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
