"""Starts and ends the servers under test, each the way its users start it.

All get the same treatment: byte-compiled code (the interpreter may write and read .pyc files), output to a log file, no proxy
and no stray PYTHON* settings from the caller, loopback only, and one core of their own while they are measured, where the
machine has more than one. A server is up when the standard health service says SERVING, whoever wrote it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from places import BENCH, ECHO, FLYTEKIT_HOME, LOGS, OUR_BIN, ROOT, SCRATCH

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 10.0
_POLL_S = 0.002


class ServerFailedError(Exception):
    """A server did not come up; the message says where its output lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How one kind of server is started: its name in the report and its command line for a port."""

    name: str
    command: Callable[[int], Sequence[str]]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that says SERVING."""

    name: str
    pid: int
    address: str
    started_in_s: float


def ours(agents: str = "noop:Noop", *options: str, settings: Path | None = None, name: str = "outboard") -> Launch:
    """Our service with agents of `bench/agents`, with the settings a user gets who sets none unless a file is given."""
    given = (*options, *(("--settings", str(settings)) if settings else ()))
    return Launch(
        name=name,
        command=lambda port: (
            *(str(OUR_BIN / "outboard"), "serve", "--host", "127.0.0.1", "--port", str(port)),
            *("--agents", agents, *given),
        ),
        environment={"PYTHONPATH": str(BENCH / "agents")},
    )


def settings_file(name: str, **sections: Any) -> Path:
    """Write a settings file for `ours` and return where."""
    SCRATCH.mkdir(exist_ok=True)
    path = SCRATCH / f"settings-{name}.yaml"
    path.write_text(json.dumps(sections))
    return path


def flytekit(module: str = "flytekit_noop", environment: Mapping[str, str] | None = None) -> Launch:
    """flytekit's connector service with the equal connector of `bench/peers`."""
    return Launch(
        name="flytekit",
        command=lambda port: (
            *(str(FLYTEKIT_HOME / "bin" / "pyflyte"), "serve", "connector", "--port", str(port)),
            *("--prometheus_port", str(free_port()), "--modules", module),
        ),
        environment={"PYTHONPATH": str(BENCH / "peers"), **(environment or {})},
    )


def echo(answers: Path, *options: str, name: str = "echo") -> Launch:
    """The bare grpc.aio echo, run by our own interpreter and packages."""
    return Launch(
        name=name,
        command=lambda port: (
            *(str(OUR_BIN / "python"), str(ECHO), "--port", str(port)),
            *("--answers", str(answers), *options),
        ),
    )


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(launch: Launch, *, cores: frozenset[int] | None = None) -> Iterator[Running]:
    """Start a server, wait until it is SERVING, and end it afterwards.

    Raises:
        ServerFailedError: It ended or did not answer within a minute.
    """
    port = free_port()
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{launch.name}.log"
    with log.open("wb") as output, _affinity(cores):
        begun = time.perf_counter()
        process = subprocess.Popen(
            list(launch.command(port)),
            cwd=ROOT,
            env=_environment(launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_serving(process, port, log)
        took = time.perf_counter() - begun
        yield Running(name=launch.name, pid=process.pid, address=f"127.0.0.1:{port}", started_in_s=took)
    finally:
        _stop(process)


@contextlib.contextmanager
def _affinity(cores: frozenset[int] | None) -> Iterator[None]:
    """Let what is started inside inherit `cores`."""
    before = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRPC_", "OUTBOARD_"))}
    return {**kept, "no_proxy": "127.0.0.1,localhost", **extra}


def _await_serving(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    limit = time.perf_counter() + _START_LIMIT_S
    while time.perf_counter() < limit:
        if process.poll() is not None:
            raise ServerFailedError(f"the server ended with code {process.returncode} at start; its output is in {log}")
        if _accepts(port) and _is_serving(port):
            return
        time.sleep(_POLL_S)
    raise ServerFailedError(f"the server was not SERVING within {_START_LIMIT_S:.0f} s; its output is in {log}")


def _accepts(port: int) -> bool:
    """Ask the socket first: a gRPC channel that meets a closed port waits a second before it tries again."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_serving(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_LIMIT_S)
