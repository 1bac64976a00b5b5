"""The Go program of this folder: FlytePropeller's own controller, without Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from interop.go_programs import GoProgram

PROGRAM: Final = GoProgram(
    name="propeller",
    source=Path(__file__).resolve().parent / "program",
    title="FlytePropeller's code",
    workspaces=("OUTBOARD_GO_WORK",),
)
