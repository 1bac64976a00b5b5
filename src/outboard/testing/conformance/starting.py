"""Started once: whatever is lost, whoever dies and however often the same is asked, a task has one job."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from outboard.agent import Named, Nothing, Token
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError
from outboard.testing.conformance.checks import Check, Kind, LiveCheck, needs, one_job
from outboard.testing.conformance.findings import Broken, NotApplicable, NotRun
from outboard.testing.conformance.stages import Stage
from outboard.testing.faults import FAULTS, Fault, Stall, When, keeps_effect
from outboard.testing.replicas import Fleet

_REFUSALS: Final = ("400", "401", "403")
_MOST_STEPS: Final = 12
_LATE: Final = 1.3
"""Of the submission limit: after it, but within the half minute that a request may still be on its way."""
_REMEDY: Final = {
    Token: "send ctx.key.token() as the platform's idempotency token with every create",
    Named: "name the job ctx.key.name(), and when the platform says that the name is taken, return the job of that name",
}
_OTHER_REMEDY: Final = "send one request per create and retry nothing yourself; switch the SDK's own retries off"


def remedy_of(stage: Stage) -> str:
    """Return what keeps an agent of this kind of submission from starting a second job."""
    kind: Any = type(stage.agent.submission) if hasattr(stage.agent, "submission") else None
    return _REMEDY.get(kind, _OTHER_REMEDY)


async def succeeds(stage: Stage) -> None:
    """A quick task has one job, which succeeds, in states that the map knows."""
    task = stage.task(stage.stand_in.quick)
    handle = await stage.create(task)
    status = await stage.follow(handle, task)
    if status.phase is not Phase.SUCCEEDED:
        raise Broken(
            f"the quick task ended as {status.phase.value}: {_words(status)}",
            "map the platform's word for success to succeeded(); return outputs that fit the task's interface",
        )
    _known(status)
    if stage.stand_in.jobs is not None:
        one_job(len(await stage.all_jobs()), remedy_of(stage))


async def fails(stage: Stage) -> None:
    """A failing task fails, and says why."""
    needs(stage.stand_in.failing, "failing")
    task = stage.task(stage.stand_in.failing or stage.stand_in.quick)
    status = await stage.follow(await stage.create(task), task)
    if status.phase not in (Phase.FAILED, Phase.RETRYABLE_FAILED):
        raise Broken(
            f"the failing task ended as {status.phase.value}", "map the platform's words for failure to failed()"
        )
    _known(status)
    if status.error is None or not status.error.message:
        raise Broken(
            "the failure has no words", "put the platform's own into Status.message, or return a Failure from judge()"
        )


async def repeats(stage: Stage) -> None:
    """`create` called twice with one key finds the first job; with another key it starts another one."""
    kind = stage.agent.submission  # type: ignore[attr-defined]  # asked of agents with jobs only
    direct, limit_s = stage.direct, stage.pace.end_s
    request = direct.prepare(stage.task(_kept(stage)))
    before = request.task.config.model_dump(), dict(request.task.labels), request.task.inputs
    first = await direct.call(request, "create", request.task, timeout_s=limit_s)
    if (request.task.config.model_dump(), dict(request.task.labels), request.task.inputs) != before:
        raise Broken(
            "`create` changed the task that it was given",
            "copy what you change: the same task may be created again, and must then be the same",
        )
    other = direct.prepare(stage.task(_kept(stage), node="n1"))
    second = await direct.call(other, "create", other.task, timeout_s=limit_s)
    if second.id == first.id:
        raise Broken(
            f"two tasks got the same job {first.id!r}",
            "derive the job's token or name from ctx.key, and only from that",
        )
    if not isinstance(kind, (Token, Named)):
        raise NotApplicable(f"{type(kind).__name__} does not promise that a repeated create finds the first job")
    again = direct.prepare(stage.task(_kept(stage)))
    repeated = await direct.call(again, "create", again.task, timeout_s=limit_s)
    if repeated.id != first.id:
        raise Broken(
            f"a repeated create returned job {repeated.id!r} instead of the first, {first.id!r}", remedy_of(stage)
        )
    count = len(await stage.all_jobs())
    if stage.stand_in.jobs is not None and count != 2:
        raise Broken(f"three creates with two keys left {count} jobs", remedy_of(stage))


async def twice_at_once(stage: Stage) -> None:
    """The same CreateTask at two replicas at once starts one job."""
    needs(stage.stand_in.jobs, "jobs")
    task = stage.task(stage.stand_in.quick)
    handles = await asyncio.gather(stage.create(task), stage.create(task))
    ended = [await stage.follow(handle, task) for handle in handles]
    one_job(len(await stage.all_jobs()), remedy_of(stage))
    if any(status.phase is not Phase.SUCCEEDED for status in ended):
        raise Broken("one of two equal requests failed", "let `create` return the job that is there already")


async def meets(fault: Fault, name: str, stage: Stage) -> None:
    """One job, although the first create meets a fault."""
    needs(stage.stand_in.jobs, "jobs")
    task = stage.task(stage.stand_in.quick)
    stage.break_next("create", fault)
    status = await stage.follow(await stage.create(task), task)
    if not stage.has_met("create"):
        raise NotRun("the stand-in never met the fault; mark what creates jobs with operation('create')")
    await _judge(stage, status, must_succeed=name not in _REFUSALS, was_kept=keeps_effect(fault))


async def comes_late(when: When, stage: Stage) -> None:
    """One job, although the first create takes effect, or is answered, when nobody waits for it any more."""
    needs(stage.stand_in.jobs, "jobs")
    late_s = stage.settings.submission_limit.total_seconds() * _LATE
    task = stage.task(stage.stand_in.quick)
    stage.break_next("create", Stall(when=when, seconds=late_s))
    status = await stage.follow(await stage.create(task), task)
    if not stage.has_met("create"):
        raise NotRun("the stand-in never met the fault; mark what creates jobs with operation('create')")
    await asyncio.sleep(late_s)
    await _judge(stage, status, must_succeed=True, was_kept=True)


async def dies(when: When, stage: Stage) -> None:
    """One job, although the first replica dies before or after its create."""
    needs(stage.stand_in.jobs, "jobs")
    task = stage.task(stage.stand_in.quick)
    stage.boundary.deaths["create"] = when
    status = await stage.follow(await stage.create(task), task)
    if stage.boundary.deaths:
        raise NotRun("no replica died")
    await _judge(stage, status, must_succeed=True, was_kept=when is When.AFTER)


async def dies_anywhere(step: int, of: int, stage: Stage) -> None:
    """One job, although the first replica dies in the midst of CreateTask; `step` of `of` points spread over it."""
    needs(stage.stand_in.jobs, "jobs")
    if not isinstance(stage.fleet, Fleet):
        raise NotApplicable("it needs virtual time")
    rehearsal = stage.task(stage.stand_in.quick, node="rehearsal")
    replica = stage.fleet.replicas[0]
    before = replica.process.steps
    await stage.follow(await stage.create(rehearsal), rehearsal)
    steps = max(1, replica.process.steps - before)
    others = {job.id for job in await stage.all_jobs()}
    stage.fleet._turn = 0  # noqa: SLF001 - the next call goes to the replica that will die
    replica.kill_at(1 + steps * step // of)
    task = stage.task(stage.stand_in.quick)
    status = await stage.follow(await stage.create(task), task)
    await _judge(stage, status, must_succeed=True, was_kept=True, others=frozenset(others))


async def _judge(
    stage: Stage, status: TaskStatus, *, must_succeed: bool, was_kept: bool, others: frozenset[str] = frozenset()
) -> None:
    jobs = [job for job in await stage.all_jobs() if job.id not in others]
    is_nothing = isinstance(getattr(stage.agent, "submission", None), Nothing)
    one_job(len(jobs), remedy_of(stage), least=1 if status.phase is Phase.SUCCEEDED else 0)
    if status.phase is Phase.SUCCEEDED or is_nothing:
        return
    if jobs and was_kept:
        raise Broken(
            f"the job was started, and the task was told {status.phase.value}: {_words(status)}",
            "let the platform's ErrorMap call errors that may come after the effect Sent.MAYBE, and let a repeated "
            "`create` return the job that is there already",
        )
    if any(job.is_live for job in jobs):
        raise Broken("the task ended, and its job runs on", "let the ErrorMap call a lost reply Sent.MAYBE")
    if must_succeed:
        raise Broken(
            f"a passing fault failed the task, {status.phase.value}: {_words(status)}",
            "let the ErrorMap call it Unavailable or Throttled; those are asked again",
        )


async def stopped_while_starting(stage: Stage) -> None:
    """Cancelled while its create hangs, a task leaves no job."""
    needs(stage.stand_in.jobs, "jobs")
    if isinstance(stage.agent.submission, Nothing):  # type: ignore[attr-defined]  # asked of agents with jobs only
        raise NotApplicable("Nothing promises no way to find the job")
    task = stage.task(_kept(stage))
    stage.break_next("create", Stall(when=When.AFTER))
    handle = await stage.create(task)
    await stage.delete(handle, task)
    if await stage.all_ended(stage.pace.end_s):
        raise Broken(
            "the task was cancelled while its create was under way, and its job runs on",
            "define `find`, or let a repeated `create` return the job that is there already, so that it can be stopped",
        )
    one_job(len(await stage.all_jobs()), remedy_of(stage), least=0)
    with contextlib.suppress(OutboardError):
        await stage.poll(handle, task)


def _kept(stage: Stage) -> RawTask:
    return stage.stand_in.long or stage.stand_in.quick


def _known(status: TaskStatus) -> None:
    if status.is_flagged:
        raise Broken(
            f"the platform's state {status.state!r} is not in the StateMap", "add it to the table and to `documented`"
        )


def _words(status: TaskStatus) -> str:
    return (status.error.message if status.error else "") or status.message or "no reason given"


def _checks() -> Iterator[Check]:
    yield Check(name="runs/succeeds", run=succeeds, kinds=Kind.JOBS)
    yield Check(name="runs/fails", run=fails)
    yield Check(name="started-once/repeated-create", run=repeats)
    yield Check(name="started-once/two-replicas-at-once", run=twice_at_once)
    for name, fault in FAULTS.items():
        run: LiveCheck = partial(meets, fault, name)
        yield Check(name=f"started-once/{name.replace(' ', '-')}", run=run)
    yield Check(name="started-once/effect-comes-late", run=partial(comes_late, When.BEFORE))
    yield Check(name="started-once/reply-comes-late", run=partial(comes_late, When.AFTER))
    for when in When:
        yield Check(name=f"started-once/replica-dies-{when.value}-create", run=partial(dies, when), kills=True)
    for step in range(_MOST_STEPS):
        run = partial(dies_anywhere, step, _MOST_STEPS)
        yield Check(
            name=f"started-once/replica-dies-at-{step + 1}-of-{_MOST_STEPS}",
            run=run,
            needs_virtual_time=True,
            kills=True,
        )
    yield Check(name="cancel/while-starting", run=stopped_while_starting)


STARTING: Final = tuple(_checks())
"""The checks of this module."""
