"""The two emulators of Databricks that there are, started as processes of their own on ports that the system chose.

semblance-databricks 0.1.2 takes runs and never ends them; minilake 1.9.0 runs scripts and, with DuckDB, SQL statements. Both are
skipped where they are not installed.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

SEMBLANCE_TOKEN = "dapi-test"  # noqa: S105 - made up
_STARTING_S = 45.0


@contextlib.contextmanager
def semblance(folder: Path) -> Iterator[str]:
    """Run semblance-databricks, which refuses other tokens than ours; yield its address."""
    with _running("semblance-databricks", ["serve", "--auth", "strict", "--token", SEMBLANCE_TOKEN], folder) as url:
        yield url


@contextlib.contextmanager
def minilake(folder: Path) -> Iterator[str]:
    """Run minilake; yield its address."""
    with _running("minilake", [], folder) as url:
        yield url


@contextlib.contextmanager
def _running(name: str, arguments: list[str], folder: Path) -> Iterator[str]:
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip(f"{name} is not installed; this real part was not tried")
    port = _free_port()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *arguments, "--port", str(port)], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _await(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _STARTING_S
    while True:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
        if process.poll() is not None or time.monotonic() > give_up:
            pytest.fail(f"{process.args!r} did not start")
        time.sleep(0.1)  # another program's start is nothing to await


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
