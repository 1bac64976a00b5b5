"""What a platform lends for a while (tokens, access keys), renewed before it ends, one renewal at a time.

A value in its last ten minutes is still handed out while the next one is fetched behind; only one that has ended is waited for.
A renewal that fails is tried again half a minute later as long as the old value lasts. A value that never ends is looked for
again every quarter of an hour: a file may have changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from outboard.errors import AgentError

T = TypeVar("T")
LEAST_S: Final = 60.0
"""A value that lasts no longer is renewed halfway."""

_RENEW_BEFORE_S: Final = 600.0
_MARGIN_S: Final = 30.0
_AGAIN_S: Final = 30.0
_LOOK_AGAIN_S: Final = 900.0


class Renewed(Generic[T]):
    """A value that is renewed before it ends.

    Args:
        fetch: Gets a new one, and how many seconds it lasts, None for ever; its errors are those of a call that was not sent.
    """

    def __init__(self, fetch: Callable[[], Awaitable[tuple[T, float | None]]]) -> None:
        self._fetch = fetch
        self._held: list[T] = []
        self._renew_at = self._ends_at = 0.0
        self._renewal: asyncio.Task[None] | None = None

    async def value(self) -> T:
        """Return a valid one; raises what `fetch` raises where there is none."""
        now = time.monotonic()
        if self._held and now < min(self._renew_at, self._ends_at):
            return self._held[0]
        renewal = self._renewal
        if renewal is None or renewal.done():
            renewal = self._renewal = asyncio.ensure_future(self._renew())
            renewal.add_done_callback(lambda done: done.cancelled() or done.exception())
        if not self._held or now >= self._ends_at:
            await asyncio.shield(renewal)
        return self._held[0]

    async def close(self) -> None:
        """Stop a renewal that is under way."""
        renewal, self._renewal = self._renewal, None
        if renewal is not None and not renewal.done():
            renewal.cancel()
            await asyncio.wait({renewal})

    async def _renew(self) -> None:
        try:
            value, lifetime_s = await self._fetch()
        except AgentError:
            self._renew_at = time.monotonic() + _AGAIN_S
            raise
        now = time.monotonic()
        self._held = [value]
        if lifetime_s is None:
            self._renew_at, self._ends_at = now + _LOOK_AGAIN_S, float("inf")
            return
        self._ends_at = now + max(lifetime_s - _MARGIN_S, 0.0)
        self._renew_at = now + max(lifetime_s - _RENEW_BEFORE_S, min(LEAST_S, lifetime_s / 2))
