"""One submission in this process, and what its agent's declaration allows.

What other processes must know of it stands in the key's record (`domain.records`); this is the rest: what was sent and
when, how long the claim stands, and what is in the way.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

from outboard.agent.agents import Agent, AnsweringAgent, AsyncAgent, BlockingAgent, JobAgent
from outboard.agent.jobs import JobRef
from outboard.agent.submission import Lookup, Named, Token
from outboard.errors import OutboardError
from outboard.host.requests import Request
from outboard.host.submissions.records import Held

LONGEST_WINDOW_S: Final = 900.0
"""Beyond this age of a submission nothing is sent any more (15 minutes; see architecture, rule 4)."""
IN_FLIGHT_S: Final = 30.0
"""How long a request that nobody waits for any more may still be on its way."""
STORE_PATIENCE_S: Final = 10.0
"""How long a submission that is safe by its platform's own means waits for its record."""
_WITHOUT_FIND: Final = (AsyncAgent.find, BlockingAgent.find)


class Handed(Exception):
    """The submission is another replica's now; whoever polls will hear from it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Submission:
    """One key's submission in this process.

    Attributes:
        place: Where its record lies; None without a store.
        created_at: Unix seconds of its first claim, by whatever clock.
        opened: Monotonic seconds that correspond to it here.
        held: The record as this process wrote it last; None while there is none.
        lease_end: Monotonic seconds until which the claim stands.
        may_have_arrived: A create was sent, and what became of it is not known.
        sent_at: Monotonic seconds of the last create; minus infinity when another process sent it, long ago.
        sends: How many creates this process sent.
        faults: How many of them ended with an error that nobody declared.
        renewing: The turn that was written last, or is being tried to be written.
        renewed_until: Until when the claim stands with it.
        is_withdrawn: The task was cancelled.
        trouble: Why the submission takes so long.
        unrenewed_since: Monotonic seconds since when the claim could not be renewed.
        is_promised: An intent was handed out, or is about to be.
        is_adopted: Its job is one that an earlier attempt started.
        promise: Makes sure that other processes can go on.
        job: The job that it came to.
        late_job: The job of a create that was given up, and whose thread came back with it.
        wake: Set when there is something new: a cancel, the end of this process.
    """

    request: Request
    agent: JobAgent[Any, Any, Any]
    place: str | None
    created_at: int
    opened: float
    lease_end: float
    held: Held | None = None
    may_have_arrived: bool = False
    sent_at: float = float("-inf")
    sends: int = 0
    faults: int = 0
    renewing: int = 0
    renewed_until: float = 0.0
    is_withdrawn: bool = False
    unrenewed_since: float | None = None
    is_promised: bool = False
    is_adopted: bool = False
    promise: asyncio.Task[None] | None = None
    trouble: OutboardError | None = None
    job: JobRef | None = None
    late_job: JobRef | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def needs_record(self) -> bool:
        """Whether nothing may be sent without a claim: neither the platform nor a search could tell afterwards."""
        return self.place is not None and not is_repeatable(self.agent)

    @property
    def window_s(self) -> float:
        """For how long after its beginning a create may be sent."""
        kind = self.agent.submission
        return min(kind.valid_for.total_seconds(), LONGEST_WINDOW_S) if isinstance(kind, Token) else LONGEST_WINDOW_S

    @property
    def is_in_window(self) -> bool:
        """Whether a create may still be sent."""
        return time.monotonic() - self.opened < self.window_s

    def may_do_without(self, since: float) -> bool:
        """Tell whether to go on without the record, whose store has not answered since this time.

        The platform's own means are left then, and they are good; a moment's outage is no reason to rely on them.
        """
        return not self.needs_record and time.monotonic() - since >= STORE_PATIENCE_S

    def may_open(self, opened: float) -> bool:
        """Tell whether a create may be repeated beside another process that began at this time, by its own clock."""
        return is_repeatable(self.agent) and time.monotonic() - opened < self.window_s

    def withdraw(self) -> None:
        """Send nothing any more, unless that is the only way to learn which job to stop."""
        self.is_withdrawn = True
        self.wake.set()

    async def rest(self, pause_s: float) -> None:
        """Wait, or until there is something new."""
        try:
            await asyncio.wait_for(self.wake.wait(), pause_s)
        except (asyncio.TimeoutError, TimeoutError):
            return
        self.wake.clear()


def is_repeatable(agent: JobAgent[Any, Any, Any]) -> bool:
    """Tell whether a repeated create finds the first job, by the platform's own means."""
    return isinstance(agent.submission, (Token, Named))


def can_find(agent: JobAgent[Any, Any, Any]) -> bool:
    """Tell whether the agent finds jobs by their key."""
    return getattr(type(agent), "find", AsyncAgent.find) not in _WITHOUT_FIND


def visible_s(agent: Agent) -> float:
    """Return after how many seconds what was sent certainly shows: a job is found, an answer given."""
    if isinstance(agent, AnsweringAgent):
        return agent.timeout.total_seconds()
    kind = getattr(agent, "submission", None)
    return kind.visible_within.total_seconds() if isinstance(kind, Lookup) else 0.0
