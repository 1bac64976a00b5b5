"""A pursuit: a task that was cancelled, and what one process knows of its end.

It goes in rounds, and callers wait for the end of one; a caller who asks again begins the next round at once, unless the
platform has accepted the cancel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from outboard.errors import OutboardError
from outboard.host.jobs import LiveJob


class Pursuit:
    """A task that was cancelled, and what is known of its end.

    Attributes:
        name: What it is known by, here and among the owed cancels.
        job: The job to stop, once it is known.
        is_marked: No replica submits anything for the task any more.
        is_accepted: The platform accepted the cancel.
        is_over: There is no job any more, and never will be.
        spares_finished: Finished work is left alone whatever its agent tears down; the engine that asked collects garbage.
        trouble: Why the cancel was not handed over in the last round.
        marking: Writes the mark.
        settling: Writes down that it is owed.
        refusals: How many cancels were answered with an error, by all replicas, as far as that is known here.
        uncounted: How many more by this one.
    """

    __slots__ = (
        "_nudge", "_round", "is_accepted", "is_marked", "is_over", "job", "live", "marking", "name", "refusals", "settling",
        "spares_finished", "task", "trouble", "uncounted",
    )  # fmt: skip

    def __init__(self, live: LiveJob) -> None:
        self.live = live
        self.job = None if live.handle.is_intent else live
        self.name = ""
        self.marking: asyncio.Task[None] | None = None
        self.settling: asyncio.Task[None] | None = None
        self.refusals = self.uncounted = 0
        self.is_marked = False
        self.is_accepted = False
        self.is_over = False
        self.spares_finished = False
        self.trouble: OutboardError | None = None
        self.task: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self._round = asyncio.Event()

    async def hand_over(self, patience_s: float) -> None:
        """Wait for the end of a round that tries to hand the cancel over, beginning one if none is under way."""
        if self.task is None or self.task.done():
            return
        if self._round.is_set():
            self._round.clear()
            self._nudge.set()
        await within(self._round.wait(), patience_s)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: without a mark, a request that is still under way might start a job again."""
        return self.is_over and self.is_marked

    def takes(self, live: LiveJob) -> bool:
        """Tell whether a handle of the same key is about the same job, as far as that is known."""
        if live.handle.is_intent:
            return True
        return not self.is_over if self.job is None else self.job.handle.job == live.handle.job

    def nudge(self) -> None:
        """Begin the next round now, unless the platform accepted the cancel."""
        self._nudge.set()

    async def end(self, patience_s: float) -> None:
        """Wait for the end of the job."""
        if self.task is not None:
            await asyncio.wait({self.task}, timeout=patience_s)

    def begin_round(self) -> None:
        """Let callers wait for the round that begins now."""
        self._round.clear()
        self._nudge.clear()

    def end_round(self) -> None:
        """Let callers look at what came of the round."""
        self._round.set()

    async def rest(self, pause_s: float) -> None:
        """Wait; not at all when somebody asks for the cancel again that nobody has accepted yet."""
        if self.is_accepted:
            await asyncio.sleep(pause_s)
        else:
            await within(self._nudge.wait(), pause_s)


async def within(work: Awaitable[object], patience_s: float) -> None:
    """Await something for some time, and then no longer."""
    try:
        await asyncio.wait_for(work, patience_s)
    except (asyncio.TimeoutError, TimeoutError):
        return
