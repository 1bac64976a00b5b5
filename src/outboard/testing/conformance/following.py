"""Found, followed and stopped: what becomes of a job that was started, whatever the platform answers meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final

import ormsgpack

from outboard.agent import JobRef, Missing, Status
from outboard.domain.handles import HandleCodec
from outboard.domain.phases import Phase
from outboard.domain.seals import ServiceKey
from outboard.domain.tasks import RawTask
from outboard.errors import AgentError, HandleTooLarge, OutboardError
from outboard.host.requests import Request
from outboard.host.submissions.submission import can_find, visible_s
from outboard.testing.conformance.checks import Check, needs, under_faults
from outboard.testing.conformance.findings import Broken, NotApplicable, NotRun
from outboard.testing.conformance.stages import Stage
from outboard.testing.faults import FAULTS, Fault, Stall, Unreachable, When

_JOB_BYTES: Final = 160
_CANCEL_RETURNS_S: Final = 10.0
_MARGIN_S: Final = 1.0
_OUTAGE_S: Final = 600.0
_MOST_DELETE_ERRORS: Final = 3
_PASSING: Final = {name: fault for name, fault in FAULTS.items() if not isinstance(fault, Stall)}
"""Those under which a cancel can be tried in real time: one that is never answered has half a minute."""
_KEY: Final = "b3V0Ym9hcmQtY29uZm9ybWFuY2UtY2hlY2sta2V5ISE="
"""A service key, to see how large sealed handles are; it protects nothing."""


async def answers(stage: Stage) -> None:
    """`get` or `get_many` answer with a `Status` in a known state, and `Missing` for a job that never was."""
    request, job = await _started(stage)
    status = await _ask(stage, request, job)
    if not isinstance(status, Status):
        raise Broken(
            f"`{stage.status_operation}` returned {type(status).__name__} for a job that runs",
            "return Status(state=...) with the platform's own state",
        )
    if stage.agent.states.read(status.state).is_flagged:  # type: ignore[attr-defined]  # asked of agents with jobs only
        raise Broken(
            f"the platform's state {status.state!r} is not in the StateMap", "add it to the table and to `documented`"
        )
    never = job.model_copy(update={"id": _altered(job.id)})
    try:
        found = await _ask(stage, request, never)
    except OutboardError as error:
        raise Broken(
            f"asked for a job that never was, `{stage.status_operation}` raised {type(error).__name__}: {error.message}",
            "return Missing() where the platform says that there is no such job",
        ) from None
    if found is not None and not isinstance(found, Missing):
        raise Broken(
            f"a job that never was has the status {found!r}", "return Missing() where the platform knows no such job"
        )


async def handles(stage: Stage) -> None:
    """The job fits into a handle, and comes out of it as it went in."""
    request, job = await _started(stage)
    hash(job)
    packed = len(ormsgpack.packb(job.to_json()))
    if packed > _JOB_BYTES:
        raise Broken(f"the JobRef takes {packed} of {_JOB_BYTES} bytes", "keep only what finds the job again")
    if type(job).model_validate(job.to_json()) != job:
        raise Broken(
            "the JobRef is another one after its way through JSON", "use plain fields that JSON can hold without loss"
        )
    codec = HandleCodec([ServiceKey.parse(_KEY)])
    try:
        encoded = codec.encode(request.handle(created_at=1, job=job.to_json(), job_version=job.handle_version))
    except HandleTooLarge as error:
        raise Broken(
            error.message, "shorten the connection: what the operator's settings say need not travel"
        ) from None
    if dict(codec.decode(encoded).job) != job.to_json():
        raise Broken("the job in the handle is another one", "use plain JSON values in the JobRef")
    if request.agent.connection(request.task) != request.connection:
        raise Broken(
            "`connection` returned two different connections for one task",
            "make it a pure function of the task and the platform's settings",
        )


async def finds(stage: Stage) -> None:
    """`find` returns the jobs of a key, all of them and no others."""
    if not can_find(stage.agent):  # type: ignore[arg-type]  # asked of agents with jobs only
        raise NotApplicable("the agent has no `find`")
    request, job = await _started(stage)
    other = stage.direct.prepare(stage.task(_kept(stage), node="n1"))
    before = await stage.direct.call(other, "find", other.task, other.key, timeout_s=stage.pace.end_s)
    if list(before):
        raise Broken(
            f"`find` returned {len(before)} jobs for a key that has none", "search by the whole key, and filter exactly"
        )
    await asyncio.sleep(visible_s(stage.agent) + stage.pace.poll_s)
    found = await stage.direct.call(request, "find", request.task, request.key, timeout_s=stage.pace.end_s)
    ids = [each.id for each in found]
    if ids != [job.id]:
        raise Broken(
            f"`find` returned {ids} for the key of job {job.id!r}",
            "give the job the key as its name or label in `create`, and search by that; raise `visible_within` where the "
            "platform shows jobs late",
        )


async def adopts(stage: Stage) -> None:
    """The next attempt of a task takes the living job of the one before it."""
    await _adopt(stage)


async def adopts_by_find(stage: Stage) -> None:
    """It does so too where the record of the first attempt is lost, since `find` finds the job by its key."""
    if not can_find(stage.agent):  # type: ignore[arg-type]  # asked of agents with jobs only
        raise NotApplicable("the agent has no `find`")
    await _adopt(stage, has_record=False)


async def _adopt(stage: Stage, *, has_record: bool = True) -> None:
    needs(stage.stand_in.long, "long")
    needs(stage.stand_in.jobs, "jobs")
    first = stage.task(_kept(stage))
    await stage.await_job(await stage.create(first), first)
    await asyncio.sleep(visible_s(stage.agent))
    if not has_record:
        await asyncio.sleep(stage.settings.answer_retention.total_seconds() + _MARGIN_S)  # replicas remember, too
        await stage.forget_records()
    second = stage.task(_kept(stage), attempt=1)
    handle = await stage.create(second)
    status = await stage.await_job(handle, second)
    count = len(await stage.all_jobs())
    if count != 1:
        raise Broken(
            f"the second attempt was started beside the living job of the first: {count} jobs",
            "let `find` return living jobs by their key, and `get` answer their states",
        )
    if status.phase.is_terminal:
        raise Broken(f"the second attempt ended as {status.phase.value} at once", "see what `get` answers")
    await _stopped(stage, handle, second)


async def cancels(stage: Stage) -> None:
    """A cancelled job ends, and the task says so."""
    needs(stage.stand_in.long, "long")
    task = stage.task(_kept(stage))
    handle = await stage.create(task)
    await stage.await_job(handle, task)
    await _stopped(stage, handle, task)
    status = await stage.follow(handle, task)
    if status.phase is Phase.SUCCEEDED:
        raise Broken("a cancelled job is reported as SUCCEEDED", "map the platform's word for cancelled to failed()")
    if await stage.delete(handle, task):
        raise Broken("cancelling a job that is over is an error", "let `cancel` accept that a job is over")


async def cancels_in_time(stage: Stage) -> None:
    """`cancel` asks and returns; it does not wait for the job's end."""
    request, job = await _started(stage)
    began = time.monotonic()
    work = stage.direct.call(request, "cancel", job, timeout_s=stage.pace.end_s)
    try:
        await asyncio.wait_for(work, _CANCEL_RETURNS_S)
    except (asyncio.TimeoutError, TimeoutError):
        took_s = time.monotonic() - began
        raise Broken(
            f"`cancel` had not returned after {took_s:.0f} s",
            "return once the platform accepted the cancel; the host confirms the end",
        ) from None


