"""Bad input: tasks that cannot succeed, what a user should see of each, and what a user sees.

A warehouse's module hands in a table of its own `Bad`, and how a host is opened before its fake platform. A message without
its words, with a secret, with another verdict, or a job too many or too few is a failure. Time is virtual before a fake.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Generic, TypeVar

from outboard.domain.endpoints import Endpoint
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError, Retry
from outboard.testing.platform_server import PlatformServer
from outboard.testing.virtual_time import run_virtually
from outboard.wire.codes import status_code
from tables.sections import Section
from warehouses.measures import POLL_S

ServerT = TypeVar("ServerT", bound=PlatformServer)
_SHOWN: Final = 400
_LIMIT_S: Final = 10 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a user should see of a task that cannot succeed.

    Attributes:
        retry: Whether another attempt is worth it.
        words: What the message must hold: the field, the platform's words, the remedy.
        not_words: What it must not hold: secrets, input values.
        jobs: How many jobs the platform may have; None is not looked at.
    """

    retry: Retry
    words: Sequence[str]
    not_words: Sequence[str] = ()
    jobs: int | None = None


def no_job(retry: Retry, *words: str, not_words: Sequence[str] = ()) -> Wanted:
    """Want a refusal: the platform has no job of it."""
    return Wanted(retry=retry, words=words, not_words=not_words, jobs=0)


def one_job(retry: Retry, *words: str, not_words: Sequence[str] = ()) -> Wanted:
    """Want the words of the one job that the platform has of it."""
    return Wanted(retry=retry, words=words, not_words=not_words, jobs=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad(Generic[ServerT]):
    """A task that is not as it should be, or before a platform that is not.

    Attributes:
        task: The task.
        wanted: What a user should see.
        prepare: Does something to the platform before.
        settings: The operator's, beside those by which the fake is reached.
        secrets: The operator's; None for those that the fake takes.
    """

    task: RawTask
    wanted: Wanted
    prepare: Callable[[ServerT], None] = lambda _: None
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a user sees of a task that did not succeed.

    Attributes:
        told_by: The call that told it, and how: a gRPC code, or a phase.
        retry: As `Failure.retry` or the error's.
        message: As shown.
        code: The platform's code, or the error's name.
        jobs: How many jobs the platform has had, where somebody counted.
    """

    told_by: str
    retry: Retry
    message: str
    code: str
    jobs: int | None = None


Opens = Callable[[Bad[ServerT]], AbstractAsyncContextManager[tuple[ServerT, Endpoint]]]
"""Serves a platform and a host before it, with the settings and secrets of a `Bad`."""


def bad_inputs(
    title: str,
    table: Mapping[str, Bad[ServerT]],
    opens: Opens[ServerT],
    sent: Callable[[RawTask], RawTask],
    *,
    harm: Callable[[ServerT], Sequence[str]] = lambda _: (),
) -> Section:
    """Show what a user sees of each, on the fake.

    Args:
        title: Of the table.
        table: What may be wrong, by name.
        opens: Serves the fake and a host.
        sent: Returns a task as an engine sends it.
        harm: Looks, after each task, for what must never be at the platform.
    """
    rows: list[tuple[str, Wanted, Seen]] = []
    harmed: list[str] = []
    for name, bad in table.items():
        seen, found = run_virtually(partial(_try, bad, opens, sent, harm), limit_s=_LIMIT_S)
        rows.append((name, bad.wanted, seen))
        harmed += [f"{name}: {each}" for each in found]
    section = verdicts(title, rows)
    return replace(section, failures=[*section.failures, *harmed])


async def _try(
    bad: Bad[ServerT],
    opens: Opens[ServerT],
    sent: Callable[[RawTask], RawTask],
    harm: Callable[[ServerT], Sequence[str]],
) -> tuple[Seen, Sequence[str]]:
    async with opens(bad) as (server, endpoint):
        bad.prepare(server)
        seen = await what_is_seen(endpoint, sent(bad.task))
        return replace(seen, jobs=len(server.ledger.jobs)), harm(server)


async def what_is_seen(endpoint: Endpoint, task: RawTask, *, poll_s: float = POLL_S, limit_s: float = 7200.0) -> Seen:
    """Run a task that should fail, and return what a user sees of it; one that succeeds is shown as that.

    Args:
        endpoint: The host.
        task: As an engine sends it.
        poll_s: Between two polls.
        limit_s: After which a task that still runs is shown as it is.
    """
    try:
        handle = await endpoint.create_task(task, timeout_s=10)
    except OutboardError as error:
        return Seen(
            told_by=f"CreateTask {status_code(error).name}", retry=error.retry, message=error.message, code=error.code
        )
    give_up = time.monotonic() + limit_s
    while True:
        status = await endpoint.get_task(
            handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=10
        )
        if status.phase.is_terminal or time.monotonic() > give_up:
            failure = status.error
            return Seen(
                told_by=f"GetTask {status.phase.value}",
                retry=failure.retry if failure is not None else Retry.NEVER,
                message=(failure.message if failure is not None else "") or status.message,
                code=failure.code if failure is not None else "",
            )
        await asyncio.sleep(poll_s)


def verdicts(title: str, rows: Sequence[tuple[str, Wanted, Seen]], *, notes: Sequence[str] = ()) -> Section:
    """Show what users see; a message without its words, with a secret, or with another verdict is a failure."""
    shown, failures = [], []
    for name, wanted, seen in rows:
        shown.append(
            {
                "case": name,
                "told by": seen.told_by,
                "retry": seen.retry.value,
                "code": seen.code,
                "jobs": seen.jobs,
                "message": seen.message[:_SHOWN],
            }
        )
        failures += [
            f"{name}: {words!r} is not in {seen.message!r}" for words in wanted.words if words not in seen.message
        ]
        failures += [f"{name}: {words!r} is in {seen.message!r}" for words in wanted.not_words if words in seen.message]
        if seen.retry is not wanted.retry:
            failures.append(f"{name}: retry is {seen.retry.value!r}, not {wanted.retry.value!r} ({seen.message})")
        if wanted.jobs is not None and seen.jobs != wanted.jobs:
            failures.append(f"{name}: the platform had {seen.jobs} jobs, not {wanted.jobs}")
    columns = ["case", "told by", "retry", "code", "jobs", "message"]
    return Section(title=title, columns=columns, rows=shown, failures=failures, notes=notes)
