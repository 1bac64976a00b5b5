"""Virtual environments of the bench's own, under `.bench/`: what is installed there bends nobody else's versions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from places import SCRATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment that holds exactly `wanted`, as pip spells it, and what that needs."""

    home: Path
    wanted: Sequence[str]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.home / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        """Whether it was made, be it with other versions."""
        return self._mark.exists()

    @property
    def _mark(self) -> Path:
        return self.home / ".installed"

    def install(self) -> None:
        """Make it from PyPI unless it holds what is wanted already."""
        if self._mark.exists() and self._mark.read_text().split() == list(self.wanted):
            return
        print(f"installing {self.wanted[0]} into {self.home.relative_to(SCRATCH.parent)} ...", file=sys.stderr)
        SCRATCH.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.home)], check=True)
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *self.wanted], check=True)
        self._mark.write_text("\n".join(self.wanted) + "\n")