async def cancels_under_faults(faults: Mapping[str, Fault], stage: Stage) -> None:
    """Whatever the first request of a cancel meets, the job ends; engines hear of at most three errors."""
    needs(stage.stand_in.long, "long")
    needs(stage.stand_in.jobs, "jobs")
    for number, (name, fault) in enumerate(faults.items()):
        task = stage.task(_kept(stage), node=f"n{number}")
        handle = await stage.create(task)
        await stage.await_job(handle, task)
        stage.break_next("cancel", fault)
        errors = await stage.delete(handle, task)
        if errors > _MOST_DELETE_ERRORS:
            raise Broken(f"{name}: DeleteTask was answered with {errors} errors", "see what `cancel` raises")
        if await stage.all_ended(stage.pace.end_s):
            raise Broken(
                f"{name}: the job was not cancelled after its first cancel met this",
                "let `cancel` raise what the platform's client raises, and never report a cancel that failed as done",
            )
        stage.faults.clear()
    if not stage.has_met("cancel"):
        raise NotRun("the stand-in never met a fault; mark what cancels jobs with operation('cancel')")


async def leaves_finished_work(stage: Stage) -> None:
    """A `cancel` that comes just after the end, as any may, changes nothing."""
    if stage.agent.cancel_finished:  # type: ignore[attr-defined]  # asked of agents with jobs only
        raise NotApplicable("its finished jobs are torn down by a cancel")
    request, job = await _started(stage, stage.stand_in.quick)
    give_up = time.monotonic() + stage.pace.end_s
    phase = await _phase(stage, request, job)
    while phase is not Phase.SUCCEEDED and time.monotonic() < give_up:
        await asyncio.sleep(stage.pace.poll_s)
        phase = await _phase(stage, request, job)
    with contextlib.suppress(AgentError):  # a platform may well refuse it
        await stage.direct.call(request, "cancel", job, timeout_s=stage.pace.end_s)
    phase = await _phase(stage, request, job)
    if phase is not Phase.SUCCEEDED:
        raise Broken(
            f"a job that succeeded is {phase.value if phase else 'gone'} after a late cancel",
            "let `cancel` leave finished jobs alone, or declare cancel_finished where they must be torn down",
        )


