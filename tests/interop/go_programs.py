"""Go programs of ours on Flyte's own modules: built where there is a `go` and where it finds these modules.

A program's `go.mod` names the published modules; the build works in a copy, so that it changes nothing. Where the module proxy
does not have them, a variable names a Go workspace that holds these modules and uses the program's folder; nothing else of
such a place is known here. The binary is kept under `build/interop/`, by a hash of its sources and of that place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_KEPT: Final = Path(__file__).resolve().parents[2] / "build" / "interop"
_LIMIT_S: Final = 1800
_LAST_WORDS: Final = 300


class NotToBeHad(Exception):
    """A program cannot be built on this machine; the message says why, in words for a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoProgram:
    """A program of one folder.

    Attributes:
        name: What its binary is called.
        source: The folder with its `go.mod`.
        title: Whose code it runs, for people.
        workspaces: Variables that may name a Go workspace; the first that is set counts.
    """

    name: str
    source: Path
    title: str
    workspaces: Sequence[str]

    def build(self) -> Path:
        """Return the built program.

        Raises:
            NotToBeHad: There is no `go`, or the modules are not to be had.
        """
        workspace = next(filter(None, map(os.environ.get, self.workspaces)), "")
        built = _KEPT / f"{self.name}-{self._fingerprint(workspace)}"
        if built.exists():
            return built
        go = shutil.which("go")
        if go is None:
            raise NotToBeHad(f"there is no `go` on this machine's PATH, so {self.title} cannot be built")
        _KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{self.name}-", dir=_KEPT) as folder:
            part = Path(folder) / "built"
            if workspace:
                self._run(go, self.source, part, [], {"GOWORK": workspace})
            else:
                copy = shutil.copytree(self.source, Path(folder) / "source")
                self._run(go, copy, part, ["-mod=mod"], {"GOWORK": "off"})
            part.replace(built)
        return built

    def _run(self, go: str, source: Path, target: Path, options: Sequence[str], variables: Mapping[str, str]) -> None:
        command = [*_politely(), go, "build", *options, "-trimpath", "-ldflags", "-s -w", "-o", str(target), "."]
        environment = {**os.environ, **variables}
        try:
            done = subprocess.run(
                command, cwd=source, env=environment, capture_output=True, text=True, check=False, timeout=_LIMIT_S
            )
        except subprocess.TimeoutExpired:
            raise NotToBeHad(f"building {self.title} took longer than {_LIMIT_S} s") from None
        if done.returncode:
            words = " ".join(done.stderr.split())[-_LAST_WORDS:]
            remedy = f"name a Go workspace that holds Flyte's modules in {self.workspaces[0]}"
            raise NotToBeHad(f"{self.title} could not be built ({words}); {remedy}")

    def _fingerprint(self, workspace: str) -> str:
        digest = hashlib.sha256(workspace.encode())
        for file in sorted(each for each in self.source.iterdir() if each.suffix in {".go", ".mod", ".sum"}):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()[:16]


def _politely() -> Sequence[str]:
    """Return what lets a build that takes minutes use only what the tests beside it leave."""
    nice = shutil.which("nice")
    return [nice, "-n", "10"] if nice else []
