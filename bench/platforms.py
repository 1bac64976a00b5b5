"""Starts the outside platform of a benchmark, on the load's side of the machine, and asks what it saw."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from places import BENCH, LOGS, OUR_BIN
from servers import ServerFailedError, free_port

_PROGRAM = BENCH / "peers" / "paged_platform.py"
_START_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform that answers."""

    endpoint: str
    pid: int

    def begin(self, epoch: float) -> None:
        """Let the jobs' ends count from `epoch`, Unix seconds, and forget the calls so far."""
        self._ask("/begin", {"epoch": epoch})

    def calls(self) -> Sequence[tuple[float, bool]]:
        """Return when each call came, in seconds after the epoch, and whether it was refused."""
        return [(at, bool(refused)) for at, refused in self._ask("/calls")]

    def _ask(self, path: str, content: dict[str, Any] | None = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(self.endpoint + path, data=data, timeout=30) as answer:  # noqa: S310 - our own http endpoint
            body = answer.read()
        return json.loads(body) if body else None


@contextlib.contextmanager
def running(
    *, rate: float = 0.0, burst: float = 1.0, latency_s: float = 0.05, ends: Path | None = None
) -> Iterator[Platform]:
    """Start a platform, wait until it answers, and end it afterwards."""
    port = free_port()
    command = [str(OUR_BIN / "python"), str(_PROGRAM), "--port", str(port), "--rate", str(rate), "--burst", str(burst)]
    command += ["--latency", str(latency_s), *(("--ends", str(ends)) if ends else ())]
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "platform.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        platform = Platform(endpoint=f"http://127.0.0.1:{port}", pid=process.pid)
        _await_answer(platform, process, log)
        yield platform
    finally:
        process.kill()
        process.wait()


def _await_answer(platform: Platform, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < limit and process.poll() is None:
        try:
            platform.calls()
        except urllib.error.URLError:
            time.sleep(0.02)
        else:
            return
    raise ServerFailedError(f"the platform did not start; its output is in {log}")
