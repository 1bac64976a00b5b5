"""Real parts: servers, emulators and vendors' clients, each in a virtual environment of its own under `.parts/`.

They live apart from the tests' environment, since what they need would bend its versions. An environment is made by the first
test that wants it, from `requirements/parts/<name>.txt` (every version pinned, with its hashes; `make lock` writes it), and
kept until those lines change. Where the packages cannot be had, that test is skipped with a reason that says so; in
`OUTBOARD_REAL_PARTS=required` runs it fails.

Making one takes as long as the network and the disk take: no test's time limit counts it. On a disk that has little room
nothing is made, and what could not be finished is removed: the tests beside it need the room.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import pytest

MadeT = TypeVar("MadeT")

_ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = _ROOT / ".parts"
_REQUIREMENTS: Final = _ROOT / "requirements" / "parts"
_LIMIT_S: Final = 600
_ROOM_BYTES: Final = 3 * 2**30
"""The largest part takes a third of it, and pip as much again while it works."""
_LAST_WORDS: Final = 300
_not_to_be_had: Final[dict[str, str]] = {}


class NotToBeHad(Exception):
    """A real part cannot be installed on this machine; the message says why, in words for a report."""


def environment(name: str) -> Path:
    """Return the interpreter of an environment, whose programs lie beside it; a test that has none is skipped.

    Args:
        name: Of a file in `requirements/parts/`.
    """
    return tried(partial(install, name))


def tried(make: Callable[[], MadeT]) -> MadeT:
    """Return what is made; the test is skipped where that is not to be had."""
    try:
        return make()
    except NotToBeHad as error:
        if os.environ.get("OUTBOARD_REAL_PARTS") == "required":
            raise
        pytest.skip(f"a real part was not tried: {error}")


def install(name: str, *, is_alone: bool = False) -> Path:
    """Return the interpreter of an environment that holds what is wanted, made where it is not there yet.

    Args:
        name: Of a file in `requirements/parts/`.
        is_alone: The packages are wanted without what they require, which the file then does not list.

    Raises:
        NotToBeHad: The packages cannot be installed here.
    """
    home, wanted = HOME / name, _REQUIREMENTS / f"{name}.txt"
    mark = home / ".installed"
    print_of_wanted = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()

    def is_made() -> bool:
        return mark.exists() and mark.read_text() == print_of_wanted

    if not is_made():
        with making(name):
            if not is_made():
                _make(home, wanted, ["--no-deps"] if is_alone else [])
                mark.write_text(print_of_wanted)
    return home / "bin" / "python"


@contextmanager
def making(name: str) -> Iterator[None]:
    """Make a part: one process does, others that want it wait, and meanwhile no test's time passes.

    Raises:
        NotToBeHad: It cannot be made here; said at once when that is known.
    """
    if name in _not_to_be_had:
        raise NotToBeHad(_not_to_be_had[name])
    try:
        with _no_limit_of_a_test():
            HOME.mkdir(exist_ok=True)
            with (HOME / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
    except (NotToBeHad, OSError) as error:
        _not_to_be_had[name] = f"{name} cannot be installed: {error}"
        raise NotToBeHad(_not_to_be_had[name]) from error


def _make(home: Path, wanted: Path, options: list[str]) -> None:
    free = shutil.disk_usage(home.parent).free
    if free < _ROOM_BYTES:
        raise NotToBeHad(f"the disk has {free / 2**30:.1f} GiB left, and {_ROOM_BYTES / 2**30:g} are asked for")
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes"]
    try:
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        _run([*pip, *options, "-r", str(wanted)])
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"it took longer than {_LIMIT_S} s") from None
    if done.returncode:
        raise NotToBeHad((done.stderr.strip() or done.stdout.strip())[-_LAST_WORDS:])


@contextmanager
def _no_limit_of_a_test() -> Iterator[None]:
    """Stop the clock by which pytest-timeout ends a test, which is the process's interval timer."""
    left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left_s)
