"""Lanes: the questions about the live jobs of one agent on one connection, which is what one `get_many` may ask for.

Nobody asks the platform by a clock: a lane asks because a poll came, and then asks about more than that job.
What the engine learns at a poll is as old as the answer that it gets, so the best time to ask about a job is just before
its next poll. Engines poll at a steady pace, so the job that was polled longest ago is the one that comes next. A
*round* takes, page by page:

1. jobs that a poll waits for;
2. jobs that were polled a whole period ago and are not asked about yet;
3. jobs whose next poll is expected soon: they will be answered from memory;
4. jobs that were polled and could not be waited for;
5. as long as the last page has room, further jobs that are expected before their answer would be stale.

A job is asked about at most once per poll, so the calls of a round are the jobs over the page's size, however the polls
come: spread, or all at once; what brought no answer is not asked ahead of the next poll. When the platform cannot keep up,
3 goes before 4, and where it is the quota that is short, leaves out those whose poll will come before the answer, so that
those who come after them find something fresh; with 2, no job is left out for ever. Pages are filled when they can be
sent: not more than `status_calls` are under way, and none before the account's budget has room for it.

FlytePropeller has ten workers for the polls of all agents together, and a platform must not keep them. So a poll waits
only where it may expect an answer in time, as far as the last ones tell, and all polls of a lane together wait no more
than two seconds per second, beside a short while of more: thousands of jobs that are new here are told what is certain.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from outboard.agent.agents import PolledAgent
from outboard.domain.statuses import Missing, Status, TaskStatus
from outboard.errors import AgentFault, OutboardError
from outboard.host.jobs import LiveJob
from outboard.host.statuses.metrics import tally_of

Answer = Status | Missing | TaskStatus | OutboardError
"""What a question about a job brought; a sensor's is a status already."""
Ask = Callable[[Sequence[LiveJob]], Awaitable[Mapping[LiveJob, Answer]]]
Settle = Callable[[LiveJob, Answer], None]

_JOIN_WINDOW_S: Final = 0.05
"""How long the first question of a round waits for others that may share its page."""
_AHEAD_S: Final = 0.5
_LEAST_LEAD_S: Final = 0.5
_STEADY_S: Final = 2.0
"""Polls that come sooner one after the other are told what is new by waiting, not ahead."""
_FILLING: Final = 0.8
"""The share of an answer's lifetime for which a page is filled ahead."""
_RECENT_S: Final = 120.0
_RECENT_PERIODS: Final = 3
_LONGEST_GAP_S: Final = 600.0
_WAITED_PER_S: Final = 2.0
_WAITED_AT_ONCE_S: Final = 10.0
_LEAST_WAIT_S: Final = 0.01
_UNKNOWN: Final = math.inf
_PERIOD_LEARNING: Final = 0.05
_SHORTEST_PERIOD_S: Final = 0.01
_AGE_SHARE: Final = 0.02
"""A job that ran for an hour will not end this very second: what is known of it may be older."""
_JITTER: Final = 0.1
_SOON_S: Final = 0.05
_LONGEST_NAP_S: Final = 5.0
"""How long a lane trusts an estimate of when its budget has room: who waits there may leave, rates recover."""
_SLOWEST_S: Final = 10.0
"""Answers that took longer count as this: where the process was suspended, they say nothing of the platform."""
_CLOSING_S: Final = 1.0
_HANGING: Final = 3
"""After how many times its time limit a question is given up that not even cancelling ends, and how many such there may be
for each of `status_calls`."""
_SPARE_THREADS: Final = 2
"""Of a blocking agent's pool, for creates and cancels."""
_SLOWER, _FASTER = 0.3, 0.6
"""How quickly a lane learns that answers take longer, or no longer do."""


class News:
    """Polls that wait for the answer about one job."""

    __slots__ = ("came", "waiting")

    def __init__(self) -> None:
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting = 0


