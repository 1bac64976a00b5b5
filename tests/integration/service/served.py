"""`outboard serve` as a process of its own, for tests that kill it and read what it logs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


class Served:
    """A service in a process of its own, what it logs (`lines`), and what else is written there (`texts`)."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.address = ""
        self.ready = ""
        self.lines: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self._came = asyncio.Condition()
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            async with self._came:
                if line.startswith("{"):
                    self.lines.append(json.loads(line))
                elif line.startswith("outboard serves "):
                    self.ready, self.address = line, line.split(" on ")[1].split(": ")[0].split(";")[0]
                else:
                    self.texts.append(line.rstrip())
                self._came.notify_all()
        async with self._came:
            self._came.notify_all()

    async def until(self, is_so: Callable[[], Any]) -> Any:
        """Wait for something to be read."""
        async with self._came:
            await asyncio.wait_for(self._came.wait_for(lambda: is_so() or self._reader.done()), 60)
        assert is_so(), self.lines
        return is_so()

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of an event so far."""
        wanted = {"event": event, **fields}.items()
        return [line for line in self.lines if wanted <= line.items()]

    @property
    def children(self) -> list[int]:
        """The processes of isolated platforms that were started so far."""
        return [line["pid"] for line in self.logged("isolated platform is up")]

    @property
    def workers(self) -> list[int]:
        """The worker processes that were started so far."""
        return [line["pid"] for line in self.logged("worker process is up")]

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.terminate()  # so that it clears its folder away
        try:
            await asyncio.wait_for(self.process.wait(), 30)
        except asyncio.TimeoutError:
            self.process.kill()
        await self._reader


@asynccontextmanager
async def served(*options: str, **environment: str) -> AsyncIterator[Served]:
    """`outboard serve` with these options."""
    with tempfile.TemporaryDirectory() as folder:  # what is left of a killed service goes with it
        async with _served(options, Path(folder), environment) as service:
            yield service


@asynccontextmanager
async def _served(options: Sequence[str], folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Served]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "outboard", "serve", "--port", "0", "--platforms", "", *options,
        cwd=HERE, env={**os.environ, "TMPDIR": str(folder), **environment},
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    served = Served(process, folder)
    try:
        await served.until(lambda: served.ready)
        yield served
    finally:
        await served.end()


async def until_file(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes it
        await asyncio.sleep(0.01)


async def until_gone(pid: int) -> None:
    for _ in range(2000):
        if not is_running(pid):
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"process {pid} is still there")


def is_running(pid: int) -> bool:
    """Tell whether there is such a process, zombies apart: an orphan's new parent may take its time."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def read(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return bytes(answer.read()).decode()
