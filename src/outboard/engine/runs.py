"""Runs: tasks under way, and the loop that performs what is decided about them.

A task that waits for its next poll is a record and a timer, no coroutine: a coroutine exists only while something is performed
for it, so ten thousand waiting tasks are cheap. `_drive` performs effect after effect until the course waits; the timer, or
somebody who cancels, starts it again. At most one `_drive` runs per task, so a cancel that comes during a CreateTask is seen
once its handle is known, and nothing is ever created and forgotten.

A run holds its lease in the journal until it is closed. Its watch reads from the journal which tasks other processes want
cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from typing_extensions import Self

from outboard.domain.phases import Phase
from outboard.domain.statuses import Cause, Failure, TaskStatus
from outboard.domain.tasks import RawTask
from outboard.engine import decisions
from outboard.engine.courses import Abandoned, CancelAsked, Course, Effect, Event, OwedCancel, Rules, Stage, Tick
from outboard.engine.effects import Dispatch, Effects
from outboard.engine.journal import OwnedRun
from outboard.engine.live_tasks import LiveTask
from outboard.engine.outcomes import LeftRunning, TaskEvent, TaskOutcome
from outboard.engine.owed_cancels import Debt, OwedCancels
from outboard.engine.plans import Plans
from outboard.engine.settings import EngineSettings
from outboard.engine.specs import TaskSpec
from outboard.engine.tellings import event_of, is_news, message_of, outcome_of
from outboard.engine.verdicts import failure_of
from outboard.errors import JournalUnwritable, OutboardError
from outboard.host.logs import TaskLog

OnEvent = Callable[[TaskEvent], None]


class Run:
    """Tasks that belong together; made by `Engine.begin` and `Engine.resume`. Leaving it waits for its tasks.

    Args:
        run_id: Also the name of the execution.
        effects: Performs effects.
        owned: The run in the journal; None without one.
        settings: The engine's.
        on_event: Called with every change.
        max_live: Tasks under way at once.
        fail_fast: Cancel the others as soon as a task does not succeed.
    """

    def __init__(
        self,
        run_id: str,
        effects: Effects,
        owned: OwnedRun | None,
        settings: EngineSettings,
        *,
        on_event: OnEvent | None = None,
        max_live: int | None = None,
        fail_fast: bool = False,
    ) -> None:
        self.run_id = run_id
        self.settings = settings
        self.is_cancelled = False
        self.outcomes: dict[str, TaskOutcome] = {}
        self._effects = effects
        self._owned = owned
        self._on_event = on_event
        self._max_live = max_live or settings.max_live
        self._fail_fast = fail_fast
        self._rules: dict[float | None, Rules] = {}
        self._plans = Plans(run_id, settings, owned)
        self._open: dict[str, LiveTask] = {}
        self._waiting: deque[LiveTask] = deque()
        self._live = 0
        self._drivers: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._watch: asyncio.Task[None] | None = None
        self._is_abandoned = False
        self._owed = OwedCancels(effects, settings.rules(None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel_all()
        try:
            await self.wait()
        finally:
            await self.close()

    async def submit(self, task: RawTask, *, task_id: str | None = None) -> LiveTask:
        """Plan a task and start it as soon as there is room."""
        return (await self.submit_many([task], task_ids=None if task_id is None else [task_id]))[0]

    async def submit_many(self, tasks: Iterable[RawTask], *, task_ids: Sequence[str] | None = None) -> list[LiveTask]:
        """Plan tasks, all of them on the disk before the first is sent, and start them in this order.

        Raises:
            InvalidTask: Two tasks of the run would have one id.
            JournalUnwritable: The journal cannot be written; nothing was started.
        """
        specs = self._plans.complete(list(tasks), task_ids)
        unwritable = await self._plans.write(specs)
        lives = [
            self._adopt(spec, Course(attempt=spec.first_attempt, retries_left=spec.task.retries)) for spec in specs
        ]
        for live in lives:
            error = unwritable.get(live.task_id)
            if error is not None:
                live.course = Course(stage=Stage.ENDED, phase=Phase.FAILED, failure=failure_of(error))
            self._queue(live)
        return lives

    def take_up(self, spec: TaskSpec, course: Course, dispatch: Dispatch, *, is_cancel_asked: bool) -> LiveTask:
        """Go on with a task that an earlier engine left."""
        self._plans.know(spec.task_id)
        live = self._adopt(spec, course, dispatch)
        live.is_cancel_asked = is_cancel_asked
        self._queue(live)
        return live

    def take_up_owed(self, spec: TaskSpec, endpoint: str, owed: OwedCancel) -> None:
        """Go on with a cancel that an earlier engine owed."""
        until = time.monotonic() + self.settings.cancel_wait.total_seconds()
        self._owe(spec, Dispatch(endpoint), owed, until=until)

    async def wait(self) -> None:
        """Wait until no task is open.

        Cancelling this wait cancels the tasks and waits for the confirmation first; cancelling it again gives that up, and
        `left_running` says what may still run.
        """
        try:
            await self._idle.wait()
        except asyncio.CancelledError:
            self.cancel_all()
            try:
                await self._idle.wait()
            except asyncio.CancelledError:
                self.abandon()
                raise
            raise

    def cancel_all(self) -> None:
        """Cancel every open task, and those submitted later; `wait` returns when that is confirmed."""
        self.is_cancelled = True
        if self._open:
            self._effects.note_cancels(self._open)
        for live in list(self._open.values()):
            self.cancel_task(live)

    def cancel_task(self, live: LiveTask) -> None:
        """Cancel a task, now or once the call under way for it has answered."""
        if live.finished.done() or live.is_cancel_asked:
            return
        live.is_cancel_asked = True
        if live.is_started:
            if live.driver is None:
                self._wake(live)
        elif live.dispatch.recorded is None:
            self._start(live)  # nothing was sent, so it ends at once and takes nobody's place
        if live.driver is not None and live.dispatch.is_answering:
            live.driver.cancel()  # ExecuteTaskSync leaves no job behind, so nothing is gained by waiting for its answer

    def abandon(self) -> None:
        """Stop waiting for anything, at once; `left_running` says what may still run."""
        self._is_abandoned = self.is_cancelled = True
        for live in list(self._open.values()):
            if live.driver is not None:
                live.driver.cancel()
            live.course = decisions.advance(
                live.course, Abandoned(in_flight=self._is_creating(live)), time.monotonic(), live.rules
            )
            self._close_task(live)
        self._owed.abandon()

    @property
    def left_running(self) -> list[LeftRunning]:
        """What may still run although this run does nothing more about it."""
        left = [each.left_running for each in self.outcomes.values() if each.left_running is not None]
        told = {(each.task_id, each.handle) for each in left}
        owed = [debt.left_running for debt in self._owed.unsettled]
        return left + [each for each in owed if (each.task_id, each.handle) not in told]

    @property
    def open_tasks(self) -> Mapping[str, LiveTask]:
        """The tasks that are not over, by id."""
        return self._open

    async def close(self) -> None:
        """Cancel what is open, stop everything and give the lease back."""
        if self._open:
            self.cancel_all()
            await self.wait()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if self._drivers:
            await asyncio.gather(*self._drivers, return_exceptions=True)
        await self._owed.close()
        self._tell_owed()
        if self._owned is not None:
            owned, self._owned = self._owned, None
            try:
                await owned.release()
            except JournalUnwritable as error:
                TaskLog(run=self.run_id).warning("lease not given back", reason=error.message)

    def _adopt(self, spec: TaskSpec, course: Course, dispatch: Dispatch | None = None) -> LiveTask:
        timeout = spec.task.timeout
        timeout_s = None if timeout is None else timeout.total_seconds()
        rules = self._rules.get(timeout_s)
        if rules is None:
            rules = self._rules[timeout_s] = self.settings.rules(timeout_s)
        return LiveTask(self, spec, rules, course, dispatch or Dispatch())

    def _queue(self, live: LiveTask) -> None:
        self._idle.clear()
        self._open[live.task_id] = live
        live.is_cancel_asked = live.is_cancel_asked or self.is_cancelled
        self._waiting.append(live)
        if self._watch is None and self._owned is not None:
            self._watch = asyncio.ensure_future(self._watch_cancels(self._owned))
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._live < self._max_live and not self._is_abandoned:
            live = self._waiting.popleft()
            if not live.is_started:
                self._start(live)

    def _start(self, live: LiveTask) -> None:
        self._live += 1
        live.is_started = True
        live.started_at = time.monotonic()
        self._wake(live)

    def _wake(self, live: LiveTask) -> None:
        if live.timer is not None:
            live.timer.cancel()
            live.timer = None
        if live.driver is None and not live.finished.done():
            live.driver = asyncio.ensure_future(self._drive(live))
            self._drivers.add(live.driver)
            live.driver.add_done_callback(partial(self._driven, live))

    def _driven(self, live: LiveTask, driver: asyncio.Task[None]) -> None:
        """Take note that a driver has ended; one that was stopped from outside is replaced, and a defect ends its task."""
        self._drivers.discard(driver)
        if live.finished.done() or live.driver is not driver:
            return
        live.driver = None
        if driver.cancelled():
            self._wake(live)
            return
        error = driver.exception()
        if error is None:
            return
        TaskLog(run=self.run_id, task=live.task_id).error("engine failed", exc_info=error)
        words = f"{type(error).__name__} in the engine itself: report it, and resume the run"
        failure = Failure(code="EngineFailed", message=words, cause=Cause.PLATFORM)
        left = "its job may be running"
        live.course = replace(live.course, stage=Stage.LEFT, phase=Phase.FAILED, failure=failure, left=left)
        self._close_task(live)

    async def _drive(self, live: LiveTask) -> None:
        """Perform what is due until the course waits or is over."""
        event: Event = Tick()
        while not live.finished.done():
            live.course = decisions.advance(live.course, event, time.monotonic(), live.rules)
            if live.is_cancel_asked and not live.is_cancel_told and not live.course.is_over:
                live.is_cancel_told = True
                await self._effects.request_cancel(live.spec, live.dispatch)
                live.course = decisions.advance(live.course, CancelAsked(), time.monotonic(), live.rules)
            self._tell(live)
            effect = decisions.due(live.course, time.monotonic())
            if effect is Effect.WAIT:
                self._sleep(live)
                return
            if effect is Effect.FINISH:
                await self._finish(live)
                return
            event = await self._perform(live, effect)

    async def _perform(self, live: LiveTask, effect: Effect) -> Event:
        try:
            if effect is Effect.SEND:
                return await self._effects.send(live.spec, live.course, live.dispatch, lambda: live.is_cancel_asked)
            if effect is Effect.POLL:
                return await self._effects.poll(live.spec, live.course, live.dispatch)
            if effect is Effect.DELETE:
                return await self._effects.delete(live.spec, live.course, live.dispatch)
            if effect is Effect.OWE and live.course.owed is not None:
                owing = await self._effects.owe(live.spec, live.course, live.dispatch)
                self._owe(live.spec, live.dispatch, live.course.owed)
                return owing
            return await self._effects.collect(live.spec, live.course)
        except asyncio.CancelledError:
            if effect is Effect.SEND and not live.is_sync and live.dispatch.recorded == live.course.attempt:
                live.course = replace(live.course, may_exist=True)
            if self._is_abandoned or not live.is_cancel_asked or not live.is_sync:
                raise
            return Tick()  # the answer of a sync agent is not awaited any longer

    def _sleep(self, live: LiveTask) -> None:
        live.driver = None
        delay = max(0.0, decisions.wakes_at(live.course, live.rules) - time.monotonic())
        live.timer = asyncio.get_running_loop().call_later(delay, self._wake, live)

    def _is_creating(self, live: LiveTask) -> bool:
        return live.driver is not None and live.course.stage is Stage.SENDING and live.dispatch.recorded is not None

    async def _finish(self, live: LiveTask) -> None:
        if live.course.stage is Stage.ENDED:
            await self._effects.end(live.spec, live.course, live.dispatch, message_of(live.course))
        elif live.course.stop is not None and live.course.handle is not None:
            self._go_on_stopping(live, live.course.handle)
        self._close_task(live)

    def _owe(self, spec: TaskSpec, dispatch: Dispatch, owed: OwedCancel, *, until: float = 0.0) -> None:
        async def on_settled(_: TaskStatus | None) -> None:
            await self._effects.settle(spec, owed.attempt, dispatch)

        debt = Debt(spec=spec, endpoint=dispatch.endpoint, owed=owed, until=until, on_settled=on_settled)
        self._owed.take(debt)

    def _go_on_stopping(self, live: LiveTask, handle: bytes) -> None:
        """Go on with a cancel nobody waits for any longer; its task ends once its job has."""

        async def on_settled(status: TaskStatus | None) -> None:
            if status is not None and status.phase is Phase.SUCCEEDED:
                live.course = replace(live.course, status=status)  # a resumed run fetches its outputs
            else:
                live.course = replace(live.course, stage=Stage.ENDED, status=status or live.course.status, left="")
                await self._effects.end(live.spec, live.course, live.dispatch, message_of(live.course))
            self.outcomes[live.task_id] = outcome_of(live, self.run_id)

        owed = OwedCancel(attempt=live.course.attempt, handle=handle, is_reported_over=False)
        debt = Debt(spec=live.spec, endpoint=live.dispatch.endpoint, owed=owed, until=0.0, on_settled=on_settled)
        self._owed.take(debt)

    def _tell_owed(self) -> None:
        """Put what is still owed into the outcomes."""
        for debt in self._owed.unsettled:
            outcome = self.outcomes.get(debt.spec.task_id)
            if outcome is not None and outcome.left_running is None:
                self.outcomes[debt.spec.task_id] = replace(outcome, left_running=debt.left_running)

    def _close_task(self, live: LiveTask) -> None:
        if live.finished.done():
            return
        if live.timer is not None:
            live.timer.cancel()
            live.timer = None
        outcome = outcome_of(live, self.run_id)
        self.outcomes[live.task_id] = outcome
        live.finished.set_result(outcome)
        self._tell(live)
        if live.dispatch.complaint:
            TaskLog(run=self.run_id, task=live.task_id).warning("journal not written", reason=live.dispatch.complaint)
        del self._open[live.task_id]
        self._live -= live.is_started
        if self._fail_fast and not outcome.is_success and not self.is_cancelled:
            self.cancel_all()
        self._start_waiting()
        if not self._open:
            self._idle.set()

    def _tell(self, live: LiveTask) -> None:
        """Note and publish what changed; nobody is told the same twice."""
        course, known = live.course, live.event
        if course.is_over and not live.finished.done():
            return  # told once the journal knows
        if known is not None and not is_news(known, live):
            return
        event = live.event = event_of(live, self.run_id)
        if event.phase is not None and not course.is_over:
            self._effects.note(live.spec, course, live.dispatch, event)
        self._publish(event)

    def _publish(self, event: TaskEvent) -> None:
        try:
            if self._on_event is not None:
                self._on_event(event)
        except Exception as error:  # noqa: BLE001 - a view that fails must not cost anybody a job
            context = {"message": "an engine's on_event failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    async def _watch_cancels(self, owned: OwnedRun) -> None:
        """Cancel what other processes ask to cancel."""
        while True:
            await asyncio.sleep(self.settings.cancel_check.total_seconds())
            try:
                asked = await owned.cancel_requests()
            except OutboardError as error:
                TaskLog(run=self.run_id).warning("journal not read", reason=error.message)
                continue
            for task_id in asked:
                live = self._open.get(task_id)
                if live is not None:
                    self.cancel_task(live)
