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
    """

    __slots__ = ("agent", "began_at", "deadline", "is_over", "method", "rank", "spent")

    def __init__(self, agent: str, method: str, deadline: float) -> None:
        self.agent = agent
        self.method = method
        self.deadline = deadline
        self.began_at = time.monotonic()
        self.rank = RANKS.get(method, Rank.REST)
        self.is_over = False
        self.spent = ""


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

    Raises:
        BudgetSpent: The call could not be made in time; nothing was sent.
    """

    __slots__ = ("_budget", "_method", "_sent_at", "_timeout_s")

    def __init__(self, budget: Budget, method: str, timeout_s: float) -> None:
        self._budget = budget
        self._method = method
        self._timeout_s = timeout_s
        self._sent_at = 0.0

    def _deadline(self) -> float:
        call = current_call()
        own = time.monotonic() + self._timeout_s
        return own if call is None else min(own, call.deadline)

    async def __aenter__(self) -> None:
        turn = self._budget.ask(self._method)
        if turn is not None:
            await turn.come(self._deadline())
        self._sent_at = time.monotonic()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._budget.failed(self._method, error, self._sent_at)

    def __enter__(self) -> None:
        turn = self._budget.ask(self._method)
        if turn is not None:
            turn.come_blocking(self._deadline())
        self._sent_at = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._budget.failed(self._method, error, self._sent_at)
