"""`outboard logs`: what a task's job has written, through the journal's handle and the service that started it.

A log is read page by page with a cursor that stays good over restarts of the service, so following goes on where it was.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outboard.cli.choices import Agents, AsJson, CalledService, EngineConfig, JournalFile, Platforms, SettingsFile
from outboard.cli.exits import Exit
from outboard.cli.json_values import dumps
from outboard.cli.loops import run_loop
from outboard.cli.printing import write_result
from outboard.errors import AgentError, EndpointUnreachable, InvalidSettings
from outboard.local.notes import write_note
from outboard.local.settings_files import read_choice

if TYPE_CHECKING:
    from outboard.domain.endpoints import Endpoint
    from outboard.domain.statuses import LogLine
    from outboard.domain.tasks import TaskType
    from outboard.engine.journal import Journal, TaskRecord
    from outboard.local.targets import Target

EXAMPLES: Final = (
    "outboard logs query-7",
    "outboard logs r1a2b3c4d5e/query -f",
    "outboard logs query --tail 20 --json",
)
_PAUSE_S: Final = 0.5
_ANSWER_LIMIT_S: Final = 10.0


def command(  # noqa: PLR0913 - the options of the command
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's id, the beginning of one, or RUN/TASK.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
    tail: Annotated[
        int, typer.Option("--tail", "-n", min=0, metavar="LINES", help="Only the last lines; 0 is all.")
    ] = 0,
    service: CalledService,
    engine_config: EngineConfig = None,
    platforms: Platforms = None,
    agents: Agents = None,
    settings: SettingsFile = None,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> int:
    """Print the log of a task's job; with --json one object per line."""
    choice = read_choice(settings, platforms=platforms, modules=agents, client=service.client)
    target = service.target_with(choice, engine_config)
    run_loop(_print_log(task, target, journal, follow=follow, tail=tail, as_json=as_json))
    return Exit.SUCCESS


async def _print_log(text: str, target: Target, path: Path | None, *, follow: bool, tail: int, as_json: bool) -> None:
    from outboard.cli.connections import find  # noqa: PLC0415 - the engine is for those who use it
    from outboard.cli.journals import find_task, open_journal  # noqa: PLC0415 - as above
    from outboard.local.targets import target_of  # noqa: PLC0415 - as above

    async with open_journal(path) as journal:
        record = await find_task(journal, text)
        if record.handle is None and follow:
            record = await _wait_for_job(journal, record)
        if record.handle is None or record.endpoint is None:
            raise InvalidSettings(f"task '{record.task_id}' has no job, so there is no log of one", field="task")
        task_type = await task_type_of(journal, record)
        target = await target_of(journal, record.run_id, target)
        async with find(target, [record.endpoint]) as found, found.endpoints() as endpoints:
            log = _Log(endpoints[record.endpoint], record.handle, task_type)
            await log.read(tail=tail, as_json=as_json)
            if follow:
                await log.follow(as_json=as_json)


async def task_type_of(journal: Journal, record: TaskRecord) -> TaskType:
    """Return the type of a task in the journal."""
    from outboard.engine.specs import TaskSpec  # noqa: PLC0415 - the engine is for those who use it

    plan = await journal.spec(record.run_id, record.task_id)
    if plan is None:
        raise InvalidSettings(
            f"the journal does not say what task '{record.task_id}' is: it was written by another version"
        )
    return TaskSpec.from_plan(plan).task.task_type


async def _wait_for_job(journal: Journal, record: TaskRecord) -> TaskRecord:
    """Return a task once it has a job or has ended; other processes write to the journal, so it is asked again."""
    write_note(f"waiting for the job of {record.task_id}")
    while record.handle is None and record.ended_at is None:
        await asyncio.sleep(_PAUSE_S)
        record = await journal.task(record.task_id, run_id=record.run_id) or record
    return record


class _Log:
    """One job's log, read from where the last reading ended."""

    def __init__(self, endpoint: Endpoint, handle: bytes, task_type: TaskType) -> None:
        self._endpoint = endpoint
        self._handle = handle
        self._task_type = task_type
        self._cursor: str | None = None
        self._has_ended = False

    async def read(self, *, tail: int, as_json: bool) -> None:
        """Print what is there now."""
        if not tail:
            await self._pages(lambda line: _print_line(line, as_json=as_json))
            return
        from collections import deque  # noqa: PLC0415 - only here

        last: deque[LogLine] = deque(maxlen=tail)
        await self._pages(last.append)
        for line in last:
            _print_line(line, as_json=as_json)

    async def follow(self, *, as_json: bool) -> None:
        """Print what comes, until the log or the job ends; a service that is away for a while is waited for."""
        is_over = False
        silent = False
        while not self._has_ended and not is_over:
            await asyncio.sleep(_PAUSE_S)
            try:
                # The phase is asked before the log: what the job wrote last is then in the log that is read after it.
                status = await self._endpoint.get_task(
                    self._handle, task_type=self._task_type, timeout_s=_ANSWER_LIMIT_S
                )
                is_over = status.phase.is_terminal
                await self._pages(lambda line: _print_line(line, as_json=as_json))
                silent = False
            except (EndpointUnreachable, AgentError) as error:
                if not silent:
                    write_note(f"{error.message}; trying again")
                silent = True
                is_over = False

    async def _pages(self, take: Any) -> None:
        async for page in self._endpoint.task_logs(self._handle, task_type=self._task_type, cursor=self._cursor):
            for line in page.lines:
                take(line)
            self._cursor = page.next_cursor or self._cursor
            self._has_ended = page.ended


def _print_line(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        write_result(dumps({"at": line.at, "originator": line.originator, "message": line.message}))
    else:
        write_result(line.message)
