"""Owed cancels: jobs that were let go before they were known to be over, seen to for as long as their run lives.

Two kinds come here. A task that went on to its next attempt, or ended, although an earlier job's DeleteTask was refused or its
end not confirmed, owes that job a cancel; the journal keeps it, so a resumed run takes it up. A task whose own cancel was not
confirmed in time was told as left; its row in the journal stays open, and it ends as soon as its job does.

Each is deleted and asked about again, with growing pauses, until it is settled. A job that its service had called failed is
settled by an accepted DeleteTask (or one that will be refused for ever), any other one only by its end. When the run closes,
what is not settled gets a last round and is reported as left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from outboard.domain.statuses import TaskStatus
from outboard.engine.courses import Answered, Course, Deleted, NotDeleted, OwedCancel, Rules, Stage, Unanswered
from outboard.engine.effects import Dispatch, Effects
from outboard.engine.outcomes import LeftRunning
from outboard.engine.specs import TaskSpec
from outboard.errors import ForeignHandle, Retry

OnSettled = Callable[[TaskStatus | None], Awaitable[None]]
_GROWTH = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """A cancel that is owed.

    Attributes:
        endpoint: Where the job was started.
        until: How long a run that could end waits for it.
        on_settled: Called once, with the job's last status where it was asked for.
    """

    spec: TaskSpec
    endpoint: str
    owed: OwedCancel
    until: float
    on_settled: OnSettled

    @property
    def left_running(self) -> LeftRunning:
        """How it is told while it is not settled."""
        return LeftRunning(
            task_id=self.spec.task_id,
            task_type=self.spec.task.type,
            endpoint=self.endpoint,
            handle=self.owed.handle,
            reason=f"the cancel of its attempt {self.owed.attempt} is not confirmed",
        )


class OwedCancels:
    """Sees to the owed cancels of one run.

    Args:
        effects: Performs the calls.
        rules: The pauses between rounds.
    """

    def __init__(self, effects: Effects, rules: Rules) -> None:
        self._effects = effects
        self._rules = rules
        self._debts: dict[tuple[str, int], Debt] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    @property
    def unsettled(self) -> list[Debt]:
        """What is still owed."""
        return list(self._debts.values())

    def take(self, debt: Debt) -> None:
        """See to a debt from now on; one that is known already changes nothing."""
        key = (debt.spec.task_id, debt.owed.attempt)
        if key in self._debts:
            return
        self._debts[key] = debt
        worker = asyncio.ensure_future(self._see_to(key, debt))
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    def abandon(self) -> None:
        """Stop at once."""
        for worker in self._workers:
            worker.cancel()

    async def close(self) -> None:
        """Wait for as long as the debts allow, give each a last round, and stop."""
        try:
            if self._workers:
                latest = max((debt.until for debt in self._debts.values()), default=0.0)
                await asyncio.wait(self._workers, timeout=max(0.0, latest - time.monotonic()))
                self._closing.set()
                await asyncio.gather(*self._workers, return_exceptions=True)
        finally:
            self.abandon()

    async def _see_to(self, key: tuple[str, int], debt: Debt) -> None:
        pause_s = self._rules.first_poll_s
        while True:
            is_last = self._closing.is_set()
            is_settled, status = await self._round(debt)
            if is_settled:
                del self._debts[key]
                await debt.on_settled(status)
                return
            if is_last:
                return
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause_s)
            pause_s = min(pause_s * _GROWTH, self._rules.longest_poll_s)

    async def _round(self, debt: Debt) -> tuple[bool, TaskStatus | None]:
        """Ask for the cancel, then for the end; return whether that settles the debt, and what was answered."""
        spec, owed, dispatch = debt.spec, debt.owed, Dispatch(debt.endpoint)
        course = Course(stage=Stage.STOPPING, attempt=owed.attempt, handle=owed.handle)
        deleted = await self._effects.delete(spec, course, dispatch)
        if owed.is_reported_over:
            is_vain = isinstance(deleted, NotDeleted) and deleted.error.retry is Retry.NEVER
            return isinstance(deleted, Deleted) or is_vain, None
        answer = await self._effects.poll(spec, course, dispatch)
        if isinstance(answer, Answered):
            return answer.status.phase.is_terminal, answer.status
        return isinstance(answer, Unanswered) and isinstance(answer.error, ForeignHandle), None
