"""The Go driver of this folder: Flyte 2's own controller and garbage collector, without Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from interop.go_programs import GoProgram

DRIVER: Final = GoProgram(
    name="flyte2",
    source=Path(__file__).resolve().parent / "driver",
    title="Flyte 2's executor",
    workspaces=("OUTBOARD_GO_WORK2", "OUTBOARD_GO_WORK"),
)
