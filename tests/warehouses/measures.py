"""What every warehouse is measured by: the promise under faults, a thousand jobs, bad input, and the vendor's own client.

A warehouse's module hands in its conformance cases, its fake platform and its tasks; what comes back are sections of the
report, with a failure for whatever is not as promised. Time is virtual wherever the platform is a fake of this process.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outboard.domain.endpoints import Endpoint
from outboard.domain.phases import Phase
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.tasks import RawTask
from outboard.errors import OutboardError, Retry
from outboard.testing.conformance.cases import Case
from outboard.testing.conformance.findings import Outcome
from outboard.testing.conformance.suite import check_case
from outboard.wire.codes import status_code
from tables.sections import Section

POLL_S: Final = 10.0
"""Between two polls of one job, about as FlytePropeller leaves."""
_SHOWN: Final = 400


# The promise


def conformance(title: str, cases: Mapping[str, Case]) -> Section:
    """Run `outboard check` of each case; a row per group of checks, with "passed of asked" for each case."""
    groups: dict[str, dict[str, list[int]]] = {}
    failures: list[str] = []
    for name, case in cases.items():
        for finding in check_case(case).findings:
            if finding.outcome is Outcome.NOT_APPLICABLE:
                continue
            counts = groups.setdefault(finding.check.partition("/")[0], {}).setdefault(name, [0, 0])
            counts[1] += 1
            if finding.outcome is Outcome.PASSED:
                counts[0] += 1
            else:
                failures.append(f"{name}: {finding.check} {finding.outcome.value}: {finding.message}")
    rows: list[dict[str, Any]] = [
        {"checks": group, **{name: f"{passed} of {asked}" for name, (passed, asked) in counts.items()}}
        for group, counts in groups.items()
    ]
    sums = {
        name: [sum(counts.get(name, [0, 0])[side] for counts in groups.values()) for side in (0, 1)] for name in cases
    }
    rows.append({"checks": "all", **{name: f"{passed} of {asked}" for name, (passed, asked) in sums.items()}})
    return Section(title=title, columns=["checks", *cases], rows=rows, failures=failures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """How much of what a platform documents the agent knows.

    Attributes:
        what: Of which thing, e.g. "states of a query job".
        documented: What the vendor's page lists.
        mapped: What the agent's table holds.
        source: The page.
    """

    what: str
    documented: frozenset[str] | frozenset[Any]
    mapped: frozenset[str] | frozenset[Any]
    source: str


def mapped(title: str, tables: Sequence[Mapped]) -> Section:
    """Compare what is mapped with what is documented."""
    rows = [
        {
            "what": table.what,
            "documented": len(table.documented),
            "mapped": len(table.documented & table.mapped),
            "source": table.source,
        }
        for table in tables
    ]
    failures = [
        f"{table.what}: not mapped: {', '.join(sorted(map(str, table.documented - table.mapped)))}"
        for table in tables
        if table.documented - table.mapped
    ]
    return Section(title=title, columns=["what", "documented", "mapped", "source"], rows=rows, failures=failures)


# A thousand jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Many jobs, from their creation until an engine knew of their ends.

    Attributes:
        handles_s: Until the last handle was there.
        all_s: Until the last end was known.
        polls: GetTask calls.
        phases: How the tasks ended.
        seen_at: When each task's end was known, in `time.time()`, in the order of the tasks.
    """

    handles_s: float
    all_s: float
    polls: int
    phases: Mapping[str, int]
    seen_at: Sequence[float]


