"""The two emulators of Databricks that there are, started as processes of their own on ports that the system chose, and its SDK.

semblance-databricks 0.1.2 takes runs and never ends them; minilake 1.9.0 runs scripts and, with DuckDB, SQL statements. All
live in the environment `databricks` (see `real_parts`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import requests

from real_parts import environment

SEMBLANCE_TOKEN: Final = "dapi-test"  # noqa: S105 - made up
WITNESS: Final = Path(__file__).parent / "databricks_witness.py"
_STARTING_S: Final = 45.0


def ask_witness(what: str, **question: Any) -> Any:
    """Return what Databricks' SDK says to a question of `databricks_witness`."""
    asked = json.dumps({"what": what, **question})
    command = [str(environment("databricks")), str(WITNESS)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@cache
def known_words() -> dict[str, set[str]]:
    """Return the words that the SDK has for states, results and errors, by kind."""
    return {kind: set(words) for kind, words in ask_witness("words").items()}


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


def warehouse_at(url: str) -> str:
    """Make a SQL warehouse and return its id."""
    made = requests.post(f"{url}/api/2.0/sql/warehouses", json={"name": "w", "cluster_size": "Small"}, timeout=10)
    return str(made.json()["id"])


@contextlib.contextmanager
def _running(name: str, arguments: list[str], folder: Path) -> Iterator[str]:
    program = environment("databricks").with_name(name)
    port = _free_port()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), *arguments, "--port", str(port)], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _await(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _STARTING_S
    while True:
        with contextlib.suppress(requests.RequestException):
            requests.get(url, timeout=5)
            return
        if process.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"{process.args!r} did not start")
        time.sleep(0.1)  # another program's start is nothing to await


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
