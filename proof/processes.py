"""Signals in real processes: a service is ended in the middle of many concurrent creates, and another one takes its place.

Nothing here is played: real gRPC services, a platform behind real sockets, SIGTERM or SIGKILL by the kernel, real time. The
platform holds back some requests and some replies, so that when half of the jobs are started the service ends amidst creates
whose requests are under way, whose replies are, and that are answered. Afterwards the engine sends the creates that failed
once more, identical, to a second process, which must know all handles of the first. Every handle is followed to a running
job and cancelled: a job that still lives then is one that nobody can reach.

The kind `nothing` offers no way to ask what became of a create: there a job may exist whose task ends as "outcome unknown",
but never a second one.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from outboard.domain.phases import Phase
from outboard.domain.tasks import RawTask
from outboard.engine.remote import RemoteEndpoint
from outboard.testing.faults import FaultPlan, Stall, When
from outboard.testing.ledger import Ledger
from outboard.testing.ledger_agents import sample_task
from outboard.testing.platform_server import PlatformServer
from proof.scenarios import FLYTEKIT, KINDS, OUTBOARD, Result, Scenario, System
from proof.services import RealService, ServiceFailed

_CREATE_S: Final = 10.0
_SUBMISSION_S: Final = 5.0
_FOLLOWED_S: Final = 180.0
_POLL_S: Final = 2.0
_END_S: Final = 15.0
_NEVER_FOLLOWED: Final = frozenset({Phase.QUEUED, Phase.INITIALIZING, Phase.WAITING_FOR_RESOURCES})


@dataclass(slots=True)
class _Story:
    """What became of one task: its handle, how often it was asked for, the phase that it came to."""

    kind: str
    task: RawTask
    handle: bytes = b""
    sends: int = 0
    phase: Phase | None = None
    errors: Counter[str] = field(default_factory=Counter)

    async def create(self, endpoint: RemoteEndpoint) -> None:
        """Send CreateTask, unless it was answered."""
        if self.handle:
            return
        self.sends += 1
        try:
            self.handle = await endpoint.create_task(self.task, timeout_s=_CREATE_S)
        except Exception as error:  # noqa: BLE001 - whatever a service brings is a failed call
            self.errors[type(error).__name__] += 1

    async def follow(self, endpoint: RemoteEndpoint) -> None:
        """Poll until the job runs or the task is over, then cancel it."""
        give_up = time.monotonic() + _FOLLOWED_S
        while self.handle and time.monotonic() < give_up:
            try:
                status = await endpoint.get_task(self.handle, task_type=self.task.task_type, timeout_s=_CREATE_S)
            except Exception as error:  # noqa: BLE001 - same
                self.errors[type(error).__name__] += 1
            else:
                self.phase = status.phase
                if status.phase not in _NEVER_FOLLOWED:
                    break
            await asyncio.sleep(_POLL_S)
        if self.handle:
            await endpoint.delete_task(self.handle, task_type=self.task.task_type, timeout_s=_CREATE_S)


def end_amidst_creates(number: signal.Signals, system: System, size: int, seed: int) -> Iterable[Result]:
    """Run the scenario with a signal in real time."""
    return asyncio.run(_end_amidst_creates(number, system, size, seed))


async def _end_amidst_creates(number: signal.Signals, system: System, size: int, seed: int) -> Iterable[Result]:
    ledger, faults = Ledger(), _slowness(seed)
    with tempfile.TemporaryDirectory(prefix="outboard-proof-") as folder:
        stories = [_Story(kind, _task(kind, n, folder)) for n in range(size // len(KINDS)) for kind in KINDS]
        async with PlatformServer(ledger, faults) as platform:
            launch = partial(RealService, system.name, platform.url, Path(folder), submission_limit_s=_SUBMISSION_S)
            async with launch() as first, RemoteEndpoint.at(first.address) as endpoint:
                creating = asyncio.gather(*(story.create(endpoint) for story in stories))
                await _well_begun(ledger, stories, creating)
                begun_amidst = sum(not story.handle for story in stories)
                took_s = await first.end(number)
                await creating
            faults.clear()
            async with launch() as second, RemoteEndpoint.at(second.address) as endpoint:
                for _ in range(3):
                    await asyncio.gather(*(story.create(endpoint) for story in stories))
                await asyncio.gather(*(story.follow(endpoint) for story in stories))
                await _all_end(ledger)
    shared = {"open at the signal": begun_amidst, "seconds to the end": round(took_s, 2)}
    return [_count(number, kind, stories, ledger, seed, shared) for kind in KINDS]


async def _well_begun(ledger: Ledger, stories: Sequence[_Story], creating: asyncio.Future[Any]) -> None:
    """Wait until the platform has a quarter of the jobs.

    Raises:
        ServiceFailed: The creates ended before.
    """
    quarter = asyncio.ensure_future(ledger.effects.reaches("started", len(stories) // 4))
    await asyncio.wait({quarter, creating}, return_when=asyncio.FIRST_COMPLETED)
    if not quarter.done():
        quarter.cancel()
        errors = sum((story.errors for story in stories), Counter())
        raise ServiceFailed(f"the creates ended with {len(ledger.jobs)} jobs started: {dict(errors)}")


def _slowness(seed: int) -> FaultPlan:
    """Hold back requests and replies, some within a service's patience, some beyond it."""
    plan = FaultPlan(seed=seed)
    plan.add(Stall(when=When.AFTER, seconds=0.3), "create", chance=0.3)
    plan.add(Stall(when=When.BEFORE, seconds=0.5), "create", chance=0.4)
    plan.add(Stall(when=When.AFTER, seconds=2.5), "create", chance=0.5)
    plan.add(Stall(when=When.BEFORE, seconds=2.5), "create")
    return plan


