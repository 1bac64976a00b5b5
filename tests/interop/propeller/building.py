"""Builds the Go program of this folder, where there is a `go` and where it finds Flyte's modules.

`program/go.mod` names the published modules and `go.sum` their hashes; the build works in a copy, so that it changes neither.
Where the module proxy does not have them, the variable `OUTBOARD_GO_WORK` names a Go workspace that holds these modules and
uses the program's folder; nothing else of such a place is known here.

The binary is kept under `build/interop/`, by a hash of its sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[3]
_SOURCE: Final = Path(__file__).resolve().parent / "program"
_KEPT: Final = _ROOT / "build" / "interop"
_LIMIT_S: Final = 1800
_LAST_WORDS: Final = 300
WORKSPACE: Final = "OUTBOARD_GO_WORK"


class NotToBeHad(Exception):
    """The program cannot be built on this machine; the message says why, in words for a report."""


def program() -> Path:
    """Return the built program.

    Raises:
        NotToBeHad: There is no `go`, or the modules are not to be had.
    """
    built = _KEPT / f"propeller-{_fingerprint()}"
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise NotToBeHad("there is no `go` on this machine's PATH, so FlytePropeller's code cannot be built")
    _KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="propeller-", dir=_KEPT) as folder:
        part = Path(folder) / "propeller"
        workspace = os.environ.get(WORKSPACE, "")
        if workspace:
            _build(go, _SOURCE, part, [], {"GOWORK": workspace})
        else:
            copy = shutil.copytree(_SOURCE, Path(folder) / "source")
            _build(go, copy, part, ["-mod=mod"], {"GOWORK": "off"})
        part.replace(built)
    return built


def _build(go: str, source: Path, target: Path, options: list[str], variables: dict[str, str]) -> None:
    command = [go, "build", *options, "-trimpath", "-ldflags", "-s -w", "-o", str(target), "."]
    environment = {**os.environ, **variables}
    try:
        done = subprocess.run(
            command, cwd=source, env=environment, capture_output=True, text=True, check=False, timeout=_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"building FlytePropeller's code took longer than {_LIMIT_S} s") from None
    if done.returncode:
        words = " ".join(done.stderr.split())[-_LAST_WORDS:]
        remedy = f"name a Go workspace that holds Flyte's modules in {WORKSPACE}"
        raise NotToBeHad(f"FlytePropeller's code could not be built ({words}); {remedy}")


def _fingerprint() -> str:
    """Return a hash of the sources and of where the modules come from."""
    digest = hashlib.sha256(os.environ.get(WORKSPACE, "").encode())
    for file in [*sorted(_SOURCE.glob("*.go")), _SOURCE / "go.mod", _SOURCE / "go.sum"]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
