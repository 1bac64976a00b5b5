"""The two services as processes of their own, started as their users start them: ours, and the SDK's `c0`.

Both stay at their port over restarts, as a service behind a stable name does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import Self

ROOT: Final = Path(__file__).resolve().parents[3]
_START_LIMIT_S: Final = 60.0
_END_LIMIT_S: Final = 30.0
_SERVICE_KEY: Final = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
"""Seals handles; any 32 bytes, and the same over restarts."""


class ServiceFailed(Exception):
    """A service did not start; the message has the end of its output."""


class Service:
    """A service process; `with` starts it, waits until it is healthy, and ends it.

    Args:
        command: How it is started.
        folder: Where it runs; its output goes there.
        variables: Its environment beside ours.
    """

    name = ""

    def __init__(self, command: Sequence[str], folder: Path, port: int, variables: Mapping[str, str]) -> None:
        self.address = f"127.0.0.1:{port}"
        self.log = folder / f"{self.name}-{port}.log"
        self._command = command
        self._folder = folder
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env={**_plain_environment(), **self._variables, "OUTBOARD_HOME": str(self._folder / "home")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            self._await_health(self._process)
        except BaseException:
            self.end(signal.SIGKILL)
            raise

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait for the process's end; kill it when that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_health(self, process: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + _START_LIMIT_S
        with grpc.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < give_up and process.poll() is None:
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=1)
                except grpc.RpcError:
                    continue
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
        raise ServiceFailed(f"{self.name} did not start: {self.log.read_text('utf-8', 'replace')[-2000:]}")


class Outboard(Service):
    """`outboard serve` with the agents of `agents`, and the embedded platform.

    Args:
        platform: The address of the platform that the agents talk to.
        folder: Settings, output and jobs go there.
        variables: More of its environment, e.g. where the object store is.
        is_open: Whether handles are left unsealed, for those who look into them.
    """

    name = "outboard"

    def __init__(
        self, platform: str, folder: Path, variables: Mapping[str, str] | None = None, *, is_open: bool = False
    ) -> None:
        port = free_port()
        self.metrics_port = free_port()
        settings: dict[str, Any] = {
            "platforms": {
                "Flyte2Platform": {"url": platform},
                "embedded": {"root": str(folder / "jobs"), "allow_process": True},
            },
            "host": {"installation": "interop", "service_keys": [] if is_open else [_SERVICE_KEY]},
        }
        path = folder / f"outboard-{port}.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "outboard", "serve", "--port", str(port), "--metrics-port", str(self.metrics_port)),
            *("--settings", str(path), "--platforms", "embedded", "--log-level", "debug"),
            *("--agents", "interop.flyte2.agents:Flyte2Platform"),
        ]
        places = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))
        super().__init__(command, folder, port, {"PYTHONPATH": places, **(variables or {})})


class FlyteSdk(Service):
    """`c0`, the SDK's own service, with the connectors of `peer_connectors`."""

    name = "flyte-sdk"

    def __init__(self, platform: str, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        port = free_port()
        command = [
            *(str(Path(sys.executable).with_name("c0")), "--port", str(port), "--prometheus_port", str(free_port())),
            *("--modules", "interop.flyte2.peer_connectors"),
        ]
        quiet = {"INTEROP_PLATFORM": platform, "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT / "tests")}
        super().__init__(command, folder, port, {**quiet, **(variables or {})})


def free_port() -> int:
    """Return a TCP port that nobody listens on now; a service that restarts must come back to its own."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _plain_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OUTBOARD_", "GRPC_"))}
    return {**kept, "no_proxy": "127.0.0.1,localhost"}