def _task(kind: str, n: int, folder: str) -> RawTask:
    node = f"{kind}-{n}"
    return sample_task(f"rest_{kind}", node=node, output_prefix=f"{folder}/out/{node}/0", running_s=None)


async def _all_end(ledger: Ledger) -> None:
    """Give the jobs that were cancelled the time to end; those that nobody cancelled live on."""
    give_up = time.monotonic() + _END_S
    while time.monotonic() < give_up and ledger.live():  # noqa: ASYNC110 - the platform is asked, as people would
        await asyncio.sleep(0.1)


def _count(
    number: signal.Signals, kind: str, stories: Sequence[_Story], ledger: Ledger, seed: int, shared: dict[str, Any]
) -> Result:
    own = [story for story in stories if story.kind == kind]
    jobs = [job for story in own for job in ledger.jobs_of(story.task)]
    live = {job.id for job in ledger.live()}
    left = sum(job.id in live for job in jobs)
    second = len(jobs) - sum(bool(ledger.jobs_of(story.task)) for story in own)
    handles = sum(bool(story.handle) for story in own)
    unknown = sum(story.phase is not None and story.phase.is_terminal for story in own)
    lost = kind == "nothing" and number is signal.SIGKILL
    is_once = second == 0 and (left <= unknown if lost else left == 0 and len(jobs) == len(own))
    return Result(
        scenario="processes",
        variant=f"{number.name}, {kind}",
        tasks=len(own),
        jobs=len(jobs),
        second_jobs=second,
        live_left=left,
        handles=handles,
        seed=seed,
        is_kept=is_once and handles == len(own) and (lost or not unknown),
        notes={
            **shared,
            "sent again": sum(story.sends > 1 for story in own),
            "ended as failed": unknown,
            **sum((story.errors for story in own), Counter()),
        },
    )


SCENARIOS = tuple(
    Scenario(
        name=f"processes/{number.name.lower()}",
        promise=f"{number.name} amidst concurrent creates loses no job and starts none twice.",
        run=partial(end_amidst_creates, number),
        short=200,
        full=200,
        systems=(OUTBOARD, FLYTEKIT),
        is_waiting=True,
    )
    for number in (signal.SIGKILL, signal.SIGTERM)
)
