"""Workers to which something happens at one moment: just before or just after they write a mark.

Such a worker is started through a script that is the worker but for that moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.platforms.sql.sql_hosts import PATIENCE_S
from outboard.detached import boot
from outboard.platforms.sql import agent

SCRIPT = """
import os, runpy, signal, sys, time
from pathlib import Path

boot = runpy.run_path({boot!r})
boot["stand_in_package"]()
from outboard.platforms.sql import marks, worker

write = marks.Marks.write_once


def happen():
    {event}


def write_once(self, name, document):
    if name == {mark!r} and {when!r} == "before":
        happen()
    answer = write(self, name, document)
    if name == {mark!r} and {when!r} == "after":
        happen()
    return answer


marks.Marks.write_once = write_once
sys.exit(worker.main([]))
"""
DIE = "os.kill(os.getpid(), signal.SIGKILL); signal.pause()"
DIE_WITH_RUNNER = f"os.kill(os.getppid(), signal.SIGKILL); {DIE}"
_HALT = """Path({reached!r}).touch()
    give_up = time.monotonic() + 600  # a test that failed opens no gate
    while not Path({gate!r}).exists() and time.monotonic() < give_up:
        time.sleep(0.01)"""


def aim(monkeypatch: pytest.MonkeyPatch, folder: Path, when: str, mark: str, event: str) -> None:
    """Let something happen to the next workers at a moment.

    Args:
        monkeypatch: The test's.
        folder: Of the script.
        when: `before` or `after`.
        mark: The mark's name, without its ending.
        event: What happens, in Python.
    """
    script = folder / f"worker-{len(list(folder.glob('worker-*')))}.py"
    script.write_text(SCRIPT.format(boot=boot.PATH, when=when, mark=f"{mark}.json", event=event))
    monkeypatch.setattr(agent, "WORKER", (str(script),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The next worker stands still at a moment, until it is let go; its main thread goes on ticking."""

    reached: Path
    gate: Path

    @classmethod
    def of(cls, monkeypatch: pytest.MonkeyPatch, folder: Path, when: str, mark: str) -> Halt:
        """As `aim`."""
        halt = cls(reached=folder / "reached", gate=folder / "gate")
        aim(monkeypatch, folder, when, mark, _HALT.format(reached=str(halt.reached), gate=str(halt.gate)))
        return halt

    async def is_reached(self) -> None:
        """Wait until the worker stands there."""
        await holds(self.reached.exists)

    def open(self) -> None:
        """Let the worker go on."""
        self.gate.touch()


async def holds(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)
