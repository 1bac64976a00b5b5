"""How much a caller may ask for, in this process.

Creates and listings over the rate wait for their turn, at most half of their caller's time and five seconds: an engine spends one
of the user's retries on every error of a create, and a listing that fails takes its routes away. Statuses and cancels are not
counted by the rate: a status over a limit is answered at once with what is certain, which costs no more than a refusal and,
unlike one, is not counted against the job; a cancel that is not taken leaves a job running.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from outboard.host.budgets.buckets import Meter
from outboard.service.access.refusals import overloaded
from outboard.service.access.settings import RuleSettings

_BURST_S: Final = 2.0
_LONGEST_WAIT_S: Final = 5.0
_SHARE: Final = 0.5


class Limits:
    """The limits of one caller.

    Args:
        caller: Its name, for words.
        settings: What the operator decided.

    Attributes:
        running: How many of its calls run now.
    """

    __slots__ = ("_caller", "_meter", "_most", "_most_bytes", "running")

    def __init__(self, caller: str, settings: RuleSettings) -> None:
        self.running = 0
        self._caller = caller
        self._most = settings.concurrent_calls
        self._most_bytes = settings.request_bytes
        rate = settings.calls_per_second
        burst = settings.burst or max(1, round((rate or 0.0) * _BURST_S))
        self._meter = None if rate is None else Meter(rate, burst, time.monotonic())

    @property
    def is_full(self) -> bool:
        """Whether as many calls run as may."""
        return self._most is not None and self.running >= self._most

    @property
    def is_spent(self) -> bool:
        """Whether the rate has no room for another call now."""
        return self._meter is not None and self._meter.free_at(now := time.monotonic()) > now

    def check_size(self, size_bytes: int) -> None:
        """Raise `Refused` for a request that is too large."""
        if self._most_bytes is not None and size_bytes > self._most_bytes:
            words = (
                f"the request takes {size_bytes} bytes of at most {self._most_bytes} for caller {self._caller}; "
                "pass large values by reference"
            )
            raise overloaded(self._caller, "size", words, 60.0)

    def check_room(self) -> None:
        """Raise `Refused` where as many calls run as may."""
        if self.is_full:
            words = f"{self._most} calls of caller {self._caller} are running already; ask again when one has ended"
            raise overloaded(self._caller, "concurrency", words, 1.0)

    def spend(self) -> None:
        """Count a status by the rate without holding it up."""
        if self._meter is not None:
            now = time.monotonic()
            if self._meter.free_at(now) <= now:
                self._meter.take(now)

    async def turn(self, timeout_s: float | None) -> None:
        """Wait for the turn of a call; raise `Refused` where it does not come in time.

        Args:
            timeout_s: What is left of the caller's time.
        """
        if self._meter is None:
            return
        now = time.monotonic()
        wait_s = self._meter.free_at(now) - now
        patience_s = _LONGEST_WAIT_S if timeout_s is None else min(_LONGEST_WAIT_S, timeout_s * _SHARE)
        if wait_s > patience_s:
            words = (
                f"caller {self._caller} asks more often than {self._meter.per_second:g} times a second; "
                f"ask again in {wait_s:.1f} s"
            )
            raise overloaded(self._caller, "rate", words, wait_s)
        self._meter.take(now)
        if wait_s > 0:
            try:
                await asyncio.sleep(wait_s)
            except asyncio.CancelledError:  # its caller gave it up, and those after it need not wait for it
                self._meter.give_back()
                raise
