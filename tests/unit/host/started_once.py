"""A world in which tasks are started once or not: a ledger, a record store, replicas, and what befalls them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from outboard.agent import Registry
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError
from outboard.host import Host, HostSettings
from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Ledger, LedgerRules
from outboard.testing.ledger_agents import LedgerPlatform, sample_task
from outboard.testing.processes import Process
from outboard.testing.replicas import Fleet
from outboard.testing.stores import MemoryStores

KINDS = (
    "ledger_token",
    "ledger_token_find",
    "ledger_named",
    "ledger_lookup",
    "ledger_nothing",
    "ledger_nothing_retry",
    "ledger_files",
)
BLIND = ("ledger_nothing", "ledger_nothing_retry")
PREFIX = "s3://flyte/exec/n0/data"


@dataclass
class Once:
    """What replicas share, and the requests that a test sends them."""

    ledger: Ledger = field(default_factory=Ledger)
    faults: FaultPlan = field(default_factory=FaultPlan)
    stores: MemoryStores = field(default_factory=MemoryStores)
    latency: timedelta = timedelta(milliseconds=10)
    service_keys: tuple[SecretStr, ...] = ()

    @classmethod
    def visible_after(cls, seconds: float) -> Once:
        """Return a world whose platform lists jobs late."""
        return cls(ledger=Ledger(LedgerRules(visible_after=timedelta(seconds=seconds))))

    def fleet(self, count: int, **options: Any) -> Fleet[Host]:
        """Return replicas over this world."""
        return Fleet(count, self.make_host, **options)

    def make_host(self) -> Host:
        """Return one replica's host."""
        platform = LedgerPlatform(self.ledger, self.faults, latency=self.latency, stores=self.stores)
        settings = HostSettings(installation="test", service_keys=self.service_keys)
        return Host(Registry([platform]), settings, stores=self.stores)

    @property
    def jobs(self) -> int:
        """How many jobs there ever were."""
        return len(self.ledger.jobs)


def attempt(kind: str, number: int = 0, *, prefix: str = PREFIX, **config: Any) -> RawTask:
    """Return the request of one attempt, with the prefix that Flyte gives it."""
    return sample_task(kind, attempt=number, output_prefix=f"{prefix}/{number}", **config)


async def created(fleet: Fleet[Host], task: RawTask, *, tries: int = 20) -> bytes:
    """Send CreateTask until it is answered; return the handle."""
    for _ in range(tries):
        try:
            return await fleet.create_task(task, timeout_s=10)
        except OutboardError:
            await asyncio.sleep(1.5)
    raise AssertionError("no CreateTask was answered")


async def polled(fleet: Fleet[Host], handle: bytes, task: RawTask) -> TaskStatus:
    """Send one GetTask."""
    return await fleet.get_task(handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=10)


async def ended(fleet: Fleet[Host], handle: bytes, task: RawTask, *, within_s: float = 3_600) -> TaskStatus:
    """Poll as FlytePropeller does, until the task has ended."""
    give_up = time.monotonic() + within_s
    while time.monotonic() < give_up:
        try:
            status = await polled(fleet, handle, task)
        except OutboardError:
            await asyncio.sleep(30)
            continue
        if status.phase.is_terminal:
            return status
        await asyncio.sleep(30)
    raise AssertionError("the task is stuck")


async def cancelled(fleet: Fleet[Host], handle: bytes, task: RawTask) -> None:
    """Send DeleteTask until it is answered with success."""
    for _ in range(12):
        try:
            await fleet.delete_task(handle, task_type=task.task_type, timeout_s=10)
        except OutboardError:
            await asyncio.sleep(10)
        else:
            return
    raise AssertionError("DeleteTask never succeeded")


def is_right(kind: str, status: TaskStatus) -> bool:
    """Tell whether an end is the truth of a job that succeeds: also "unknown", where nobody can tell."""
    if status.phase is Phase.SUCCEEDED:
        return True
    return kind in BLIND and status.error is not None and status.error.code == "OutcomeUnknown"


class Suspensions:
    """Processes that stand still for a while, as a paused virtual machine does, and then go on with old timers.

    Use it as the replacement of `Process.step`, before any process is made.
    """

    def __init__(self) -> None:
        self._step = Process.step
        self._held: dict[Process, list[tuple[Context, Callable[..., object], tuple[Any, ...]]]] = {}

    def step(self, process: Process, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Run a step, or keep it until the process goes on."""
        if process in self._held:
            self._held[process].append((copy_context(), callback, args))
        else:
            self._step(process, callback, args)

    async def suspend(self, process: Process, seconds: float) -> None:
        """Let a process stand still."""
        self._held[process] = []
        await asyncio.sleep(seconds)
        loop = asyncio.get_running_loop()
        for context, callback, args in self._held.pop(process):
            loop.call_soon(callback, *args, context=context)
