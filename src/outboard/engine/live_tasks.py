"""A task of a run, as its engine holds it: what it is, where it stands, and what drives it.

Ten thousand of these wait at once, so they are small: a coroutine exists only while something is being done about a task, and
a timer while nothing is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from outboard.engine.courses import Course, Rules
from outboard.engine.effects import Dispatch
from outboard.engine.outcomes import TaskEvent, TaskOutcome
from outboard.engine.specs import TaskSpec


class Canceller(Protocol):
    """What a task needs of its run."""

    def cancel_task(self, live: LiveTask) -> None:
        """Cancel a task, now or once the call under way for it has answered."""
        ...


class LiveTask:
    """A task of a run; `await live.outcome()`, `await live.cancel()`.

    Attributes:
        task_id: Its name in the run.
        event: What was told about it last; None until something was.
        spec, rules, course, dispatch: What is decided by.
        driver: Performs what is due; None while the task waits.
        timer: Wakes it.
        is_started: It has had its turn.
        is_cancel_asked: Somebody wants it cancelled; `is_cancel_told` once its course knows.
        finished: Its outcome.
    """

    __slots__ = (
        "_run",
        "course",
        "dispatch",
        "driver",
        "event",
        "finished",
        "is_cancel_asked",
        "is_cancel_told",
        "is_started",
        "rules",
        "spec",
        "started_at",
        "task_id",
        "timer",
    )

    def __init__(self, run: Canceller, spec: TaskSpec, rules: Rules, course: Course, dispatch: Dispatch) -> None:
        self._run = run
        self.task_id = spec.task_id
        self.spec = spec
        self.rules = rules
        self.course = course
        self.dispatch = dispatch
        self.finished: asyncio.Future[TaskOutcome] = asyncio.get_running_loop().create_future()
        self.driver: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.event: TaskEvent | None = None
        self.is_cancel_asked = False
        self.is_cancel_told = False
        self.is_started = False
        self.started_at = time.monotonic()

    @property
    def is_sync(self) -> bool:
        """Whether it was routed to a sync agent."""
        return self.dispatch.route is not None and self.dispatch.route.is_sync

    async def outcome(self) -> TaskOutcome:
        """Wait for the task's end; giving up waiting does not touch the task."""
        return await asyncio.shield(self.finished)

    async def cancel(self) -> TaskOutcome:
        """Cancel the task, wait until that is confirmed (or `cancel_wait` is over), and return the outcome."""
        self._run.cancel_task(self)
        return await self.outcome()