async def survives_faults(faults: Mapping[str, Fault], stage: Stage) -> None:
    """No answer, or a strange one, never ends a job, and never becomes an error of GetTask."""
    needs(stage.stand_in.long, "long")
    task = stage.task(_kept(stage))
    handle = await stage.create(task)
    await stage.await_job(handle, task)
    operation = stage.status_operation
    for name, fault in faults.items():
        to_meet = stage.has_met(operation) + 1
        stage.break_next(operation, fault)
        give_up = time.monotonic() + stage.pace.end_s
        polls_left = 2
        while polls_left:
            await asyncio.sleep(stage.pace.poll_s)
            status = await stage.poll(handle, task)
            if status.phase.is_terminal:
                raise Broken(
                    f"{name}: the job was reported as {status.phase.value} although it runs",
                    f"let `{operation}` raise what the client raises and never answer a state that the platform did not say",
                )
            polls_left -= stage.has_met(operation) >= to_meet
            if time.monotonic() > give_up:
                raise NotRun(f"the stand-in never met the fault; mark what shows states with operation({operation!r})")
        stage.faults.clear()
    await _stopped(stage, handle, task)


async def survives_an_outage(stage: Stage) -> None:
    """A platform that is away for long shows as waiting; afterwards the right result comes."""
    task = stage.task(stage.stand_in.quick)
    handle = await stage.create(task)
    stage.break_next(stage.status_operation, Unreachable(), times=None)
    give_up = time.monotonic() + (_OUTAGE_S if stage.case.is_virtual else 3 * stage.pace.unreachable_s)
    status = await stage.poll(handle, task)
    if status.phase.is_terminal and not stage.has_met(stage.status_operation):
        raise NotRun("the stand-in never met the fault; mark what shows states as an operation of the plan")
    while time.monotonic() < give_up and not status.phase.is_terminal:
        await asyncio.sleep(max(stage.pace.poll_s, (give_up - time.monotonic()) / 20))
        status = await stage.poll(handle, task)
    if status.phase.is_terminal:
        raise Broken(
            f"an unreachable platform ended the job as {status.phase.value}", "let `get` raise what the client raises"
        )
    if status.phase is not Phase.WAITING_FOR_RESOURCES:
        raise Broken(
            f"after a long silence the task is {status.phase.value}, as if all were well",
            "let `get` raise what the client raises, and answer nothing from memory",
        )
    stage.faults.clear()
    ended = await stage.follow(handle, task)
    if ended.phase is not Phase.SUCCEEDED:
        raise Broken(f"after the outage the task ended as {ended.phase.value}", "see what `get` answers")


async def keeps_deadlines(stage: Stage) -> None:
    """Calls end with their deadline, and so does the agent's own code."""
    task = stage.task(_kept(stage))
    limit_s = stage.pace.call_s
    stage.break_next("create", Stall(when=When.BEFORE))
    handle = await _in_time(
        "CreateTask", stage.fleet.create_task(task, timeout_s=limit_s), limit_s, stage.pace.margin_s
    )
    await stage.await_job(handle, task)
    stage.break_next(stage.status_operation, Stall(when=When.BEFORE), times=2)
    await asyncio.sleep(stage.pace.poll_s)
    await _in_time("GetTask", stage.poll(handle, task), stage.pace.status_s, stage.pace.margin_s)
    await asyncio.sleep(stage.settings.submission_limit.total_seconds() + _MARGIN_S)
    left = sorted(name for name, count in stage.boundary.running.items() if count > 0)
    if left:
        raise Broken(
            f"{', '.join(left)} ran on after the deadline",
            "give every call of the client a time limit below ctx.timeout_s, and do not catch CancelledError",
        )
    stage.faults.clear()
    await _stopped(stage, handle, task)


