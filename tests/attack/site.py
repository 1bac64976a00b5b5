"""What is attacked: `outboard serve` as a process of its own, a platform over HTTP behind it, and a well-behaved client beside.

Attackers run in a process of their own (see `trials`), so what the client measures is the service and not them.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typing_extensions import Self

from outboard.domain.identity import ExecutionIdentity
from outboard.domain.tasks import RawTask, Task
from outboard.testing.platform_server import PlatformServer
from outboard.wire.tasks import encode_create_request

ROOT: Final = Path(__file__).resolve().parents[2]
AGENTS: Final = ("outboard.testing.rest_agents:RestPlatform", "attack.fetching:FetchPlatform")
_KEY: Final = base64.b64encode(bytes(range(32))).decode()
_START_S: Final = 60.0
_END_S: Final = 30.0
_LOOK_S: Final = 0.02
_CALL_S: Final = 10.0
_MIB: Final = 1024
_NUMBERS: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a service is attacked; goes to the attacker's process."""

    port: int
    metrics_port: int
    callbacks_port: int
    host: str = "127.0.0.1"

    @property
    def address(self) -> str:
        """Where its gRPC is."""
        return f"{self.host}:{self.port}"


class Site:
    """A service under attack; `with Site(folder)` starts it and its platform and ends both.

    Args:
        folder: Settings and the log go there.
        options: More options of `outboard serve`.
        settings: More sections of its settings file.
        platform: Its platform, where several services share one.

    Attributes:
        platform: What its agents talk to; its ledger counts jobs.
        place: Where it answers.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        settings: Mapping[str, Any] | None = None,
        platform: PlatformServer | None = None,
    ) -> None:
        self._own = None if platform is not None else PlatformServer()
        self.platform = platform if platform is not None else self._own or PlatformServer()
        self._folder = folder
        self._options = options
        self._settings = settings or {}
        self._log = folder / f"service-{next(_NUMBERS)}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.place = Place(0, 0, 0)

    def __enter__(self) -> Self:
        if self._own is not None:
            self._own.__enter__()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        if self._own is not None:
            self._own.__exit__(None, None, None)

    @property
    def pid(self) -> int:
        """The service's process."""
        assert self._process is not None
        return self._process.pid

    def _start(self) -> None:
        sections = {
            "host": {"installation": "attack", "service_keys": [_KEY], **self._settings.get("host", {})},
            "service": {"metrics_port": 0, "callbacks_port": 0, **self._settings.get("service", {})},
            "platforms": {"RestPlatform": {"url": self.platform.url}, **self._settings.get("platforms", {})},
        }
        file = self._log.with_suffix(".json")
        file.write_text(json.dumps(sections), encoding="utf-8")
        named = [part for each in AGENTS for part in ("--agents", each)]
        loaded = ",".join(self._settings.get("platforms", {}))
        command = [sys.executable, "-m", "outboard", "serve", "--settings", str(file), "--platforms", loaded, *named]
        if "--port" not in self._options:
            command += ["--port", "0"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OUTBOARD_", "GRPC_"))}
        places = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *self._options, "--log-format", "json"],
                env={**kept, "PYTHONPATH": places, "OUTBOARD_HOME": str(self._folder / "home")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._await_readiness(self._process)

    def _await_readiness(self, process: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + _START_S
        while time.monotonic() < give_up and process.poll() is None:
            text = self._log.read_text("utf-8", "replace")
            ready = re.search(r"^outboard serves .* on \S+:(\d+)", text, re.MULTILINE)
            if ready:
                ports = {line["event"]: line["port"] for line in self.lines() if "port" in line}
                self.place = Place(
                    int(ready[1]), ports.get("metrics are served", 0), ports.get("callbacks are taken", 0)
                )
                return
            time.sleep(_LOOK_S)
        raise RuntimeError(f"the service did not start: {self._log.read_text('utf-8', 'replace')[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        assert self._process is not None
        return self._process.wait(_END_S)

    def end(self) -> None:
        """End it; what does not end is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def mark(self) -> int:
        """Return where its log ends now."""
        return self._log.stat().st_size

    def lines(self, since: int = 0) -> list[dict[str, Any]]:
        """Return its log lines since a mark."""
        with self._log.open("rb") as file:
            file.seek(since)
            text = file.read().decode("utf-8", "replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def raw_log(self, since: int = 0) -> str:
        """Return its log since a mark as it was written."""
        with self._log.open("rb") as file:
            file.seek(since)
            return file.read().decode("utf-8", "replace")

    def memory_mib(self) -> float:
        """Return its resident memory."""
        return self._memory("VmRSS")

    def peak_mib(self) -> float:
        """Return the most resident memory since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        """Measure the peak from now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def _memory(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return int(re.search(rf"{name}:\s+(\d+)", status)[1]) / _MIB  # type: ignore[index]  # Linux has both


@dataclass(slots=True)
class Visits:
    """What a well-behaved client met: tasks from create to their end, one after the other, and health between them."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def slowest_s(self) -> float:
        """The longest that a task took."""
        return max(self.seconds, default=0.0)


class Client:
    """A client that does what it should: FlytePropeller's calls and deadlines, and no retry."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = agent_pb2_grpc.AsyncAgentServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def is_serving(self) -> bool:
        """Ask for its health."""
        answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_S)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def run_task(self, task: RawTask | None = None) -> agent_pb2.Resource:
        """Run a task to its end and return what was told last."""
        made = await self._stub.CreateTask(encode_create_request(task or new_task()), timeout=_CALL_S)
        category = agent_pb2.TaskCategory(name=(task or Task(type="rest_token", config={})).type)
        give_up = time.monotonic() + 4 * _CALL_S
        while True:
            request = agent_pb2.GetTaskRequest(resource_meta=made.resource_meta, task_category=category)
            answer = await self._stub.GetTask(request, timeout=_CALL_S)
            if answer.resource.phase in _ENDS or time.monotonic() > give_up:
                return answer.resource
            await asyncio.sleep(_LOOK_S)

    async def visit(self, visits: Visits) -> None:
        """Run a task and ask for the health; take down how it went."""
        began = time.monotonic()
        try:
            resource = await self.run_task()
            if resource.phase != execution_pb2.TaskExecution.SUCCEEDED:
                visits.failures.append(f"a task ended {execution_pb2.TaskExecution.Phase.Name(resource.phase)}")
            if not await self.is_serving():
                visits.failures.append("its health is not SERVING")
        except grpc.aio.AioRpcError as error:
            visits.failures.append(f"{error.code().name}: {error.details()}"[:200])
        visits.seconds.append(time.monotonic() - began)

    async def visit_until(self, stop: asyncio.Event, visits: Visits) -> None:
        """Visit again and again."""
        while not stop.is_set():
            await self.visit(visits)
            await asyncio.sleep(_LOOK_S)


_ENDS: Final = (
    execution_pb2.TaskExecution.SUCCEEDED,
    execution_pb2.TaskExecution.FAILED,
    execution_pb2.TaskExecution.RETRYABLE_FAILED,
)
_TASKS: Final = itertools.count()


def new_task(kind: str = "rest_token", config: Mapping[str, Any] | None = None, **fields: Any) -> RawTask:
    """Return a task that there was not yet; its job is over at once unless `config` says otherwise."""
    identity = ExecutionIdentity(project="p", domain="d", execution=f"e{os.getpid()}", node=f"n{next(_TASKS)}")
    return Task(type=kind, config={"running_s": 0.0} if config is None else config, identity=identity, **fields)


def shown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the most frequent kind of line of importance, as a reader of the log sees it, and how many there are."""
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        if line.get("level") not in ("warning", "error", "critical"):
            continue  # the well-behaved client's tasks are told at a lower one
        kinds.setdefault((str(line.get("event")), str(line.get("code", ""))), []).append(line)
    if not kinds:
        return "nothing"
    (event, code), found = max(kinds.items(), key=lambda each: len(each[1]))
    words = str(found[0].get("reason", ""))[:100]
    return f"{len(found):,} x {event}{f' {code}' if code else ''}{f': {words}' if words else ''}"
