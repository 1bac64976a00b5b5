"""A stage: a platform over HTTP that keeps a ledger, and `pyflyte run` as real processes beside it.

A process is started as its user starts it, in a session of its own, so that SIGINT can go to its whole group as a terminal's
Ctrl-C does. "Alone" is flytekit with `OUTBOARD_FLYTEKIT=off`: then the connectors of `project/connectors.py` serve the same task
types against the same platform. Every figure is the ledger's, not what a process says of itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from typing_extensions import Self

from outboard.testing.platform_server import PlatformServer
from outboard.testing.tallies import Tally

PROJECT: Final = Path(__file__).resolve().parent / "project"
ROOT: Final = PROJECT.parents[3]
ALONE: Final = "flytekit alone"
WITH: Final = "with Outboard"
FOR_EVER: Final = {"running_s": None}
_LIMIT_S: Final = 60.0


class Stage:
    """A platform and a folder; use it as a context manager.

    Args:
        folder: For homes, settings and what the workflows write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = PlatformServer()
        self.runs: list[Pyflyte] = []

    def __enter__(self) -> Self:
        self.server.__enter__()
        (self.folder / "data").mkdir(parents=True)
        settings = {"platforms": {"RestPlatform": {"url": self.server.url}}}
        (self.folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        for run in self.runs:
            run.kill()
        self.server.__exit__(None, None, None)

    def environment(self, system: str, **more: str) -> dict[str, str]:
        """Return the variables of a process of one of the two systems."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OUTBOARD_", "INTEROP_"))}
        return {
            **kept,
            "PYTHONPATH": str(ROOT / "src"),
            "OUTBOARD_HOME": str(self.folder / "home"),
            "OUTBOARD_SETTINGS": str(self.folder / "settings.json"),
            "OUTBOARD_AGENTS": "outboard.testing.rest_agents:RestPlatform",
            "OUTBOARD_FLYTEKIT": "off" if system == ALONE else "on",
            "INTEROP_PLATFORM": self.server.url,
            "TMPDIR": str(self.folder / "data"),
            "no_proxy": "127.0.0.1,localhost",
            "COLUMNS": "240",  # errors in one line
            **more,
        }

    def start(self, system: str, workflow: str, *arguments: str, **more: str) -> Pyflyte:
        """Start `pyflyte run workflow.py <workflow>`."""
        command = [str(Path(sys.executable).parent / "pyflyte"), "run", "workflow.py", workflow, *arguments]
        run = Pyflyte(command, self.environment(system, **more), self.folder / f"output-{len(self.runs)}")
        self.runs.append(run)
        return run

    def outboard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of Outboard's to its end."""
        command = [sys.executable, "-m", "outboard", *arguments]
        return subprocess.run(
            command,
            env=self.environment(WITH),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )

    def await_started(self, count: int) -> list[str]:
        """Wait until the platform has started so many jobs; return their ids, the oldest first."""
        self.server.run_in_thread(_reaches(self.server.ledger.effects, "started", count))
        return list(self.server.ledger.jobs)

    def await_polls(self, count: int) -> None:
        """Wait until the platform was asked so often where a job stands."""
        self.server.run_in_thread(_reaches(self.server.faults.calls, "get", count))

    @property
    def started(self) -> int:
        """How many jobs were started."""
        return len(self.server.ledger.jobs)

    @property
    def live(self) -> int:
        """How many jobs are not over."""
        return len(self.server.ledger.live())


class Pyflyte:
    """A process of `pyflyte`."""

    def __init__(self, command: list[str], environment: dict[str, str], output: Path) -> None:
        self._output = output
        self._began = time.monotonic()
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, limit_s: float = _LIMIT_S) -> int | None:
        """Wait for its end and return the exit code; None where it has not ended by then."""
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as a terminal does."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kill it, if it lives, as `kill -9` does."""
        if self._process.poll() is None:
            self.send(signal.SIGKILL)
            self._process.wait()

    def await_words(self, words: str) -> None:
        """Wait until it has written something."""
        give_up = time.monotonic() + _LIMIT_S
        while words not in self.text:
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise AssertionError(f"never said {words!r}: {self.text[-2000:]}")
            time.sleep(0.02)

    @property
    def text(self) -> str:
        """What it wrote."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    @property
    def last_words(self) -> str:
        """The last line it wrote, without flytekit's own "Aborted."."""
        lines = [line.strip() for line in self.text.splitlines()]
        return next((line for line in reversed(lines) if line and line != "Aborted."), "")

    @property
    def seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self._began


async def _reaches(tally: Tally, word: str, count: int) -> None:
    await asyncio.wait_for(tally.reaches(word, count), _LIMIT_S)