async def _in_time(what: str, work: Any, limit_s: float, margin_s: float) -> Any:
    began = time.monotonic()
    try:
        answer = await work
    except OutboardError as error:
        raise Broken(
            f"{what} was answered with an error where the platform hangs: {error.message}",
            "give every call of the client a time limit below ctx.timeout_s, and do not catch CancelledError",
        ) from None
    took_s = time.monotonic() - began
    if took_s > limit_s + margin_s:
        raise Broken(f"{what} took {took_s:.1f} of {limit_s:g} s", "give every call a time limit below ctx.timeout_s")
    return answer


async def _phase(stage: Stage, request: Request, job: JobRef) -> Phase | None:
    """Return the phase that a job is in by the agent's own word; None where there is no such job."""
    status = await _ask(stage, request, job)
    if not isinstance(status, Status):
        return None
    phase: Phase = stage.agent.states.read(status.state).phase  # type: ignore[attr-defined]  # as above
    return phase


async def _started(stage: Stage, kind: RawTask | None = None) -> tuple[Request, JobRef]:
    """Start a job by calling `create` alone; a long one unless told."""
    request = stage.direct.prepare(stage.task(kind or _kept(stage)))
    job = await stage.direct.call(request, "create", request.task, timeout_s=stage.pace.end_s)
    expected = stage.agent.job_model  # type: ignore[attr-defined]  # asked of agents with jobs only
    if not isinstance(job, expected):
        raise Broken(f"`create` returned {type(job).__name__}", f"return a {expected.__name__}")
    return request, job


async def _ask(stage: Stage, request: Request, job: JobRef) -> Any:
    if stage.status_operation == "get":
        return await stage.direct.call(request, "get", job, timeout_s=stage.pace.end_s)
    found = await stage.direct.call(request, "get_many", [job], timeout_s=stage.pace.end_s)
    if not isinstance(found, Mapping):
        raise Broken(f"`get_many` returned {type(found).__name__}", "return a mapping from job.id to statuses")
    strangers = sorted(set(map(str, found)) - {job.id})
    if strangers:
        raise Broken(f"`get_many` answered for jobs it was not asked for: {strangers[:3]}", "answer by `job.id`")
    answer = found.get(job.id)
    if isinstance(answer, OutboardError):
        raise answer
    return answer


async def _stopped(stage: Stage, handle: bytes, task: RawTask) -> None:
    errors = await stage.delete(handle, task)
    if errors > _MOST_DELETE_ERRORS:
        raise Broken(f"DeleteTask was answered with {errors} errors", "see what `cancel` raises")
    if living := await stage.all_ended(stage.pace.end_s):
        raise Broken(
            f"{len(living)} jobs run on after their cancel",
            "let `cancel` stop the job of the JobRef, and raise where the platform refuses",
        )


def _kept(stage: Stage) -> RawTask:
    return stage.stand_in.long or stage.stand_in.quick


def _altered(job_id: str) -> str:
    """Return an id of the same form that no job has: its last letters and digits are others."""
    turned = {**{digit: str(9 - int(digit)) for digit in "0123456789"}, **_turned("abcdefghijklmnopqrstuvwxyz")}
    return job_id[:-4] + "".join(turned.get(each, each) for each in job_id[-4:])


def _turned(letters: str) -> dict[str, str]:
    table = dict(zip(letters, reversed(letters), strict=True))
    return table | {each.upper(): other.upper() for each, other in table.items()}


FOLLOWING: Final = (
    Check(name="answers/statuses", run=answers),
    Check(name="handles/job", run=handles),
    Check(name="find/by-key", run=finds),
    Check(name="adopt/living-job", run=adopts),
    Check(name="adopt/by-find", run=adopts_by_find),
    Check(name="cancel/running", run=cancels),
    Check(name="cancel/returns", run=cancels_in_time),
    under_faults("cancel/faults", cancels_under_faults, in_real_time=_PASSING),
    Check(name="cancel/finished", run=leaves_finished_work),
    under_faults("unreachable/faults", survives_faults),
    Check(name="unreachable/outage", run=survives_an_outage),
    Check(name="deadlines/kept", run=keeps_deadlines),
)
"""The checks of this module."""
