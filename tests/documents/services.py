"""Starts a service that goes on in the background until the document ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_START_S: Final = 60
_READY: Final = re.compile(r"^outboard serves .*$", re.MULTILINE)


def serve(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Start a service and return once it answers; print its first line.

    Args:
        arguments: Of `outboard`, `serve` first.
        environment: Variables beside those that are there.
    """
    log = Path(os.environ["READER_STATE"], f"service-{time.monotonic_ns()}.log")
    with log.open("wb") as written:
        service = subprocess.Popen(
            [sys.executable, "-m", "outboard", *arguments],
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    log.with_suffix(".pid").write_text(str(service.pid))
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        ready = _READY.search(log.read_text("utf-8"))
        if ready:
            sys.stdout.write(f"{ready[0]}\n")
            return 0
        if service.poll() is not None:
            break
        time.sleep(0.05)
    sys.stdout.write(f"{log.read_text('utf-8')}\nthe service did not become ready\n")
    return 1
