"""The status board: what is known of every live job, and who waits for news of it.

A poll is answered from memory where what is known is fresh; otherwise its job is asked about in its lane, together with
others, and the poll waits for a moment: `status_limit` where nothing is known yet, `status_wait` where something is, and
not at all where no answer may be expected in that time. The question goes on without it. The board asks nothing by
itself: jobs that nobody polls cost nothing.
"""

from __future__ import annotations

import time
from typing import Final
from weakref import WeakValueDictionary

from outboard.agent.agents import PolledAgent
from outboard.domain.statuses import TaskStatus
from outboard.host.calls import Calls
from outboard.host.clients import ClientKey
from outboard.host.jobs import LiveJob
from outboard.host.statuses.lanes import Ask, Lane, Settle

_FIRST_HOPE: Final = 2.0
"""A first poll waits even where the last answers took a little longer: it has nothing better to tell."""


class Board:
    """Answers polls from memory and asks for news.

    Args:
        calls: Knows what the accounts' budgets have left.
        ask: Asks about a page of jobs.
        settle: Takes an answer about a job.
        limit_s: How long a question may take.
    """

    def __init__(self, calls: Calls, ask: Ask, settle: Settle, limit_s: float) -> None:
        self._calls = calls
        self._ask = ask
        self._settle = settle
        self._limit_s = limit_s
        self._lanes: WeakValueDictionary[tuple[str, ClientKey], Lane] = WeakValueDictionary()

    def recall(self, live: LiveJob, now: float) -> TaskStatus | None:
        """Return what a poll is told from memory; None where that is not good enough."""
        last = live.last
        if last is None or last.phase.is_terminal:
            return last
        if live.fresh_until <= now:
            return None
        if live.site.lane is not None and not live.is_intent:
            live.site.lane.tell(live, now)
        return last

    async def refresh(self, live: LiveJob, within_s: float) -> None:
        """Ask about a job for a poll, which waits at most this long."""
        lane = self._lane(live)
        hope = 1.0 if live.polled_at else _FIRST_HOPE
        lane.note(live, time.monotonic())
        if within_s > 0 and lane.may_wait(within_s * hope):
            lane.want(live, is_awaited=True)
            is_news = await lane.wait(live, within_s)
        else:
            lane.want(live)
            is_news = False
        lane.count(is_news=is_news)

    async def look(self, live: LiveJob, within_s: float) -> bool:
        """Ask about a job now, whatever is known; tell whether the platform answered in this time."""
        live.rest_until = live.fresh_until = 0.0
        lane = self._lane(live)
        lane.want(live, is_awaited=True, at_once=True)
        return await lane.wait(live, within_s) and live.silent_since is None

    def hasten(self, live: LiveJob) -> None:
        """Ask about a job at once: something happened to it. The next poll hears of it."""
        live.rest_until = live.fresh_until = 0.0
        self._lane(live).want(live, at_once=True)

    async def close(self) -> None:
        """Give up the questions that are under way."""
        for lane in list(self._lanes.values()):
            await lane.close()

    def _lane(self, live: LiveJob) -> Lane:
        site = live.site
        if site.lane is None:
            key = (site.agent.name, site.client_key)
            lane = self._lanes.get(key)
            if lane is None:
                assert isinstance(site.agent, PolledAgent)  # noqa: S101 - others have no jobs to ask about
                wait_s = self._calls.status_wait_s
                lane = self._lanes[key] = Lane(site.agent, self._ask, self._settle, wait_s, self._limit_s)
            site.lane = lane
        return site.lane
