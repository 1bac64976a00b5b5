"""Real services as processes of their own, started as their users start them, to be ended by real signals."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import Self

from proof import peers
from proof.scenarios import FLYTEKIT, OUTBOARD

_ROOT: Final = Path(__file__).resolve().parent.parent
_START_LIMIT_S: Final = 60.0
_LOOK_S: Final = 0.05
_KEY: Final = base64.b64encode(bytes(range(32))).decode()


class ServiceFailed(Exception):
    """A service did not start, or did not do what the scenario needs; the message says what it did."""


class RealService:
    """A service process; `async with RealService(...)` starts it, waits until it is SERVING, and kills what is left of it.

    Args:
        system: Whose: `OUTBOARD` or `FLYTEKIT`.
        platform: The address of the platform that its agents talk to.
        folder: Settings, records, logs and homes go there.
        submission_limit_s: Outboard's `submission_limit`: how long before another process may take a submission over.
    """

    def __init__(self, system: str, platform: str, folder: Path, *, submission_limit_s: float) -> None:
        self._folder = folder
        self._port = _free_port()
        launches = {OUTBOARD: self._outboard, FLYTEKIT: self._flytekit}
        self._command, self._variables = launches[system](platform, submission_limit_s)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        log = self._folder / f"service-{self._port}.log"
        with log.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._folder,
                env={**_plain_environment(), **self._variables, "OUTBOARD_HOME": str(self._folder / "home")},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            await self._serves(log)
        except BaseException:
            await self.end(signal.SIGKILL)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.returncode is None:
            await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals) -> float:
        """Send a signal and wait for the process's end; return how many seconds that took."""
        process = self._process
        if process is None or process.returncode is not None:
            return 0.0
        begun = time.monotonic()
        process.send_signal(number)
        await process.wait()
        return time.monotonic() - begun

    def _outboard(self, platform: str, submission_limit_s: float) -> tuple[Sequence[str], Mapping[str, str]]:
        settings = self._folder / "outboard.json"
        host = {"installation": "proof", "service_keys": [_KEY], "submission_limit": submission_limit_s}
        settings.write_text(
            json.dumps({"platforms": {"RestPlatform": {"url": platform}}, "host": host}), encoding="utf-8"
        )
        agents = "outboard.testing.rest_agents:RestPlatform"
        command = (sys.executable, "-m", "outboard", "serve", "--port", str(self._port), "--settings", str(settings))
        return (*command, "--agents", agents), {"PYTHONPATH": str(_ROOT / "src")}

    def _flytekit(self, platform: str, submission_limit_s: float) -> tuple[Sequence[str], Mapping[str, str]]:
        command = (str(peers.HOME / "bin" / "pyflyte"), "serve", "connector", "--port", str(self._port))
        connectors = str(_ROOT / "proof" / "pyflyte")
        variables = {"PYTHONPATH": connectors, "PROOF_PLATFORM": platform}
        return (*command, "--prometheus_port", str(_free_port()), "--modules", "rest_connectors"), variables

    async def _serves(self, log: Path) -> None:
        give_up = time.monotonic() + _START_LIMIT_S
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < give_up and self._process is not None and self._process.returncode is None:
                try:
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=1)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(_LOOK_S)
                else:
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
        words = (await asyncio.to_thread(log.read_text, "utf-8", "replace"))[-500:]
        raise ServiceFailed(f"the service did not start; its output ends with: {words}")


def _plain_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OUTBOARD_", "GRPC_"))}
    return {**kept, "no_proxy": "127.0.0.1,localhost"}


def _free_port() -> int:
    """Return a TCP port that nobody listens on now; flytekit cannot let the system choose and say which."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
