"""From what somebody named to a story: the journal, the handle, its record, the platform or its service, the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from outboard.cli.log_output import configure_logs, prints_aside, redact_prints
from outboard.cli.questions import Question
from outboard.domain.endpoints import Endpoint
from outboard.domain.handles import seal_of
from outboard.domain.secret_refs import redact_forms
from outboard.domain.tasks import TaskType
from outboard.engine.journal import Journal
from outboard.engine.leases import Life
from outboard.engine.routing import IN_PROCESS
from outboard.errors import EndpointUnreachable, HandleError, InvalidSettings, OutboardError
from outboard.host import Host
from outboard.local.checkup.handles import key_ids
from outboard.local.connections import find
from outboard.local.home import journal_path
from outboard.local.notes import one_line
from outboard.local.settings_files import open_host
from outboard.local.stories import log_lines, search
from outboard.local.stories.story import Story
from outboard.local.targets import Target, target_of

_CLOSING_S: Final = 5.0
_SHOWN: Final = 60


async def find_story(question: Question, target: Target, handle: bytes | None) -> tuple[Story, Callable[[str], str]]:
    """Return the story of what was named, and what removes secrets from its words.

    Raises:
        InvalidSettings: Nothing is known by this name; or the settings are wrong.
    """
    story = Story(named=question.named if handle is None else "a handle", encoded=handle)
    path = question.journal or journal_path()
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(Journal.open(path)) if handle is None and path.exists() else None
        if journal is not None:
            await _recall(story, journal, question, _installation(target))
        if story.recorded is not None and journal is not None:
            target = await target_of(journal, story.recorded.record.run_id, target)
        host = await stack.enter_async_context(_opened(target))
        configure_logs(host.redact, level="error", form="pretty")
        story.our_keys = key_ids(host.settings)
        if story.encoded is None and (key := search.parse_key(question.named)) is not None:
            prefix = question.output_prefix
            story.encoded = await host.examination.recorded_handle(key, prefix, timeout_s=question.limit_s)
        await _inquire(story, host, question, asks=_is_here(story, target) and not question.is_offline)
        if not question.is_offline and not _is_here(story, target):
            await _ask_service(story, target, question)
        _read_log(story, question)
        redact = host.redact
    if story.encoded is None and story.recorded is None and not story.lines:
        raise _unknown(question)
    return story, redact


async def _recall(story: Story, journal: Journal, question: Question, installation: str) -> None:
    """Look a task up in the journal, by whatever of it was named."""
    from outboard.cli.journals import find_task  # noqa: PLC0415 - the same room

    text = question.named
    identity, key = search.parse_identity(text), search.parse_key(text)
    if identity is not None:
        story.recorded = await search.by_identity(journal, identity[0], has_attempt=identity[1])
    elif key is not None:
        story.recorded = await search.by_key(journal, key, installation)
    else:
        try:
            story.recorded = await search.recorded(journal, await find_task(journal, text))
        except InvalidSettings:
            if not log_lines.ERROR_ID.fullmatch(text):
                raise
    if story.recorded is None:
        return
    record = story.recorded.record
    story.encoded = record.handle
    (run,) = [each for each in await journal.runs() if each.run_id == record.run_id]
    story.is_orphaned = run.is_open and run.owner_life is not Life.ALIVE


async def _inquire(story: Story, host: Host, question: Question, *, asks: bool) -> None:
    """Read a handle, and where it is ours to ask, ask the platform."""
    if story.encoded is None:
        return
    story.seal = seal_of(story.encoded)
    try:
        story.inquiry = await host.examination.inquire(
            story.encoded,
            task_type=_type_of(story, question),
            output_prefix=question.output_prefix,
            timeout_s=question.limit_s,
            asks=asks,
        )
    except HandleError as error:
        story.unreadable = error


async def _ask_service(story: Story, target: Target, question: Question) -> None:
    """Ask the service that has the job, where a poll can neither start nor end anything."""
    inquiry, task_type = story.inquiry, _type_of(story, question)
    if story.encoded is None or task_type is None or (inquiry is None and not question.may_poll):
        return
    if inquiry is not None and inquiry.job.is_intent:
        return  # its record says it all, and a poll may bring a replica to go on with it
    name = story.recorded.record.endpoint if story.recorded is not None else None
    async with find(target, [name] if name else []) as found, found.endpoints() as endpoints:
        endpoint: Endpoint | None = endpoints.get(name or "") or next(iter(endpoints.values()), None)
        if endpoint is None or len(endpoints) > 1:
            raise InvalidSettings(
                "several services are configured: name the job's own with --endpoint", field="endpoint"
            )
        story.endpoint = name or next(iter(endpoints))
        prefix = inquiry.handle.output_prefix if inquiry is not None else question.output_prefix
        asked = endpoint.get_task(story.encoded, task_type=task_type, output_prefix=prefix, timeout_s=question.limit_s)
        try:
            story.status = await asyncio.wait_for(asked, question.limit_s + 1)
        except OutboardError as error:
            story.status_error = error
        except (asyncio.TimeoutError, TimeoutError):
            story.status_error = EndpointUnreachable(f"{story.endpoint} did not answer within {question.limit_s:g} s")


def _read_log(story: Story, question: Question) -> None:
    if question.log is None:
        return
    named = question.named
    key = story.handle.key.text if story.handle is not None else (named if search.parse_key(named) else "")
    error_id = named if log_lines.ERROR_ID.fullmatch(named) else ""
    spelled = search.parse_identity(named)
    identity = story.identity or (spelled[0] if spelled is not None else None)
    story.lines = log_lines.read_lines(question.log, key=key, error_id=error_id, identity=identity)


def _is_here(story: Story, target: Target) -> bool:
    """Tell whether the agents of this process are the ones to ask."""
    if target.endpoint or target.engine_config:
        return False
    return story.recorded is None or story.recorded.record.endpoint in (None, IN_PROCESS)


@asynccontextmanager
async def _opened(target: Target) -> AsyncIterator[Host]:
    # What agents' code prints, from its import until it is closed, is no part of the answer.
    with prints_aside(redact_forms):
        host: Host = open_host(target.choice, is_local=True)
        redact_prints(host.redact)
        try:
            yield host
        finally:
            await asyncio.wait({asyncio.ensure_future(host.close())}, timeout=_CLOSING_S)


def _installation(target: Target) -> str:
    from outboard.host import HostSettings  # noqa: PLC0415 - as above

    return str(target.choice.host.get("installation", HostSettings().installation))


def _type_of(story: Story, question: Question) -> TaskType | None:
    if question.task_type is not None:
        return question.task_type
    if story.inquiry is not None:
        return TaskType(story.inquiry.handle.task_type, story.inquiry.handle.task_type_version)
    spec = story.recorded.spec if story.recorded is not None else None
    return spec.task.task_type if spec is not None else None


def _unknown(question: Question) -> InvalidSettings:
    text = one_line(question.named)[:_SHOWN]
    if log_lines.ERROR_ID.fullmatch(question.named) and question.log is None:
        words = f"'{text}' looks like an error id: give the service's log with --log FILE"
    elif search.parse_key(question.named) is not None:
        words = f"no record of the key '{text}' is known: give its output prefix with --output-prefix, or --log FILE"
    elif search.parse_identity(question.named) is not None:
        words = f"the journal has no task '{text}': give its handle, or its submission key with --output-prefix"
    else:
        words = (
            f"'{text}' is no handle, no file, and nothing that the journal or the log knows: see --help for the forms"
        )
    return InvalidSettings(words, field="what")
