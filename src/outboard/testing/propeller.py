"""FlytePropeller, as far as a task's agent service can tell: what it sends, when, and what it makes of the answers.

A `Propeller` drives tasks against any `Endpoint`. What it does was read in Flyte 1.16.8 (flyteplugins' webapi and
connector plugins, flytepropeller's node executor, flytestdlib's auto-refresh cache), and much of it is harsh:

* Any CreateTask error burns an attempt: the next one has `retry_attempt` + 1 and its own output prefix. Nobody deletes
  what the failed call may have started.
* A lost round (the event or the update of the workflow was not recorded) forgets what CreateTask answered and sends the
  identical request again. The poll cache keeps the *first* handle of the attempt, and that one is polled for ever.
* The first GetTask comes some 5 ms after CreateTask, then one per interval. Failed GetTasks are counted over the handle's
  life and no success resets the count: after more than five, polling stops for good. If none ever succeeded the task fails
  without a DeleteTask; otherwise it hangs in its last phase (`Reason.STUCK`).
* What polls find is acted upon at the next round of the workflow. Terminal answers are final. RETRYABLE_FAILED with
  attempts left sends DeleteTask and starts the next attempt; an undefined phase or an empty resource counts as that.
* DeleteTask follows an abort, a timeout and a retry, if the handle was ever recorded. An error fails the round; rounds are
  repeated until there were too many failed ones, and then nobody deletes. Polls go on for a while after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NoReturn

from outboard.domain.endpoints import Endpoint
from outboard.domain.phases import Phase
from outboard.domain.statuses import TaskStatus
from outboard.domain.tasks import RawTask

_POLLED_NO_MORE: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED})
"""The phases after which Flyte 1 polls no more; RETRYABLE_FAILED is not among them."""


class BrokenAnswer(Exception):
    """GetTask answered an undefined phase or an empty resource; adapters of services that can say so raise it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PropellerSettings:
    """How a FlytePropeller is set up; the defaults are those of Flyte 1.16 with one replica of it. Times in seconds.

    Attributes:
        retries: Attempts after the first that the user allows.
        create_timeout_s: Deadline of CreateTask; None where the operator set none (entries under `connectors:`).
        get_timeout_s: Deadline of GetTask.
        delete_timeout_s: Deadline of DeleteTask.
        first_poll_s: From CreateTask's answer to the first GetTask.
        poll_interval_s: Between GetTasks (`webApi.caching.resyncInterval`).
        poll_workers: How many GetTasks run at once, over all tasks of this propeller (`webApi.caching.workers`).
        round_s: Between two looks at a workflow (`workflow-reeval-duration`).
        failed_round_s: Before a failed or lost round is repeated.
        failed_gets: How many failed GetTasks a handle may have (`webApi.caching.maxSystemFailures`).
        failed_rounds: How many rounds may fail over DeleteTask (`max-workflow-retries`); None is Flyte 2: no limit.
        lost_rounds: How many rounds of each attempt are lost after CreateTask was answered.
        late_polls_s: For how long after DeleteTask polls still come.
        execution_timeout_s: Limit of one attempt, from its CreateTask.
        first_prefix: What the output prefixes' last segment counts from; Flyte 1 from 0, Flyte 2 from 1.
    """

    retries: int = 0
    create_timeout_s: float | None = 10.0
    get_timeout_s: float | None = 10.0
    delete_timeout_s: float | None = 10.0
    first_poll_s: float = 0.005
    poll_interval_s: float = 30.0
    poll_workers: int = 10
    round_s: float = 10.0
    failed_round_s: float = 1.5
    failed_gets: int = 5
    failed_rounds: int | None = 10
    lost_rounds: int = 0
    late_polls_s: float = 30.0
    execution_timeout_s: float | None = None
    first_prefix: int = 0


