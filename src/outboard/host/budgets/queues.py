"""Queues: in which order waiting calls get what there is.

Calls wait in lines: one per method and connection, and in it by rank and then by arrival. A call may go when all buckets of its
line are free; it takes from all of them at once, so nothing is held while something else is awaited. Among lines that share a
bucket the same order holds, with one exception: a call may overtake an earlier one that waits for something else, as long
as the earlier one's turn comes no later for it. So a method whose hourly quota is spent holds up no other, and none starves.

Nobody hands out turns in the background. Whoever waits looks again when the next turn is due, and then grants every turn
that is: of coroutines only the one with the earliest turn has a timer and the others are woken; threads look by
themselves, since their sleep cannot be cut short. A turn is granted only when it is due, to somebody who still waits; who
gives up leaves the queue at once, and who was granted a turn and cannot use it gives it back. A turn is good for a moment
only: whoever comes to it late, since the process stood still meanwhile, forfeits it and queues for another at the head of
its line, so that no two calls leave together whose turns came far apart.

One lock guards a queue with its buckets. It is re-entrant: a coroutine that is thrown away leaves its place while the
garbage collector runs, which may be in the middle of anything.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Final

from outboard.agent.spending import Rank, current_call
from outboard.errors import BudgetSpent
from outboard.host.budgets.buckets import Bucket

_SHORTEST_SLEEP_S: Final = 0.001
_LONGEST_SLEEP_S: Final = 0.05
"""How long a thread may take to see that its turn came early."""
_GOOD_FOR_S: Final = 0.1
"""How long a turn may be used after it was granted."""


class Tally:
    """What calls of one method spent; the figures of metrics, so they only grow.

    Attributes:
        spent: Calls that were let go.
        returned: Those of them that were not made; the next ones count for them.
        throttled: How often the platform said "slow down".
        waited_s: How long calls waited that had their turn.
    """

    __slots__ = ("returned", "spent", "throttled", "waited_s")

    def __init__(self) -> None:
        self.spent = 0
        self.returned = 0
        self.throttled = 0
        self.waited_s = 0.0


class Line:
    """Calls of one method that spend from the same buckets.

    Attributes:
        method: For messages.
        buckets: What a call takes from; the first is the one that "slow down" slows.
        tally: What they spent.
    """

    __slots__ = ("buckets", "method", "tally", "waiting")

    def __init__(self, method: str, buckets: Sequence[Bucket], tally: Tally) -> None:
        self.method = method
        self.buckets = tuple(buckets)
        self.tally = tally
        self.waiting: tuple[OrderedDict[int, Ticket], ...] = tuple(OrderedDict() for _ in Rank)

    def free_at(self, now: float) -> float:
        """Return when a call may be made, were nobody else there."""
        free = now
        for bucket in self.buckets:
            at = bucket.free_at(now)
            if at > free:  # noqa: PLR1730 - every call comes by, and `max` costs a call
                free = at
        return free

    def take(self, now: float) -> None:
        """Count a call."""
        if self.tally.returned:
            self.tally.returned -= 1
        else:
            self.tally.spent += 1
        for bucket in self.buckets:
            bucket.take(now)

    def give_back(self) -> None:
        """Count a call out again that was not made after all."""
        self.forfeit()
        for bucket in self.buckets:
            bucket.give_back()

    def forfeit(self) -> None:
        """Count a turn out that came to nothing; others may have had theirs for it, so it stays spent."""
        self.tally.returned += 1

    def first(self) -> Ticket | None:
        """Return who is next."""
        for tickets in self.waiting:
            if tickets:
                return next(iter(tickets.values()))
        return None

    def wait_s(self, rank: Rank, now: float) -> float:
        """Return about how long a call of a rank would wait that came now."""
        wait_s = self.free_at(now) - now
        ahead = sum([len(tickets) for tickets in self.waiting[: rank + 1]])
        return wait_s + ahead / min(bucket.per_second(now) for bucket in self.buckets) if ahead else wait_s


class Ticket:
    """A place in a queue; an `outboard.agent.spending.Turn`."""

    __slots__ = ("came_at", "has_come", "line", "number", "queue", "rank", "since", "wake")

    def __init__(self, queue: Queue, line: Line, rank: Rank, number: int, now: float) -> None:
        self.queue = queue
        self.line = line
        self.rank = rank
        self.number = number
        self.since = now
        self.has_come = False
        self.came_at = now
        self.wake: Callable[[], None] | None = None

    async def come(self, deadline: float) -> None:
        """Wait until the call may be made; `BudgetSpent` when that is not before the deadline."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                woken = loop.create_future()
                self.wake = partial(_wake, loop, woken)
                look_at = self.queue.look(self, deadline)
                if self.has_come:
                    return
                await _until(loop, woken, min(look_at, deadline))
        except BaseException:
            self.queue.leave(self)
            raise
        finally:
            self.wake = None

    def come_blocking(self, deadline: float) -> None:
        """Wait in a thread."""
        call = current_call()
        try:
            while True:
                due = self.queue.look(self, deadline if call is None or not call.is_over else -math.inf)
                if self.has_come:
                    return
                sleep_s = min(due, deadline) - time.monotonic()
                time.sleep(min(max(sleep_s, _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S))
        except BaseException:
            self.queue.leave(self)
            raise


class Queue:
    """Who waits for buckets that calls share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._lines: dict[Line, None] = {}
        self._numbers = count()
        self._first_in_time: Ticket | None = None
        self._due = math.inf
        self._is_granting = False

    def ask(self, line: Line, rank: Rank) -> Ticket | None:
        """Take a call; None when it may be made now, else its place in the queue."""
        with self.lock:
            now = time.monotonic()
            if not self._lines and line.free_at(now) <= now:
                line.take(now)
                return None
            ticket = Ticket(self, line, rank, next(self._numbers), now)
            line.waiting[rank][ticket.number] = ticket
            self._lines[line] = None
            self._grant(now)
            return None if ticket.has_come else ticket

    def look(self, ticket: Ticket, deadline: float) -> float:
        """Grant what is due; return when to look again, infinite for a coroutine that will be woken.

        Raises:
            BudgetSpent: The turn cannot come before the deadline.
        """
        with self.lock:
            now = time.monotonic()
            if ticket.has_come and now - ticket.came_at > _GOOD_FOR_S:
                self._queue_again(ticket)
            self._grant(now)
            if ticket.has_come:
                return now
            if now >= deadline or ticket.line.free_at(now) > deadline:
                raise self._spent(ticket, now)
            return self._due if ticket.wake is None or ticket is self._first_in_time else math.inf

    def leave(self, ticket: Ticket) -> None:
        """Give up a place, or a turn that was granted a moment ago and is not used."""
        with self.lock:
            now = time.monotonic()
            if not ticket.has_come:
                self._remove(ticket)
            elif now - ticket.came_at > _GOOD_FOR_S:
                ticket.line.forfeit()
            else:
                ticket.line.give_back()
            ticket.has_come = False
            self._grant(now)

    def review(self) -> None:
        """Look at who waits after something else has changed: a rate, a block."""
        with self.lock:
            self._grant(time.monotonic())

    def _spent(self, ticket: Ticket, now: float) -> BudgetSpent:
        wait_s = max(ticket.line.wait_s(Rank.SUBMISSION, now), _SHORTEST_SLEEP_S)
        words = f"the budget for {ticket.line.method} is spent for {wait_s:.1f} s"
        return BudgetSpent(words, retry_after=timedelta(seconds=wait_s))

    def _grant(self, now: float) -> None:
        """Grant all turns that are due."""
        if self._is_granting:
            return  # a coroutine was thrown away in the middle of it; the grants that go on see what it left
        self._is_granting = True
        try:
            while self._lines and self._grant_one(now):
                pass
        finally:
            self._is_granting = False

    def _grant_one(self, now: float) -> bool:
        """Grant the first turn that is due; when there is none, see to it that somebody looks when the next one is."""
        firsts = [ticket for line in list(self._lines) if (ticket := line.first()) is not None]
        firsts.sort(key=_order)
        promised: dict[Bucket, float] = {}
        due, earliest = math.inf, None
        for ticket in firsts:
            at = ticket.line.free_at(now)
            if at <= now and _delays_nobody(ticket.line, promised, now):
                self._remove(ticket)
                ticket.line.take(now)
                ticket.line.tally.waited_s += now - ticket.since
                ticket.has_come = True
                ticket.came_at = now
                _rouse(ticket)
                return True
            for bucket in ticket.line.buckets:
                promised[bucket] = min(promised.get(bucket, math.inf), at)
            if now < at < due:
                due, earliest = at, ticket
        is_sooner = due < self._due
        self._due = due
        if earliest is not self._first_in_time or is_sooner:
            self._first_in_time = earliest
            if earliest is not None:
                _rouse(earliest)
        return False

    def _queue_again(self, ticket: Ticket) -> None:
        ticket.line.forfeit()
        ticket.has_come = False
        tickets = ticket.line.waiting[ticket.rank]
        tickets[ticket.number] = ticket
        tickets.move_to_end(ticket.number, last=False)
        self._lines[ticket.line] = None

    def _remove(self, ticket: Ticket) -> None:
        line = ticket.line
        line.waiting[ticket.rank].pop(ticket.number, None)
        if self._first_in_time is ticket:
            self._first_in_time = None
        if not any(line.waiting):
            self._lines.pop(line, None)
        if not self._lines:
            self._due = math.inf


def _order(ticket: Ticket) -> tuple[int, int]:
    return ticket.rank, ticket.number


def _delays_nobody(line: Line, promised: dict[Bucket, float], now: float) -> bool:
    """Tell whether a call of a line can be made now without moving a turn that was promised to an earlier call."""
    return all(bucket.free_after(now) <= promised[bucket] for bucket in line.buckets if bucket in promised)


def _rouse(ticket: Ticket) -> None:
    wake = ticket.wake
    if wake is not None:
        wake()


def _wake(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> None:
    try:
        loop.call_soon_threadsafe(_settle, woken)
    except RuntimeError:
        return  # the loop is closed; whoever waited there waits no more


def _settle(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


async def _until(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None], at: float) -> None:
    """Wait until somebody wakes us, or a moment on the monotonic clock."""
    if math.isinf(at):
        await woken
        return
    timer = loop.call_later(max(at - time.monotonic(), _SHORTEST_SLEEP_S), _settle, woken)
    try:
        await woken
    finally:
        timer.cancel()
