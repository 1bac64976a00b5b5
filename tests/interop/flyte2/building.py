"""Builds the driver, where there is a `go` and where it finds Flyte's modules.

`driver/go.mod` names the published modules; what they need beside is resolved by the build, in a copy. Where the module proxy
does not have them, the variable `OUTBOARD_GO_WORK2` (or `OUTBOARD_GO_WORK`) names a Go workspace that holds these modules and
uses the driver's folder. The binary is kept under `build/interop/`, by a hash of its sources.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[3]
_SOURCE: Final = Path(__file__).resolve().parent / "driver"
_KEPT: Final = _ROOT / "build" / "interop"
_LIMIT_S: Final = 1800
_LAST_WORDS: Final = 300
WORKSPACES: Final = ("OUTBOARD_GO_WORK2", "OUTBOARD_GO_WORK")


class NotToBeHad(Exception):
    """The driver cannot be built on this machine; the message says why, in words for a report."""


def driver() -> Path:
    """Return the built driver.

    Raises:
        NotToBeHad: There is no `go`, or the modules are not to be had.
    """
    workspace = next(filter(None, map(os.environ.get, WORKSPACES)), "")
    built = _KEPT / f"flyte2-{_fingerprint(workspace)}"
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise NotToBeHad("there is no `go` on this machine's PATH, so Flyte 2's executor cannot be built")
    _KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flyte2-", dir=_KEPT) as folder:
        part = Path(folder) / "driver"
        if workspace:
            _build(go, _SOURCE, part, [], {"GOWORK": workspace})
        else:
            copy = shutil.copytree(_SOURCE, Path(folder) / "source")
            _build(go, copy, part, ["-mod=mod"], {"GOWORK": "off"})
        part.replace(built)
    return built


def _build(go: str, source: Path, target: Path, options: Sequence[str], variables: Mapping[str, str]) -> None:
    command = [go, "build", *options, "-trimpath", "-ldflags", "-s -w", "-o", str(target), "."]
    try:
        done = subprocess.run(
            command,
            cwd=source,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"building Flyte 2's executor took longer than {_LIMIT_S} s") from None
    if done.returncode:
        words = " ".join(done.stderr.split())[-_LAST_WORDS:]
        remedy = f"name a Go workspace that holds Flyte 2's module in {WORKSPACES[0]}"
        raise NotToBeHad(f"Flyte 2's executor could not be built ({words}); {remedy}")


def _fingerprint(workspace: str) -> str:
    """Return a hash of the sources and of where the modules come from."""
    digest = hashlib.sha256(workspace.encode())
    for file in [*sorted(_SOURCE.glob("*.go")), _SOURCE / "go.mod"]:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
