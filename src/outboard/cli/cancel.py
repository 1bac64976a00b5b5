"""`outboard cancel`: a task, a whole run, or a job by its bare handle.

Who drives a run also cancels its jobs: the wish is written to the journal, and the run's engine, in whichever process, obeys it
and records the end. Where that engine is gone, this command takes its place: it takes the run up only to cancel what was named,
with all that an engine does for that (a CreateTask whose answer was lost is sent again for its handle, a DeleteTask until it is
accepted), and leaves the rest of the run for `outboard resume`. A run also has the cancels that its ended tasks still owe.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from outboard.cli.choices import Force, JournalFile, Whom
from outboard.cli.exits import Exit
from outboard.cli.handle_files import decoded, read_task_type
from outboard.cli.loops import run_loop
from outboard.domain.tasks import TaskType
from outboard.errors import HandleError, InvalidSettings
from outboard.local.notes import write_note

if TYPE_CHECKING:
    from outboard.cli.driving import Drive
    from outboard.domain.endpoints import Endpoint
    from outboard.engine.journal import Journal, RunRecord, TaskRecord

EXAMPLES: Final = (
    "outboard cancel query-7",
    "outboard cancel abc123/query-7",
    "outboard cancel abc123",
    "outboard cancel --handle /09CAQ... --type duckdb --endpoint localhost:8000",
)
_PAUSE_S: Final = 0.3
_CALL_LIMIT_S: Final = 30.0


def command(
    *,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[TASK|RUN]", help="A task's id, RUN/TASK, or the id of a run: all its tasks."),
    ] = None,
    handle: Annotated[
        str | None, typer.Option("--handle", metavar="BASE64", help="A job by its handle, without the journal.")
    ] = None,
    task_type: Annotated[
        TaskType | None,
        typer.Option(
            "--type", metavar="TYPE[:VERSION]", parser=read_task_type, help="The task type that goes with --handle."
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long to wait for the confirmation.")
    ] = 60.0,
    force: Force = False,
    whom: Whom,
    journal: JournalFile = None,
) -> int:
    """Cancel a task, all tasks of a run, or a job by its handle, and wait until that is confirmed.

    What has ended is left as it is. Exit code 131 says that the end was not confirmed in time.
    """
    from outboard.cli.driving import Drive  # noqa: PLC0415 - the engine is for those who use it

    if (what is None) == (handle is None):
        raise InvalidSettings("say what to cancel: a task or a run of the journal, or --handle", field="task")
    drive = Drive(target=whom.target(), journal=journal, is_quiet=True)
    if handle is not None:
        return run_loop(_cancel_handle(drive, _decode(handle), task_type, wait_s=wait))
    return run_loop(_cancel_recorded(drive, what or "", wait_s=wait, force=force))


async def _cancel_handle(drive: Drive, handle: bytes, named: TaskType | None, *, wait_s: float) -> Exit:
    from outboard.cli.connections import find  # noqa: PLC0415 - as above

    task_type = named or _recorded_type(handle)
    async with find(drive.target) as found, found.endpoints() as endpoints:
        if len(endpoints) > 1:
            raise InvalidSettings(
                "several services are configured: name the job's own with --endpoint", field="endpoint"
            )
        (endpoint,) = endpoints.values()
        return await _cancel_job(endpoint, handle, task_type, wait_s=wait_s)


async def _cancel_job(endpoint: Endpoint, handle: bytes, task_type: TaskType, *, wait_s: float) -> Exit:
    """Ask a service to cancel a job, and wait until it says that the job is over."""
    until = time.monotonic() + wait_s
    await endpoint.delete_task(handle, task_type=task_type, timeout_s=_CALL_LIMIT_S)
    while True:
        status = await endpoint.get_task(handle, task_type=task_type, timeout_s=_CALL_LIMIT_S)
        if status.phase.is_terminal:
            write_note(f"the job is over: {status.phase.value}")
            return Exit.SUCCESS
        if time.monotonic() >= until:
            write_note(f"the service accepted the cancel, and the job is still {status.phase.value}")
            return Exit.LEFT_RUNNING
        await asyncio.sleep(_PAUSE_S)


async def _cancel_recorded(drive: Drive, text: str, *, wait_s: float, force: bool) -> Exit:
    from outboard.cli.journals import open_journal  # noqa: PLC0415 - as above

    async with open_journal(drive.journal) as journal:
        wish = await _mark(journal, text)
        if not wish.tasks and not wish.is_owed:
            write_note(f"{text} has ended already")
            return Exit.SUCCESS
        if not _is_orphaned(wish.run, force=force):
            return await _await_engine(journal, wish, wait_s=wait_s)
        return await _take_up_to_cancel(drive, journal, wish, wait_s=wait_s, force=force)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """Open tasks of one run that are to be cancelled, and are so marked in the journal.

    Attributes:
        is_whole: The run itself was named.
    """

    run: RunRecord
    tasks: list[TaskRecord]
    is_whole: bool

    @property
    def is_owed(self) -> bool:
        """Whether the run that was named still owes cancels."""
        return self.is_whole and self.run.owed > 0


async def _mark(journal: Journal, text: str) -> _Wish:
    """Write to the journal that a task, or every open task of a run, is to be cancelled."""
    from outboard.cli.journals import find_run, find_task  # noqa: PLC0415 - as above

    run = None if "/" in text else await find_run(journal, text)
    is_whole = run is not None
    if run is not None:
        tasks = [task for task in await journal.tasks(run.run_id) if task.ended_at is None]
    else:
        tasks = [await find_task(journal, text)]
        (run,) = [each for each in await journal.runs() if each.run_id == tasks[0].run_id]
    asked = await asyncio.gather(*(journal.request_cancel(task.run_id, task.task_id) for task in tasks))
    marked = [task for task, is_open in zip(tasks, asked, strict=True) if is_open]
    return _Wish(run=run, tasks=marked, is_whole=is_whole)


def _is_orphaned(run: RunRecord, *, force: bool) -> bool:
    from outboard.engine.leases import Life  # noqa: PLC0415 - as above

    return run.owner_life in (None, Life.DEAD) or (force and run.owner_life is Life.UNKNOWN)


async def _await_engine(journal: Journal, wish: _Wish, *, wait_s: float) -> Exit:
    """Wait until the run's engine has recorded the ends."""
    until = time.monotonic() + wait_s
    wanted = {task.task_id for task in wish.tasks}
    while True:
        open_ids = [task_id for task_id in await journal.open_ids(wish.run.run_id) if task_id in wanted]
        if not open_ids:
            break
        if time.monotonic() >= until:
            owner = wish.run.owner
            where = f"process {owner.pid} on {owner.host}" if owner else "its engine"
            write_note(f"{where} was asked to cancel and has not confirmed it yet for: {', '.join(open_ids)}")
            return Exit.LEFT_RUNNING
        await asyncio.sleep(_PAUSE_S)
    for task in await journal.tasks(wish.run.run_id):
        if task.task_id in wanted:
            write_note(f"task {task.task_id} ended as {task.phase.value if task.phase else 'unknown'}")
    return Exit.SUCCESS


