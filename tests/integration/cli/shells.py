"""Starts `outboard` as a user does: real processes in a folder of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Shell:
    """Starts `outboard` in a folder of its own; `started` holds every process, ended with the test."""

    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]]

    def start(self, *arguments: str, interpreter: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *interpreter, "-m", "outboard", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> Done:
        out, err = process.communicate(timeout=_LIMIT_S)
        return Done(process.returncode, out, err)

    def run(self, *arguments: str, **variables: str) -> Done:
        self.environment.update(variables)
        return self.end(self.start(*arguments))

    def serve(self) -> tuple[subprocess.Popen[str], str]:
        """Start a service and return it with its address, once it says that it is ready."""
        process = self.start("serve", "--port", "0")
        return process, re.search(r" on (\S+:\d+)", wait_for_line(process, "outboard serves"))[1]  # type: ignore[index]  # the line is there


def wait_for_line(process: subprocess.Popen[str], words: str) -> str:
    """Read a process's standard error up to the line with these words, and return that."""
    return lines_until(process, words)[-1]


def lines_until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read a process's standard error up to the line with these words, and return all that was read."""
    assert process.stderr is not None
    read = []
    for line in process.stderr:
        read.append(line)
        if words in line:
            return read
    raise AssertionError(f"the process ended without {words!r}: {''.join(read)}")
