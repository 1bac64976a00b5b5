"""The desk: takes a callback to whoever has its agent, and says, counts and logs what became of it.

What a sender is told is one of a few statuses. `200` is also for callbacks that were here before, that are about nothing here
and that the agent cannot read: sending them again would change none of it. `401` is for all that does not prove its sender, and
tells nothing of why. `429` and `503` ask for the same again later.

Labels and log lines never hold what a caller made up: agents that nobody here knows are `unknown`. A burst is one log line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from prometheus_client import Counter

from outboard.agent.callbacks import Callback
from outboard.host.callbacks.callbacks import Receipt, Result
from outboard.host.logs import TaskLog

_CALLBACKS: Final = Counter(
    "outboard_callbacks_total", "Callbacks of platforms, by what became of them.", ["agent", "result"]
)
_JOBS: Final = Counter(
    "outboard_callbacks_jobs_total", "Jobs that are looked at again because of a callback.", ["agent"]
)
_STATUSES: Final = MappingProxyType(
    {
        Result.ACCEPTED: 200,
        Result.REPEATED: 200,
        Result.MALFORMED: 200,
        Result.FORGED: 401,
        Result.STALE: 401,
        Result.UNCONFIGURED: 401,
        Result.UNKNOWN_AGENT: 404,
        Result.THROTTLED: 429,
        Result.UNAVAILABLE: 503,
    }
)
_REFUSALS: Final = MappingProxyType({404: Result.UNKNOWN_AGENT, 429: Result.THROTTLED})
_QUIET: Final = (Result.ACCEPTED, Result.REPEATED)
_NEEDS_MENDING: Final = (Result.MALFORMED, Result.UNCONFIGURED)
_UNKNOWN: Final = "unknown"
_BETWEEN_LINES_S: Final = 60.0
_SNS_TYPE: Final = "x-amz-sns-message-type"
_SNS_HANDSHAKE: Final = "SubscriptionConfirmation"


class Receiving(Protocol):
    """Takes callbacks: the host's own `CallbackReceiver`."""

    async def fetch_keys(self, name: str) -> None:
        """Have the keys of an agent's callbacks at hand."""
        ...

    def receive(self, name: str, callback: Callback) -> Receipt:
        """Return what became of a callback for the agent of this name."""
        ...


class Passing(Protocol):
    """Takes callbacks to other processes (see `relay`)."""

    async def pass_on(self, name: str, callback: Callback) -> Receipt | None:
        """Return what became of a callback for an agent of another process; None where no process has such an agent."""
        ...


class Desk:
    """Answers callbacks.

    Args:
        receiver: For the agents of this process.
        passing: For those of isolated platforms; None where there are none.

    Attributes:
        on_jobs: Called with the agent and the ids of jobs that a callback was about: siblings may follow them.
    """

    def __init__(self, receiver: Receiving, passing: Passing | None = None) -> None:
        self.on_jobs: Callable[[str, Sequence[str]], None] | None = None
        self._receiver = receiver
        self._passing = passing
        self._bursts: dict[tuple[str, Result], tuple[float, int]] = {}

    async def answer(self, name: str, callback: Callback) -> int:
        """Return the status to answer to a callback for the agent of this name."""
        await self._receiver.fetch_keys(name)
        receipt = self._receiver.receive(name, callback)
        if receipt.result is Result.UNKNOWN_AGENT and self._passing is not None:
            receipt = await self._passing.pass_on(name, callback) or receipt
        self._tell(receipt)
        if receipt.result is Result.ACCEPTED and callback.header(_SNS_TYPE) == _SNS_HANDSHAKE:
            # Following an address that a stranger may have written is no way to be safe; see docs/callbacks.md.
            TaskLog().warning("SNS waits for its subscription to be confirmed", agent=receipt.agent)
        if receipt.job_ids and self.on_jobs is not None:
            self.on_jobs(receipt.agent, receipt.job_ids)
        return _STATUSES[receipt.result]

    def refused(self, status: int) -> None:
        """Count a request that was refused before anybody looked whose it is."""
        self._tell(Receipt(result=_REFUSALS.get(status, Result.MALFORMED), reason=f"answered {status}"))

    def _tell(self, receipt: Receipt) -> None:
        agent = receipt.agent or _UNKNOWN
        _CALLBACKS.labels(agent, receipt.result.value).inc()
        if receipt.live:
            _JOBS.labels(agent).inc(receipt.live)
        if receipt.result not in _QUIET:
            self._log(agent, receipt)

    def _log(self, agent: str, receipt: Receipt) -> None:
        """Write a line, unless one like it was written within a minute; the next one says how many were left out."""
        now = time.monotonic()
        kind = (agent, receipt.result)
        silent_until, untold = self._bursts.get(kind, (0.0, 0))
        if now < silent_until:
            self._bursts[kind] = (silent_until, untold + 1)
            return
        self._bursts[kind] = (now + _BETWEEN_LINES_S, 0)
        log = TaskLog()
        record = log.error if receipt.result in _NEEDS_MENDING and receipt.agent else log.warning
        fields = {"reason": receipt.reason} if receipt.reason else {}
        record("callback not taken", agent=agent, result=receipt.result.value, more_since_last_line=untold, **fields)
