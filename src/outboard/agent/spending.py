"""Spending: one platform call that waits for its turn in the account's budget.

Which call of the agent it belongs to is known without being passed around: the host sets `CURRENT_CALL` around every call of
an agent, in coroutines and in pool threads alike. From it come the order of those who wait (`RANKS`: what starts and stops
jobs, then what asks about them, then logs and metrics) and the deadline, after which waiting is of no use. A task that
an agent's call left behind still carries the call, but a call that is over has neither deadline nor rank.

What a spent call raises is shown to the budget, which slows down where it means "slow down".
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from enum import IntEnum
from types import TracebackType
from typing import Final, Protocol

from typing_extensions import Self

from outboard.agent.platform_calls import CallSpan, CallTrace, outcome_of, outcome_of_status, took


class Rank(IntEnum):
    """Who goes first where calls wait."""

    SUBMISSION = 0
    STATUS = 1
    REST = 2


RANKS: Final[dict[str, Rank]] = {
    **dict.fromkeys(("open", "create", "do", "find", "cancel"), Rank.SUBMISSION),
    **dict.fromkeys(("get", "get_many", "poke", "fetch_outputs"), Rank.STATUS),
}
"""By the agent's method; all others come last. Without its client no call can be made, so opening it comes first."""

STATUS_QUESTIONS: Final = frozenset({"get", "get_many", "poke"})


class AgentCall:
    """A call of an agent's method, as long as it lasts.

    Attributes:
        agent: The agent's name.
        method: Which of its methods.
        deadline: Monotonic seconds.
        began_at: Monotonic seconds.
        rank: When its platform calls have their turn.
        is_over: Whether it has returned, or its caller has given up.
        spent: The platform's method that it asked its account's budget for last; empty if for none.
        trace: Its span, where calls are traced.
    """

    __slots__ = ("agent", "began_at", "deadline", "is_over", "method", "rank", "spent", "trace")

    def __init__(self, agent: str, method: str, deadline: float) -> None:
        self.agent = agent
        self.method = method
        self.deadline = deadline
        self.began_at = time.monotonic()
        self.rank = RANKS.get(method, Rank.REST)
        self.is_over = False
        self.spent = ""
        self.trace: CallTrace | None = None


CURRENT_CALL: Final[ContextVar[AgentCall | None]] = ContextVar("outboard_agent_call", default=None)


def current_call() -> AgentCall | None:
    """Return the agent's call that runs here; None outside of one, and in what one left behind."""
    call = CURRENT_CALL.get()
    return None if call is None or call.is_over else call


class Turn(Protocol):
    """A place in the queue for a call."""

    async def come(self, deadline: float, /) -> None:
        """Wait until the call may be made; `BudgetSpent` when that is not before `deadline` (monotonic seconds)."""
        ...

    def come_blocking(self, deadline: float, /) -> None:
        """Do the same in a thread."""
        ...


class Budget(Protocol):
    """What is left of an account's quotas."""

    def ask(self, method: str, /) -> Turn | None:
        """Take a call of a platform's method; None when it may be made now, else its place in the queue."""
        ...

    def failed(self, method: str, error: BaseException, sent_at: float, /) -> None:
        """Take note of what a call of `method` raised that was made at `sent_at`: "slow down" slows the next ones."""
        ...


class Spending:
    """One platform call that is paid from the account's budget: `async with ctx.spend("runs/get"): ...`.

    Blocking agents write `with` instead. The block makes the one call and nothing else: it is entered when the call may be
    made, and an error that the platform's map takes for `Throttled` slows the next ones.

    Args:
        budget: Who knows when the call may be made.
        method: The platform's name of the call, as its quotas have it.
        timeout_s: How long to wait at most, where the agent's call has no earlier deadline.
        makes_call: Whether the block makes the call; otherwise it only waits, and whoever makes the call counts it.

    Attributes:
        span: The call's span, where calls are traced.

    Raises:
        BudgetSpent: The call could not be made in time; nothing was sent.
    """

    __slots__ = ("_agent", "_budget", "_makes_call", "_method", "_sent_at", "_status", "_timeout_s", "span")

    def __init__(self, budget: Budget, method: str, timeout_s: float, *, makes_call: bool = True) -> None:
        self._budget = budget
        self._method = method
        self._timeout_s = timeout_s
        self._makes_call = makes_call
        self._agent = ""
        self._sent_at = 0.0
        self._status = 0
        self.span: CallSpan | None = None

    def _deadline(self) -> float:
        call = current_call()
        own = time.monotonic() + self._timeout_s
        return own if call is None else min(own, call.deadline)

    def _begin(self, asked_at: float) -> None:
        self._sent_at = time.monotonic()
        call = CURRENT_CALL.get()
        if call is not None and self._makes_call:
            self._agent = call.agent
            if call.trace is not None:
                self.span = call.trace.platform_call(self._method, self._sent_at - asked_at)

    def came(self, status: int) -> None:
        """Take note of the HTTP status of an answer."""
        self._status = status
        if self.span is not None:
            self.span.note({"http.response.status_code": status})

    def _end(self, error: BaseException | None) -> None:
        if self._makes_call:
            outcome = outcome_of_status(self._status) if error is None and self._status else outcome_of(error)
            took(self._agent, self._method, outcome, time.monotonic() - self._sent_at)
            if self.span is not None:
                self.span.end(outcome, error)
        if error is not None:
            self._budget.failed(self._method, error, self._sent_at)

    async def __aenter__(self) -> Self:
        asked_at = time.monotonic()
        turn = self._budget.ask(self._method)
        if turn is not None:
            await turn.come(self._deadline())
        self._begin(asked_at)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)

    def __enter__(self) -> Self:
        asked_at = time.monotonic()
        turn = self._budget.ask(self._method)
        if turn is not None:
            turn.come_blocking(self._deadline())
        self._begin(asked_at)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(error)
