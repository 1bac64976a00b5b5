"""Agents without jobs: sync agents answer a terminal phase always and in time, sensors never see what is not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError
from outboard.testing.conformance.checks import Check, Kind, needs, under_faults
from outboard.testing.conformance.findings import Broken, NotRun
from outboard.testing.conformance.stages import Stage
from outboard.testing.faults import Fault, Stall, When

_MARGIN_S: Final = 1.0


async def answers(stage: Stage) -> None:
    """The quick task is answered with success."""
    task = stage.task(stage.stand_in.quick)
    status = await _execute(stage, task, stage.pace.end_s)
    if status.phase is not Phase.SUCCEEDED:
        raise Broken(
            f"the quick task ended as {status.phase.value}: {_words(status)}",
            "let `do` return outputs that fit the task's interface",
        )


async def refuses(stage: Stage) -> None:
    """The failing task is answered with a failure that says why."""
    needs(stage.stand_in.failing, "failing")
    status = await _execute(stage, stage.task(stage.stand_in.failing or stage.stand_in.quick), stage.pace.end_s)
    if status.phase not in (Phase.FAILED, Phase.RETRYABLE_FAILED):
        raise Broken(f"the failing task ended as {status.phase.value}", "let `do` raise an error of outboard.errors")
    if not _words(status):
        raise Broken("the failure has no words", "raise the error with the platform's own")


async def ends_under_faults(faults: Mapping[str, Fault], stage: Stage) -> None:
    """Whatever the platform answers, the engine gets a terminal phase and never an error."""
    for number, (name, fault) in enumerate(faults.items()):
        limit_s = stage.pace.call_s
        stage.break_next("do", fault)
        began = time.monotonic()
        status = await _execute(stage, stage.task(stage.stand_in.quick, node=f"n{number}"), limit_s)
        if not status.phase.is_terminal:
            raise Broken(f"{name}: the answer is {status.phase.value}", "let `do` return outputs, or raise")
        if time.monotonic() - began > limit_s + stage.pace.margin_s:
            raise Broken(f"{name}: the answer came after its deadline", "give every call a limit below ctx.timeout_s")
        stage.faults.clear()
    if not stage.has_met("do"):
        raise NotRun("the stand-in never met a fault; mark what answers with operation('do')")


async def keeps_deadlines(stage: Stage) -> None:
    """A platform that hangs does not keep the engine, nor the agent's own code."""
    limit_s = stage.pace.call_s
    await _execute(stage, stage.task(stage.stand_in.quick), limit_s)
    stage.break_next("do", Stall(when=When.BEFORE), times=None)
    status = await _execute(stage, stage.task(stage.stand_in.quick, node="n1"), limit_s)
    if status.phase is Phase.SUCCEEDED:
        raise NotRun("the stand-in never met the fault; mark what answers with operation('do')")
    await asyncio.sleep(limit_s + _MARGIN_S)
    if any(count > 0 for count in stage.boundary.running.values()):
        raise Broken(
            "`do` ran on after the deadline",
            "give every call of the client a time limit below ctx.timeout_s, and do not catch CancelledError",
        )


async def sees(stage: Stage) -> None:
    """The sensor sees what is there."""
    task = stage.task(stage.stand_in.quick)
    status = await stage.follow(await stage.create(task), task)
    if status.phase is not Phase.SUCCEEDED:
        raise Broken(f"the quick task ended as {status.phase.value}: {_words(status)}", "let `poke` return True for it")


async def waits(faults: Mapping[str, Fault], stage: Stage) -> None:
    """What is not there is waited for, whatever the platform answers meanwhile; a cancel ends it."""
    needs(stage.stand_in.long, "long")
    task = stage.task(stage.stand_in.long or stage.stand_in.quick)
    handle = await stage.create(task)
    for name, fault in {"no fault": None, **faults}.items():
        if fault is not None:
            stage.break_next("poke", fault)
        for _ in range(2):
            status = await stage.poll(handle, task)
            if status.phase.is_terminal:
                raise Broken(
                    f"{name}: the sensor reported {status.phase.value} although nothing is there",
                    "let `poke` return False or After(...) while it is not there, and raise what the client raises",
                )
            await asyncio.sleep(stage.pace.poll_s)
        stage.faults.clear()
    if await stage.delete(handle, task):
        raise Broken("DeleteTask of a sensor is an error", "see what `connection` raises")


async def _execute(stage: Stage, task: RawTask, timeout_s: float) -> TaskStatus:
    try:
        status = await stage.fleet.execute_task(task, timeout_s=timeout_s)
    except OutboardError as error:
        stage.evidence.see_error(error)
        raise Broken(
            f"ExecuteTaskSync was answered with an error: {error.message}",
            "let `do` end within ctx.timeout_s, and do not catch CancelledError",
        ) from None
    stage.evidence.see("a status", status)
    return status


def _words(status: TaskStatus) -> str:
    return (status.error.message if status.error else "") or status.message


ANSWERING: Final = (
    Check(name="runs/succeeds", run=answers, kinds=Kind.ANSWERS),
    Check(name="runs/fails", run=refuses, kinds=Kind.ANSWERS),
    under_faults("unreachable/faults", ends_under_faults, kinds=Kind.ANSWERS),
    Check(name="deadlines/kept", run=keeps_deadlines, kinds=Kind.ANSWERS),
    Check(name="runs/succeeds", run=sees, kinds=Kind.SENSORS),
    under_faults("unreachable/waits", waits, kinds=Kind.SENSORS),
)
"""The checks of this module."""
