"""A replica dies at any await of a submission, or stands still for minutes: there is one job, or none where it was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest

from outboard.domain.phases import Phase
from outboard.testing.crashes import CrashPoint, crash_points
from outboard.testing.faults import Stall, When
from outboard.testing.processes import Process
from outboard.testing.propeller import Propeller, PropellerSettings
from outboard.testing.virtual_time import run_virtually
from unit.host.started_once import (
    BLIND,
    KINDS,
    PREFIX,
    Once,
    Suspensions,
    attempt,
    cancelled,
    created,
    ended,
    is_right,
)

Found = tuple[int, int, bool]
"""Jobs that were started, jobs that live, and whether the engine was told the truth."""
Played: TypeAlias = Callable[[CrashPoint], Coroutine[Any, Any, Found]]


def resent(kind: str) -> Played:
    """The same request is sent again until it is answered; polls land anywhere."""

    async def scenario(crash: CrashPoint) -> Found:
        once = Once()
        async with once.fleet(2) as fleet:
            crash.arm(fleet.replicas[0], restart_after_s=40)
            task = attempt(kind, running_s=200)
            status = await ended(fleet, await created(fleet, task), task)
            await asyncio.sleep(600)  # a job of which nobody can know goes on to its own end
            return once.jobs, len(once.ledger.live()), is_right(kind, status)

    return scenario


def retried(kind: str) -> Played:
    """A failed CreateTask burns the attempt; the next one has another key."""

    async def scenario(crash: CrashPoint) -> Found:
        once = Once()
        async with once.fleet(2) as fleet:
            crash.arm(fleet.replicas[0], restart_after_s=40)
            outcome = await Propeller(fleet, PropellerSettings(retries=3)).run(
                attempt(kind, running_s=200), node_prefix=PREFIX
            )
            assert outcome.status is not None
            await asyncio.sleep(600)
            return once.jobs, len(once.ledger.live()), is_right(kind, outcome.status)

    return scenario


def withdrawn(kind: str) -> Played:
    """The task is cancelled as soon as there is a handle; its job would never end."""

    async def scenario(crash: CrashPoint) -> Found:
        once = Once()
        async with once.fleet(2) as fleet:
            crash.arm(fleet.replicas[0], restart_after_s=40)
            task = attempt(kind, running_s=None)
            handle = await created(fleet, task)
            await cancelled(fleet, handle, task)
            status = await ended(fleet, handle, task)
            await asyncio.sleep(1_800)
            return once.jobs, len(once.ledger.live()), status.phase in {Phase.ABORTED, Phase.FAILED}

    return scenario


def most_jobs(kind: str, scenario: object) -> int:
    return 2 if kind == "ledger_nothing_retry" and scenario is retried else 1


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [(scenario, kind) for scenario in (resent, retried) for kind in KINDS],
)
def test_wherever_a_replica_dies_there_is_one_job_and_the_right_end(
    kind: str, scenario: Callable[[str], Played]
) -> None:
    made = scenario(kind)
    wrong = []
    for run in crash_points(made, patience_s=0):
        jobs, live, is_told = run.result
        fewest = 0 if kind in BLIND else 1
        if not fewest <= jobs <= most_jobs(kind, scenario) or live or not is_told:
            wrong.append((run.at, run.result))
    assert not wrong


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in BLIND])
def test_wherever_a_replica_dies_a_cancelled_task_leaves_nothing_that_lives(kind: str) -> None:
    wrong = []
    for run in crash_points(withdrawn(kind), patience_s=0):
        jobs, live, is_told = run.result
        if jobs > 1 or live or not is_told:
            wrong.append((run.at, run.result))
    assert not wrong


@pytest.mark.parametrize("kind", ["ledger_lookup", "ledger_nothing", "ledger_named", "ledger_token"])
@pytest.mark.parametrize("slow_s", [0.05, 20.0])
def test_a_replica_that_stood_still_while_another_took_over_sends_nothing_any_more(
    kind: str, slow_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual machine is paused for minutes at any moment in which its loop waits."""

    async def scenario(at_s: float) -> Found:
        once = Once()
        once.stores.latency_s = 0.04
        once.faults.add(Stall(when=When.BEFORE, seconds=slow_s), "create", times=1)
        async with once.fleet(2) as fleet:
            task = attempt(kind, running_s=400)
            first = asyncio.ensure_future(created(fleet, task))
            await asyncio.sleep(at_s)
            pause = asyncio.ensure_future(suspensions.suspend(fleet.replicas[0].process, 260.0))
            status = await ended(fleet, await first, task)
            await pause
            await asyncio.sleep(600)
            return once.jobs, len(once.ledger.live()), is_right(kind, status)

    suspensions = Suspensions()
    monkeypatch.setattr(
        Process,
        "step",
        lambda process, callback, args: suspensions.step(process, callback, args),  # noqa: PLW0108 - becomes a method
    )
    wrong = []
    for number in range(40):
        at_s = 0.003 + 0.0075 * number
        jobs, live, is_told = run_virtually(lambda at_s=at_s: scenario(at_s), patience_s=0)  # type: ignore[misc]
        if jobs > 1 or live or not is_told:
            wrong.append((at_s, jobs, live, is_told))
    assert not wrong
