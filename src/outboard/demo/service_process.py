"""The demo's service: `python -m outboard serve` as a process of its own, to be killed and started again.

It runs in a session of its own, so that a Ctrl-C in the demo's terminal reaches only the demo, which ends it in order.
Its port is the system's choice at the first start and the same afterwards, as behind a Kubernetes service name.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from outboard.errors import EndpointUnreachable

_READY: Final = re.compile(r"^outboard serves .*? on \S+?:(\d+)(?::|;|$)", re.MULTILINE)
_START_LIMIT_S: Final = 30.0
_STOP_LIMIT_S: Final = 15.0
_LOOK_S: Final = 0.02


class ServiceProcess:
    """A service that can be killed.

    Args:
        folder: Its settings, its logs and its home go there.
        settings: By platform name; just these platforms are served.
    """

    def __init__(self, folder: Path, settings: dict[str, dict[str, Any]]) -> None:
        self.port = 0
        self.kills = 0
        self._folder = folder
        self._settings = settings
        self._starts = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that runs now; 0 where none does."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            EndpointUnreachable: It ended, or did not answer in time; its log says why.
        """
        self._starts += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        settings, log = self._folder / "settings.json", self._folder / f"service-{self._starts}.log"
        settings.write_text(json.dumps({"platforms": self._settings}), "utf-8")
        command = ("-m", "outboard", "serve", "--port", str(self.port), "--settings", str(settings))
        with log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                *("--platforms", ",".join(self._settings)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "OUTBOARD_HOME": str(self._folder / "home")},
                start_new_session=True,
            )
        self.port = await self._await_port(log)

    async def kill(self) -> None:
        """Kill it where it stands, as a machine that loses power does."""
        process = self._running()
        process.send_signal(signal.SIGKILL)
        if await process.wait() == -signal.SIGKILL:
            self.kills += 1
        self._process = None

    async def stop(self) -> None:
        """Let it drain and end; kill it where that takes too long. Nothing where it does not run."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_LIMIT_S)
        except (asyncio.TimeoutError, TimeoutError):
            process.kill()
            await process.wait()

    async def _await_port(self, log: Path) -> int:
        process, give_up = self._running(), time.monotonic() + _START_LIMIT_S
        while process.returncode is None and time.monotonic() < give_up:
            found = _READY.search(await asyncio.to_thread(log.read_text, "utf-8", "replace"))
            if found is not None:
                return int(found.group(1))
            await asyncio.sleep(_LOOK_S)
        await self.stop()
        raise EndpointUnreachable(f"the demo's service did not start; {log} says why")

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise EndpointUnreachable("the demo's service does not run; start it first")
        return self._process
