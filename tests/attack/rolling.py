"""Two replicas are replaced one after the other, several times, while 200 calls a second go on: no call fails, no job is lost.

================  ==========================================================================================================
client            as
================  ==========================================================================================================
headless service  an engine that knows every replica's address and goes round robin; it repeats no call
virtual address   FlytePropeller before a Kubernetes Service: one connection at a time to whichever replica is ready; no retry
================  ==========================================================================================================

Each runs whole tasks: create, polls until the end, and of every fourth a cancel. What is counted is the platform's ledger.

A replacement is what Kubernetes does: the new replica is up and ready; the old one gets SIGTERM, and no *new* connection is led
to it (a `Front` stands for kube-proxy), while those that there are go on; it lingers, drains, and ends by itself. Addresses of
replicas that are yet to come are known from the beginning, as DNS would tell them in time; nobody listens there.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc

from attack.site import Site, new_task
from outboard.testing.ledger_jobs import CANCELLED, SUCCEEDED
from outboard.testing.platform_server import PlatformServer
from outboard.wire.tasks import encode_create_request
from tables.sections import Section

CALLS_PER_SECOND: Final = 200
ROUNDS: Final = 2
_WORKERS: Final = 90
_LINGER_S: Final = 3.0
_DRAIN_S: Final = 20.0
_SETTLE_S: Final = 1.0
_CALL_S: Final = 10.0
_POLL_S: Final = 0.3
_JOB_S: Final = 1.0
_LATEST_S: Final = 60.0
_ROUND_ROBIN: Final[Mapping[str, Any]] = {"loadBalancingConfig": [{"round_robin": {}}]}
CLIENTS: Final = MappingProxyType({"headless service": _ROUND_ROBIN, "virtual address": {}})
_ENDS: Final = (
    execution_pb2.TaskExecution.SUCCEEDED,
    execution_pb2.TaskExecution.FAILED,
    execution_pb2.TaskExecution.RETRYABLE_FAILED,
)
COLUMNS: Final = (
    "client", "replacements", "calls", "calls/s", "failed calls", "tasks", "wrong ends", "jobs", "lost jobs", "second jobs",
    "slowest (s)", "exits",
)  # fmt: skip


@dataclass(slots=True)
class Load:
    """What a client did and met."""

    stub: Any
    calls: int = 0
    tasks: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    next_at: float = 0.0

    async def call(self, method: str, request: Any) -> Any:
        """Make a call in its turn; None where it fails."""
        now = time.monotonic()
        self.next_at = max(self.next_at, now) + 1 / CALLS_PER_SECOND
        await asyncio.sleep(self.next_at - now)
        self.calls += 1
        began = time.monotonic()
        try:
            return await getattr(self.stub, method)(request, timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            self.failed[f"{method} {error.code().name}: {str(error.details())[:120]}"] += 1
            return None
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    async def run_task(self) -> None:
        """Run a task to its end, or cancel it; take down an end that is none of these."""
        self.tasks += 1
        is_cancelled = self.tasks % 4 == 0
        task = new_task(config={"running_s": None if is_cancelled else _JOB_S})
        made = await self.call("CreateTask", encode_create_request(task))
        if made is None:
            return
        category = agent_pb2.TaskCategory(name=task.type)
        ask = agent_pb2.GetTaskRequest(resource_meta=made.resource_meta, task_category=category)
        if is_cancelled:
            await self.call("GetTask", ask)
            await self.call(
                "DeleteTask", agent_pb2.DeleteTaskRequest(resource_meta=made.resource_meta, task_category=category)
            )
            return
        give_up, phase = time.monotonic() + _LATEST_S, execution_pb2.TaskExecution.UNDEFINED
        while phase not in _ENDS and time.monotonic() < give_up:
            await asyncio.sleep(_POLL_S)
            answer = await self.call("GetTask", ask)
            phase = phase if answer is None else answer.resource.phase
        if phase != execution_pb2.TaskExecution.SUCCEEDED:
            self.wrong.append(f"a task stood at {execution_pb2.TaskExecution.Phase.Name(phase)} last")

    async def work(self, stop: asyncio.Event) -> None:
        """Run tasks one after the other."""
        while not stop.is_set():
            await self.run_task()


class Front:
    """An address that leads to replicas: new connections to those that are ready, and those that there are stay."""

    def __init__(self, port: int) -> None:
        self.ready: list[int] = []
        self.was_used = False
        self._port = port
        self._turn = 0
        self._listener: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def lead_to(self, ready: Sequence[int]) -> None:
        """Lead new connections to these; with none there is no such address."""
        self.ready = list(ready)
        self.was_used = self.was_used or bool(ready)
        if ready and self._listener is None:
            self._listener = await asyncio.start_server(self._connect, "127.0.0.1", self._port)
        elif not ready and self._listener is not None:
            self._listener.close()
            self._listener = None

    async def end(self) -> None:
        """Cut all off."""
        await self.lead_to([])
        pipes = list(self._pipes)
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)
        await asyncio.sleep(0)  # so that what they closed is closed

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        try:
            onward = await asyncio.open_connection("127.0.0.1", self.ready[self._turn % len(self.ready)])
        except OSError:
            writer.close()
            return
        for pipe in (_pipe(reader, onward[1]), _pipe(onward[0], writer)):
            task = asyncio.ensure_future(pipe)
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                writer.write(piece)
                await writer.drain()
    finally:
        writer.close()


class Fleet:
    """Two replicas behind their addresses."""

    def __init__(
        self, folder: Path, platform: PlatformServer, *, rounds: int, linger_s: float, is_headless: bool
    ) -> None:
        self._folder = folder
        self._platform = platform
        self._settings = {"service": {"linger_s": linger_s, "drain_s": _DRAIN_S}}
        self.ports = _free_ports(2 + 2 * rounds if is_headless else 1)
        self._fronts = [Front(port) for port in self.ports]
        self._replicas: list[Site] = []

    async def begin(self) -> None:
        """Start both."""
        for number in range(2):
            await self._start(number)

    async def replace(self, number: int) -> int:
        """Replace one; return the exit code of the old one."""
        old = self._replicas[number]
        await self._start(number)
        await asyncio.sleep(_SETTLE_S)  # readiness is told, and clients come
        await self._lead(gone=old.place.port)
        old.signal(signal.SIGTERM)
        code = await asyncio.to_thread(old.wait)
        old.end()
        return code

    async def end(self) -> None:
        """End both."""
        for front in self._fronts:
            await front.end()
        for each in self._replicas:
            await asyncio.to_thread(each.end)

    async def _start(self, number: int) -> None:
        site = Site(self._folder, settings=self._settings, platform=self._platform)
        await asyncio.to_thread(site.__enter__)
        self._replicas[number : number + 1] = [site]
        await self._lead()

    async def _lead(self, gone: int = 0) -> None:
        """Lead to what is ready: one address for all, or one for each."""
        known = [port for front in self._fronts for port in front.ready]
        ready = [
            port for port in dict.fromkeys((*known, *(each.place.port for each in self._replicas))) if port != gone
        ]
        if len(self._fronts) == 1:
            await self._fronts[0].lead_to(ready)
            return
        for front in self._fronts:
            if gone in front.ready:
                await front.lead_to([])
        for port in ready:
            if port not in known:
                await next(each for each in self._fronts if not each.was_used).lead_to([port])


def sections() -> list[Section]:
    """Return the table."""
    return [replaced()]


def replaced(
    clients: Sequence[str] = tuple(CLIENTS),
    rounds: int = ROUNDS,
    linger_s: float = _LINGER_S,
    *,
    least_rate: float = 0.8,
) -> Section:
    """Replace both replicas, some times.

    Args:
        clients: Of which kinds.
        rounds: How often both are replaced.
        linger_s: How long old ones linger.
        least_rate: Which part of the calls per second must have been made for the table to say what it says.
    """
    began = time.monotonic()
    rows, failures = [], []
    for name in clients:
        row, wrong = asyncio.run(_replaced(name, rounds, linger_s))
        rows.append(row)
        if row["calls/s"] < CALLS_PER_SECOND * least_rate:
            wrong.append(f"only {row['calls/s']} calls a second were made")
        failures += [f"{name}: {each}" for each in wrong]
    notes = [f"SIGTERM, {linger_s:g} s of lingering, {_DRAIN_S:g} s of draining at most; jobs run {_JOB_S:g} s."]
    seconds = round(time.monotonic() - began, 1)
    title = f"Rolling replacement of two replicas under {CALLS_PER_SECOND} calls a second"
    return Section(title=title, columns=COLUMNS, rows=rows, failures=failures, notes=notes, seconds=seconds)


async def _replaced(name: str, rounds: int, linger_s: float) -> tuple[dict[str, Any], list[str]]:
    with tempfile.TemporaryDirectory(prefix="outboard-attack-") as folder, PlatformServer() as platform:
        is_headless = name.startswith("headless")
        fleet = Fleet(Path(folder), platform, rounds=rounds, linger_s=linger_s, is_headless=is_headless)
        try:
            await fleet.begin()
            load, exits, seconds = await _under_load(fleet, CLIENTS[name], rounds)
        finally:
            await fleet.end()
        return _row(name, load, exits, seconds, platform)


async def _under_load(fleet: Fleet, config: Mapping[str, Any], rounds: int) -> tuple[Load, list[int], float]:
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in fleet.ports)
    options = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(target, options) as channel:
        load, stop, began = Load(agent_pb2_grpc.AsyncAgentServiceStub(channel)), asyncio.Event(), time.monotonic()
        working = [asyncio.ensure_future(load.work(stop)) for _ in range(_WORKERS)]
        exits = [await fleet.replace(number) for _ in range(rounds) for number in range(2)]
        seconds, calls = time.monotonic() - began, load.calls
        stop.set()
        await asyncio.gather(*working)
    return load, exits, calls / seconds


def _row(
    name: str, load: Load, exits: list[int], rate: float, platform: PlatformServer
) -> tuple[dict[str, Any], list[str]]:
    jobs, now = list(platform.ledger.jobs.values()), platform.ledger.now
    lost = sum(job.state(now) not in (SUCCEEDED, CANCELLED) for job in jobs) + max(0, load.tasks - len(jobs))
    second = len(platform.ledger.second_jobs())
    row = {
        "client": name,
        "replacements": len(exits),
        "calls": load.calls,
        "calls/s": round(rate),
        "failed calls": sum(load.failed.values()),
        "tasks": load.tasks,
        "wrong ends": len(load.wrong),
        "jobs": len(jobs),
        "lost jobs": lost,
        "second jobs": second,
        "slowest (s)": round(load.slowest_s, 2),
        "exits": ", ".join(f"{count} x {code}" for code, count in Counter(exits).items()),
    }
    wrong = [f"{count} calls failed: {words}" for words, count in load.failed.most_common(3)] + load.wrong[:3]
    if lost or second:
        wrong.append(f"{lost} jobs were lost and {second} started twice")
    if any(exits):
        wrong.append(f"a replica ended with {exits}")
    return row, wrong


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    with ExitStack() as opened:
        found = [opened.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in found]