async def _take_up_to_cancel(drive: Drive, journal: Journal, wish: _Wish, *, wait_s: float, force: bool) -> Exit:
    """Take a run up whose engine is gone, only to cancel what was named."""
    from outboard.cli.driving import cancel_run  # noqa: PLC0415 - as above

    run_id, wanted = wish.run.run_id, {task.task_id for task in wish.tasks}
    only = None if wish.is_whole else wanted
    outcomes = await cancel_run(drive, journal, run_id, force=force, only=only, wait_s=wait_s)
    code = Exit.SUCCESS
    for outcome in outcomes:
        if outcome.left_running is not None or not outcome.is_final:
            write_note(f"not confirmed: {outcome.left_running or outcome.task_id}")
            code = Exit.LEFT_RUNNING
        elif outcome.task_id in wanted:
            write_note(f"task {outcome.task_id} ended as {outcome.phase.value}")
    if await journal.open_ids(run_id) and not wish.is_whole:
        write_note(f"nobody drives run {run_id}: `outboard resume {run_id}` finishes its other tasks")
    return code


def _decode(text: str) -> bytes:
    handle = decoded(text)
    if handle is None:
        raise InvalidSettings("--handle is no base64: copy it whole, as it was printed", field="handle")
    return handle


def _recorded_type(handle: bytes) -> TaskType:
    """Return the task type in a handle of ours that is not sealed."""
    from outboard.domain.handles import HandleCodec  # noqa: PLC0415 - only here

    try:
        found = HandleCodec().decode(handle)
    except HandleError:
        raise InvalidSettings("the handle cannot be read here: name its task type with --type", field="type") from None
    return TaskType(found.task_type, found.task_type_version)