class Reason(str, Enum):
    """Why a propeller is done with a node."""

    ANSWERED = "the service answered a terminal phase"
    CREATE_FAILED = "CreateTask failed in the last attempt"
    POLLS_FAILED = "no GetTask ever succeeded; nothing was deleted"
    TIMED_OUT = "the last attempt took too long"
    ABORTED = "the execution was aborted"
    DELETE_FAILED = "DeleteTask failed too often, and the workflow with it"
    STUCK = "polling stopped for good: the task hangs in its last phase"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOutcome:
    """What a propeller saw of one node. Times are monotonic seconds.

    Attributes:
        phase: What Flyte records; None when stuck.
        reason: Why it is done.
        status: The last answer of GetTask.
        attempts: How many were begun.
        creates: How many CreateTasks were sent.
        handles: What CreateTask answered, in order, re-sent requests included.
        followed: The handle that was polled, per attempt that had one.
        polls: How many GetTasks were sent.
        late_phases: What GetTasks after a DeleteTask answered.
        phases: The phases that GetTask answered, repetitions left out.
        broken_answers: How often GetTask answered nothing that can be used.
        errors: Failed calls by operation (`create_task`, `get_task`, `delete_task`).
        delete_errors: Failed DeleteTasks by handle.
        last_error: The words of the last failed call.
        began_at: When the first CreateTask was sent.
        answered_at: When the terminal phase was seen; None when there was none.
        ended_at: When Flyte was done with the node.
    """

    phase: Phase | None
    reason: Reason
    status: TaskStatus | None
    attempts: int
    creates: int
    handles: tuple[bytes, ...]
    followed: tuple[bytes, ...]
    polls: int
    late_phases: tuple[Phase, ...]
    phases: tuple[Phase, ...]
    broken_answers: int
    errors: Mapping[str, int]
    delete_errors: Mapping[bytes, int]
    last_error: str
    began_at: float
    answered_at: float | None
    ended_at: float

    @property
    def is_stuck(self) -> bool:
        """Whether the task hangs for ever."""
        return self.reason is Reason.STUCK


class Propeller:
    """A FlytePropeller; drive any number of tasks with one at the same time.

    Args:
        endpoint: The service: a host, a fleet, or anything behind an adapter. Any exception of a call is a failed call.
        settings: How it is set up.
    """

    def __init__(self, endpoint: Endpoint, settings: PropellerSettings | None = None) -> None:
        self.endpoint = endpoint
        self.settings = settings if settings is not None else PropellerSettings()
        self.workers = asyncio.Semaphore(self.settings.poll_workers)

    async def run(self, task: RawTask, *, node_prefix: str = "", abort_at_s: float | None = None) -> NodeOutcome:
        """Drive a task to its end, and return what was seen.

        Args:
            task: The task; attempt and output prefix are set for every attempt.
            node_prefix: Where the node's outputs go, without the attempt; the task's own output prefix when empty.
            abort_at_s: When the execution is aborted, in seconds from now; so it is when a sibling node fails.
        """
        node = _Node(self, task, node_prefix or task.output_prefix, abort_at_s)
        try:
            await node.drive()
        finally:
            await node.leave()
        return node.outcome()


class _Item:
    """An entry of the poll cache: the first handle of an attempt, and what polls found.

    Attributes:
        verdict: The phase that ends the attempt.
        is_given_up: Too many GetTasks failed.
        gone_at: When Flyte had no more use for it.
    """

    def __init__(self, handle: bytes, task: RawTask) -> None:
        self.handle = handle
        self.task = task
        self.last: TaskStatus | None = None
        self.verdict: Phase | None = None
        self.failures = 0
        self.is_given_up = False
        self.gone_at: float | None = None
        self.polling: asyncio.Task[None] | None = None
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pause: asyncio.Future[None] | None = None

    def settle(self) -> None:
        """Say that there is a verdict, or that there will never be one."""
        _wake(self._settled)

    async def settles(self, before: float | None) -> bool:
        """Wait until it is settled, at most until `before`; return whether it is."""
        if before is None:
            await self._settled
        else:
            await asyncio.wait([self._settled], timeout=max(0.0, before - time.monotonic()))
        return self._settled.done()

    def leave(self) -> None:
        """Have no more use for it."""
        if self.gone_at is None:
            self.gone_at = time.monotonic()
            _wake(self._pause)

    async def pause(self, seconds: float) -> None:
        """Wait for the time of the next poll; shorter when Flyte has no more use for it meanwhile."""
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        timer = loop.call_later(seconds, _wake, self._pause)
        try:
            await self._pause
        finally:
            timer.cancel()


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


class _Ended(Exception):
    """The node is done."""