class Lane:
    """The questions about the jobs of one agent on one connection.

    Args:
        agent: Whose jobs.
        ask: Asks about one page; raises nothing.
        settle: Takes what was answered about a job.
        budget_wait_s: Tells how long a question about a job would wait for its account's budget.
        limit_s: How long a question may take.
    """

    def __init__(
        self,
        agent: PolledAgent,
        ask: Ask,
        settle: Settle,
        budget_wait_s: Callable[[LiveJob], float],
        limit_s: float,
    ) -> None:
        self._agent = agent
        self._hangs_after_s = limit_s * _HANGING
        self._page_size = agent.batch_size if agent.is_batching else 1
        spare = agent.pool_size - _SPARE_THREADS if agent.is_blocking else agent.status_calls
        self._most_calls = max(1, min(agent.status_calls, spare))
        self._least_s = agent.poll_interval.total_seconds()
        self._stale_s = max(self._least_s, agent.max_staleness.total_seconds())
        self._ask = ask
        self._settle = settle
        self._budget_wait_s = budget_wait_s
        self._tally = tally_of(agent.name)
        self._awaited: dict[LiveJob, float] = {}
        self._asked: dict[LiveJob, float] = {}
        self._told: dict[LiveJob, None] = {}
        self._pages: dict[asyncio.Task[None], tuple[float, Sequence[LiveJob]]] = {}
        self._hanging: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._is_rushed = False
        self._is_pressed = False
        self._is_closed = False
        self._round_until = 0.0
        self._period_s = _UNKNOWN
        self._takes_s = 0.0
        self._waited_s = 0.0
        self._waited_at = 0.0

    def tell(self, live: LiveJob, now: float) -> None:
        """Note that a poll is answered from memory: its next one should find news, and so should others' that come soon."""
        live.fresh_until = live.rest_until
        self._tally.memory += 1
        self.note(live, now)
        if self._timer is None and _STEADY_S < self._period_s < _UNKNOWN:
            lead_s = self._lead_s
            if next(iter(self._told)).polled_at + self._period_s < now + lead_s:
                self._round_until = now + lead_s + _AHEAD_S
                self._schedule(0.0)

    def note(self, live: LiveJob, now: float) -> None:
        """Note a poll."""
        if live.polled_at and (gap_s := now - live.polled_at) < _LONGEST_GAP_S:
            if self._period_s < _UNKNOWN:
                # Who polls one job all the time must not stand for all the others.
                weight = _PERIOD_LEARNING * min(1.0, gap_s / self._period_s)
                self._period_s += (gap_s - self._period_s) * weight
            else:
                self._period_s = max(gap_s, _SHORTEST_PERIOD_S)
        live.polled_at = now
        self._told.pop(live, None)
        self._told[live] = None

    def may_wait(self, within_s: float) -> bool:
        """Tell whether a poll may wait: an answer can be expected in this time, and not too many have waited lately."""
        now = time.monotonic()
        self._waited_s = max(0.0, self._waited_s - (now - self._waited_at) * _WAITED_PER_S)
        self._waited_at = now
        if self._waited_s > _WAITED_AT_ONCE_S:
            return False
        takes_s = self._takes_s
        if self._pages:
            began, _ = next(iter(self._pages.values()))
            takes_s = max(takes_s, now - began)
            if len(self._pages) >= self._most_calls:
                takes_s *= 2
        return takes_s <= within_s

    def want(self, live: LiveJob, *, is_awaited: bool = False, at_once: bool = False) -> None:
        """Begin a round with a job of which nothing fresh is known.

        Args:
            live: The job.
            is_awaited: Whether a poll waits for the answer.
            at_once: Whether it waits for no others; a question that is under way does not count then, unless it is awaited.
        """
        now = time.monotonic()
        self._give_up_hanging(now)
        if live.is_asked and (is_awaited or not at_once):
            return
        if is_awaited:
            self._awaited.setdefault(live, now)
        elif live not in self._awaited:
            self._asked.setdefault(live, now)
        self._round_until = now + self._lead_s + _AHEAD_S
        is_alone = len(self._told) <= 1 and not self._pages
        is_full = len(self._awaited) + len(self._asked) >= self._page_size
        self._schedule(0.0 if at_once or is_full or is_alone else _JOIN_WINDOW_S)

    async def wait(self, live: LiveJob, within_s: float) -> bool:
        """Wait for the answer about a job; tell whether it came."""
        news = live.news
        if news is None:
            news = live.news = News()
        news.waiting += 1
        expected_s = min(within_s, max(self._takes_s, _LEAST_WAIT_S))
        self._waited_s += expected_s
        began = time.monotonic()
        try:
            await asyncio.wait({news.came}, timeout=within_s)
        finally:
            self._waited_s += min(time.monotonic() - began, within_s) - expected_s
            news.waiting -= 1
            if not news.waiting and live in self._awaited:
                self._asked.setdefault(live, self._awaited.pop(live))
        return news.came.done()

    def count(self, *, is_news: bool) -> None:
        """Count a poll for which nothing fresh was there."""
        if is_news:
            self._tally.news += 1
        else:
            self._tally.old += 1

    def forget(self, live: LiveJob) -> None:
        """Ask about a job no more."""
        for jobs in (self._awaited, self._asked, self._told):
            jobs.pop(live, None)

    @property
    def _lead_s(self) -> float:
        """How long before the next expected poll to ask, for the answer to be there."""
        return min(max(_LEAST_LEAD_S, self._takes_s * 2), self._stale_s / 2)

    async def close(self) -> None:
        """Give up what is under way."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        pages = [*self._pages, *self._hanging]
        for page in pages:
            page.cancel()
        if pages:  # an agent may refuse to be cancelled
            await asyncio.wait(pages, timeout=_CLOSING_S)

    def _schedule(self, delay_s: float) -> None:
        if (
            self._is_closed
            or len(self._pages) >= self._most_calls
            or (self._timer is not None and (self._is_rushed or delay_s))
        ):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._is_rushed = not delay_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._launch)

    def _launch(self) -> None:
        """Send a page, if there is one to be sent now, and come back for the next."""
        self._timer = None
        anybody = next(itertools.chain(self._awaited, self._asked, self._told), None)
        if anybody is None:
            return
        wait_s = self._budget_wait_s(anybody)
        if wait_s > _SOON_S:
            self._is_pressed = True
            self._schedule(min(wait_s, _LONGEST_NAP_S))
            return
        now = time.monotonic()
        page = self._pick(now)
        if page:
            task = asyncio.ensure_future(self._run(page, now))
            self._pages[task] = now, page
            task.add_done_callback(self._landed)
            self._schedule(0.0)  # the next one, when this one has taken what it needs of the budget
        else:
            self._is_pressed = False

    def _pick(self, now: float) -> Sequence[LiveJob]:
        """Take the jobs of a page off the lists."""
        page: list[LiveJob] = []
        self._take(page, self._awaited)
        self._take(page, self._asked, now - self._period_s)
        self._take_expected(page, now, self._round_until)
        self._take(page, self._asked)
        if page:
            self._take_expected(page, now, now + self._stale_s * _FILLING)
        return page

    def _take(self, page: list[LiveJob], jobs: dict[LiveJob, float], before: float = math.inf) -> None:
        """Take jobs that were polled before a moment; they keep their place in the order of the next polls."""
        waiting = itertools.takewhile(lambda item: item[1] < before, jobs.items())
        free = (live for live, _ in waiting if not live.is_asked)
        for live in list(itertools.islice(free, self._page_size - len(page))):
            self._awaited.pop(live, None)
            self._asked.pop(live, None)
            live.is_asked = True
            page.append(live)

    def _take_expected(self, page: list[LiveJob], now: float, until: float) -> None:
        """Take the jobs whose next poll is expected by then; those that are not worth a question are dropped on the way."""
        while self._told and len(page) < self._page_size and self._period_s > _STEADY_S:
            live = next(iter(self._told))
            expected = live.polled_at + self._period_s
            if expected > until:
                return
            del self._told[live]
            is_recent = now - live.polled_at < max(_RECENT_S, self._period_s * _RECENT_PERIODS)
            is_late = self._is_pressed and expected < now + self._takes_s * 2
            if is_recent and not is_late and not live.is_asked and live.rest_until <= now:
                self.forget(live)
                live.is_asked = True
                page.append(live)

    async def _run(self, page: Sequence[LiveJob], began: float) -> None:
        answers: Mapping[LiveJob, Answer] = {}
        self._tally.questions += 1
        self._tally.jobs += len(page)
        try:
            answers = await self._ask(page)
        finally:
            if asyncio.current_task() not in self._hanging:
                now = time.monotonic()
                took_s = min(now - began, _SLOWEST_S)
                self._takes_s += (took_s - self._takes_s) * (_SLOWER if took_s > self._takes_s else _FASTER)
                for live in page:
                    self._settled(live, answers.get(live), now)

    def _give_up_hanging(self, now: float) -> None:
        """Take back the jobs and the place of a question that neither ends nor lets itself be cancelled."""
        while self._pages and len(self._hanging) < self._most_calls * _HANGING:
            task, (began, page) = next(iter(self._pages.items()))
            if now - began < self._hangs_after_s:
                return
            del self._pages[task]
            self._hanging.add(task)
            fault = AgentFault(
                f"agent {self._agent.name} neither answers nor lets itself be cancelled; its author must mend it"
            )
            for live in page:
                self._settled(live, fault, now)

    def _settled(self, live: LiveJob, answer: Answer | None, now: float) -> None:
        live.is_asked = False
        if answer is not None:
            try:
                self._settle(live, answer)
            except Exception as error:  # noqa: BLE001 - one job must not keep the others of its page from their answers
                live.log.error("answer not taken", error=type(error).__name__)  # noqa: TRY400 - no tracebacks
        is_news = answer is not None and not isinstance(answer, OutboardError)
        if is_news:
            live.rest_until = max(live.rest_until, now + self._rest_s(live, now))
        live.fresh_until = live.rest_until
        news, live.news = live.news, None
        is_told = news is not None and news.waiting > 0
        if is_news and not is_told:
            live.fresh_until = max(live.rest_until, now + self._stale_s)
        expected = live.polled_at + self._period_s
        if live.has_ended or live.success is not None:
            self.forget(live)
        elif is_news and live.site.lane is self and expected > max(live.fresh_until, now + self._lead_s + _AHEAD_S):
            self._told.setdefault(live)  # nothing fresh will be there for its next poll
        else:
            self._told.pop(live, None)  # something will, or this was the question ahead of it
        if news is not None:
            news.came.set_result(None)

    def _rest_s(self, live: LiveJob, now: float) -> float:
        """Return for how long the answer about a job is good enough: the longer the job runs, the longer."""
        rest_s = min(max(self._least_s, (now - live.opened_at) * _AGE_SHARE), self._stale_s)
        return rest_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - so that jobs do not move in step

    def _landed(self, page: asyncio.Task[None]) -> None:
        self._pages.pop(page, None)
        self._hanging.discard(page)
        if not page.cancelled():
            self._schedule(0.0)