async def follow_all(endpoint: Endpoint, tasks: Sequence[RawTask], *, poll_s: float = POLL_S) -> Followed:
    """Send all tasks at once and poll each until it has ended, as FlytePropeller does.

    Args:
        endpoint: The host.
        tasks: As an engine sends them: each with an identity and an output prefix of its own.
        poll_s: Between two polls of a job; the first comes after a random part of it.
    """
    began = time.monotonic()
    dice = random.Random(len(tasks))  # noqa: S311 - no secret
    polls = 0

    async def follow(handle: bytes, task: RawTask, first_s: float) -> tuple[str, float]:
        nonlocal polls
        await asyncio.sleep(first_s)
        while True:
            polls += 1
            status = await endpoint.get_task(handle, task_type=task.task_type, output_prefix=task.output_prefix)
            if status.phase.is_terminal:
                return status.phase.value, time.time()
            await asyncio.sleep(poll_s)

    handles = await asyncio.gather(*map(endpoint.create_task, tasks))
    handles_s = time.monotonic() - began
    ends = await asyncio.gather(
        *(follow(handle, task, dice.uniform(0, poll_s)) for handle, task in zip(handles, tasks, strict=True))
    )
    return Followed(
        handles_s=handles_s,
        all_s=time.monotonic() - began,
        polls=polls,
        phases=Counter(phase for phase, _ in ends),
        seen_at=[at for _, at in ends],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a platform saw of many jobs.

    Attributes:
        name: Of the agent or the kind of job.
        quotas: What is documented, and enforced by the fake, in words.
        followed: What the engine saw.
        ended_at: When each job ended at the platform, in `time.time()`, in the order of the tasks.
        jobs: How many jobs were started.
        calls: How many calls the platform got, by method.
        throttled: How many it refused with "slow down".
    """

    name: str
    quotas: str
    followed: Followed
    ended_at: Sequence[float]
    jobs: int
    calls: Mapping[str, int]
    throttled: int

    @property
    def lags_s(self) -> list[float]:
        """From each job's end to the answer that told it, in order of size."""
        return sorted(seen - ended for seen, ended in zip(self.followed.seen_at, self.ended_at, strict=True))


def loads(title: str, measured: Sequence[Load], *, most_lag_s: float = 3 * POLL_S) -> Section:
    """Show loads; a job too many or too few, a task that did not succeed and a late end are failures."""
    rows, failures = [], []
    for load in measured:
        lags, tasks = load.lags_s, len(load.followed.seen_at)
        at = {part: lags[min(tasks - 1, math.ceil(part * tasks) - 1)] for part in (0.5, 0.95, 1.0)}
        rows.append(
            {
                "jobs": f"{load.name}: {tasks:,}",
                "quota": load.quotas,
                "handles after s": round(load.followed.handles_s, 1),
                "all after s": round(load.followed.all_s, 1),
                "polls": load.followed.polls,
                "calls": ", ".join(f"{name} {count:,}" for name, count in load.calls.items() if count),
                "throttled": load.throttled,
                "lag s: median": round(at[0.5], 1),
                "p95": round(at[0.95], 1),
                "longest": round(at[1.0], 1),
            }
        )
        if load.jobs != tasks or dict(load.followed.phases) != {Phase.SUCCEEDED.value: tasks}:
            failures.append(f"{load.name}: {tasks} tasks had {load.jobs} jobs and ended {dict(load.followed.phases)}")
        if at[0.95] > most_lag_s:
            failures.append(f"{load.name}: 95 % of the ends were known after {at[0.95]:.1f} s only")
    columns = list(rows[0]) if rows else []
    notes = [f"polled every {POLL_S:g} s per job; lag: from the end at the platform to the answer that tells it"]
    return Section(title=title, columns=columns, rows=rows, failures=failures, notes=notes)


# Bad input


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


async def what_is_seen(
    endpoint: Endpoint, task: RawTask, *, provided: Provided = NOTHING, poll_s: float = POLL_S, limit_s: float = 7200.0
) -> Seen:
    """Run a task that should fail, and return what a user sees of it; one that succeeds is shown as that.

    Args:
        endpoint: The host.
        task: As an engine sends it.
        provided: What Flyte 2's connection brings with each call.
        poll_s: Between two polls.
        limit_s: After which a task that still runs is shown as it is.
    """
    try:
        handle = await endpoint.create_task(task, timeout_s=10)
    except OutboardError as error:
        return Seen(
            told_by=f"CreateTask {status_code(error).name}", retry=error.retry, message=error.message, code=error.code
        )
    get: Callable[..., Awaitable[Any]] = endpoint.get_task
    more = {} if provided is NOTHING else {"provided": provided}
    give_up = time.monotonic() + limit_s
    while True:
        status = await get(handle, task_type=task.task_type, output_prefix=task.output_prefix, timeout_s=10, **more)
        if status.phase.is_terminal or time.monotonic() > give_up:
            failure = status.error
            return Seen(
                told_by=f"GetTask {status.phase.value}",
                retry=failure.retry if failure is not None else Retry.NEVER,
                message=(failure.message if failure is not None else "") or status.message,
                code=failure.code if failure is not None else "",
            )
        await asyncio.sleep(poll_s)


def bad_inputs(title: str, rows: Sequence[tuple[str, Wanted, Seen]], *, notes: Sequence[str] = ()) -> Section:
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


# The vendor's own client


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One query's answer, read twice.

    Attributes:
        query: In words.
        ours: Column names, types and rows as our agent's output has them, in a form that can be compared.
        theirs: The same as the vendor's client has them.
    """

    query: str
    ours: Any
    theirs: Any


def compared(title: str, answers: Sequence[Compared], *, versions: Mapping[str, str] | None = None) -> Section:
    """Show whether both have the same rows and types."""
    rows = [
        {"query": each.query, "rows": _count(each.theirs), "same rows and types": each.ours == each.theirs}
        for each in answers
    ]
    failures = [
        f"{each.query}: {str(each.ours)[:_SHOWN]} is not {str(each.theirs)[:_SHOWN]}"
        for each in answers
        if each.ours != each.theirs
    ]
    columns = ["query", "rows", "same rows and types"]
    return Section(title=title, columns=columns, rows=rows, failures=failures, versions=versions or {})


def _count(answer: Any) -> int | None:
    rows = answer.get("rows") if isinstance(answer, Mapping) else answer
    return len(rows) if isinstance(rows, Sequence) and not isinstance(rows, str) else None


# Where each call was proven


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A call to the platform, and on what it was tried.

    Attributes:
        call: The vendor's name for it.
        real: The real part (a server, an emulator, a vendor's client) that answered or sent it; empty for none.
        fake: What of it the fake platform has that no real part had.
    """

    call: str
    real: str = ""
    fake: str = ""


def proven(title: str, calls: Sequence[Proven], *, notes: Sequence[str] = ()) -> Section:
    """Show where each call was proven."""
    rows = [
        {"call": each.call, "on a real part": each.real or "no", "on the fake": each.fake or "no"} for each in calls
    ]
    failures = [f"{each.call} was tried on nothing" for each in calls if not each.real and not each.fake]
    return Section(
        title=title, columns=["call", "on a real part", "on the fake"], rows=rows, failures=failures, notes=notes
    )