class _Node:
    """One node of a workflow, from its first CreateTask to its end."""

    def __init__(self, propeller: Propeller, task: RawTask, prefix: str, abort_at_s: float | None) -> None:
        self._propeller = propeller
        self._endpoint = propeller.endpoint
        self._settings = propeller.settings
        self._task = task
        self._prefix = prefix.rstrip("/")
        self._began_at = time.monotonic()
        self._aborts_at = None if abort_at_s is None else self._began_at + abort_at_s
        self._items: list[_Item] = []
        self._handles: list[bytes] = []
        self._followed: list[bytes] = []
        self._phases: list[Phase] = []
        self._late: list[Phase] = []
        self._errors: Counter[str] = Counter()
        self._delete_errors: Counter[bytes] = Counter()
        self._counts: Counter[str] = Counter()
        self._last_error = ""
        self._status: TaskStatus | None = None
        self._answered_at: float | None = None
        self._ended_at = self._began_at
        self._ending: tuple[Phase | None, Reason] = (None, Reason.STUCK)

    async def drive(self) -> None:
        """Run attempts until one decides."""
        with contextlib.suppress(_Ended):
            for attempt in range(self._settings.retries + 1):
                await self._attempt(attempt, is_last=attempt == self._settings.retries)

    async def leave(self) -> None:
        """Wait for the late polls."""
        for item in self._items:
            item.leave()
            if item.polling is not None:
                await item.polling

    def outcome(self) -> NodeOutcome:
        """Return what was seen."""
        phase, reason = self._ending
        return NodeOutcome(
            phase=phase,
            reason=reason,
            status=self._status,
            attempts=self._counts["attempts"],
            creates=self._counts["creates"],
            handles=tuple(self._handles),
            followed=tuple(self._followed),
            polls=self._counts["polls"],
            late_phases=tuple(self._late),
            phases=tuple(self._phases),
            broken_answers=self._counts["broken"],
            errors=dict(self._errors),
            delete_errors=dict(self._delete_errors),
            last_error=self._last_error,
            began_at=self._began_at,
            answered_at=self._answered_at,
            ended_at=self._ended_at,
        )

    async def _attempt(self, attempt: int, *, is_last: bool) -> None:
        """Run one attempt; returns when the next one is due."""
        self._counts["attempts"] += 1
        limit = self._settings.execution_timeout_s
        times_out_at = None if limit is None else time.monotonic() + limit
        item = await self._launch(self._for_attempt(attempt))
        if item is None:
            if is_last:
                self._end(Phase.FAILED, Reason.CREATE_FAILED)
            await asyncio.sleep(self._settings.failed_round_s)  # the next attempt is the next round's
            return
        self._followed.append(item.handle)
        verdict = await self._follow(item, times_out_at)
        if verdict in {Phase.SUCCEEDED, Phase.FAILED}:
            self._end(verdict, Reason.ANSWERED)
        if verdict is None:
            await self._delete(item)
            if is_last:
                self._end(Phase.FAILED, Reason.TIMED_OUT)
        elif is_last:
            self._end(Phase.FAILED, Reason.ANSWERED)
        else:
            await self._delete(item)

    def _for_attempt(self, attempt: int) -> RawTask:
        return replace(
            self._task,
            identity=replace(self._task.identity, attempt=attempt),
            output_prefix=f"{self._prefix}/{attempt + self._settings.first_prefix}",
        )

    async def _launch(self, task: RawTask) -> _Item | None:
        """Send CreateTask until a round is recorded; return what is polled, None when the attempt is burned."""
        item: _Item | None = None
        for lost in reversed(range(self._settings.lost_rounds + 1)):
            if self._is_aborted():
                self._end(Phase.ABORTED, Reason.ABORTED)  # no handle is recorded, so there is nothing to delete
            self._counts["creates"] += 1
            try:
                handle = await self._endpoint.create_task(task, timeout_s=self._settings.create_timeout_s)
            except Exception as error:  # noqa: BLE001 - whatever a service brings is a failed call
                self._note("create_task", error)
                if not lost:
                    return None
            else:
                self._handles.append(handle)
                item = item if item is not None else self._cache(handle, task)
            if lost:
                await asyncio.sleep(self._settings.failed_round_s)
        return item

    def _cache(self, handle: bytes, task: RawTask) -> _Item:
        item = _Item(handle, task)
        item.polling = asyncio.ensure_future(self._poll(item))
        self._items.append(item)
        return item

    async def _follow(self, item: _Item, times_out_at: float | None) -> Phase | None:
        """Wait for the attempt's verdict, as the rounds see it; None when its time is over."""
        limit = min((at for at in (times_out_at, self._aborts_at) if at is not None), default=None)
        if await item.settles(limit):
            if item.is_given_up:
                await self._hang(item, limit)
            else:
                await asyncio.sleep(self._to_next_round())
        if self._is_aborted():
            await self._delete(item)
            self._end(Phase.ABORTED, Reason.ABORTED)
        return item.verdict

    async def _hang(self, item: _Item, limit: float | None) -> None:
        """Do what becomes of a task that is polled no more: only a limit ends it."""
        if item.last is None:
            self._end(Phase.FAILED, Reason.POLLS_FAILED)
        if limit is None:
            self._end(None, Reason.STUCK)
        else:
            await asyncio.sleep(max(0.0, limit - time.monotonic()))

    async def _delete(self, item: _Item) -> None:
        """Send DeleteTask until it is answered, or too many rounds failed."""
        limit = self._settings.failed_rounds
        while True:
            try:
                await self._endpoint.delete_task(
                    item.handle, task_type=item.task.task_type, timeout_s=self._settings.delete_timeout_s
                )
            except Exception as error:  # noqa: BLE001 - whatever a service brings is a failed call
                self._note("delete_task", error)
                self._delete_errors[item.handle] += 1
                if limit is not None and self._errors["delete_task"] > limit:
                    self._end(Phase.FAILED, Reason.DELETE_FAILED)
                await asyncio.sleep(self._settings.failed_round_s)
            else:
                item.leave()
                return

    async def _poll(self, item: _Item) -> None:
        """Poll a handle: until a terminal phase or too many failures, and for a while after DeleteTask."""
        settings = self._settings
        await item.pause(settings.first_poll_s)
        while item.gone_at is None:
            await self._ask(item)
            if item.is_given_up or (item.last is not None and item.last.phase in _POLLED_NO_MORE):
                return
            if item.gone_at is None:
                await item.pause(settings.poll_interval_s)
        await asyncio.sleep(settings.first_poll_s)  # what was queued already
        while time.monotonic() <= item.gone_at + settings.late_polls_s:
            await self._ask(item)
            await asyncio.sleep(settings.poll_interval_s - settings.first_poll_s)

    async def _ask(self, item: _Item) -> None:
        """Send one GetTask and take down what it answers."""
        is_late = item.gone_at is not None
        async with self._propeller.workers:
            self._counts["polls"] += 1
            try:
                status = await self._endpoint.get_task(
                    item.handle,
                    task_type=item.task.task_type,
                    output_prefix=item.task.output_prefix,
                    timeout_s=self._settings.get_timeout_s,
                )
            except BrokenAnswer:
                self._counts["broken"] += 1
                self._decide(item, Phase.RETRYABLE_FAILED)
            except Exception as error:  # noqa: BLE001 - whatever a service brings is a failed call
                self._note("late_get_task" if is_late else "get_task", error)
                item.failures += 1
                if item.failures > self._settings.failed_gets:
                    item.is_given_up = True
                    item.settle()
            else:
                self._take(item, status, is_late=is_late)

    def _take(self, item: _Item, status: TaskStatus, *, is_late: bool) -> None:
        if is_late:
            self._late.append(status.phase)
            return
        item.last = self._status = status
        if not self._phases or self._phases[-1] is not status.phase:
            self._phases.append(status.phase)
        if status.phase.is_terminal:
            # Flyte makes a failure of ABORTED: an engine that did not abort has no other word for it.
            self._decide(item, Phase.FAILED if status.phase is Phase.ABORTED else status.phase)

    def _decide(self, item: _Item, verdict: Phase) -> None:
        if item.verdict is None and item.gone_at is None:
            item.verdict = verdict
            self._answered_at = time.monotonic()
            item.settle()

    def _note(self, operation: str, error: Exception) -> None:
        self._errors[operation] += 1
        self._last_error = f"{type(error).__name__}: {error}"

    def _to_next_round(self) -> float:
        return self._settings.round_s - (time.monotonic() - self._began_at) % self._settings.round_s

    def _is_aborted(self) -> bool:
        return self._aborts_at is not None and time.monotonic() >= self._aborts_at

    def _end(self, phase: Phase | None, reason: Reason) -> NoReturn:
        self._ending = (phase, reason)
        self._ended_at = time.monotonic()
        raise _Ended
