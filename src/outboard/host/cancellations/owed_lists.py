"""One list of owed cancels: what this process owes goes in, what nobody pursues comes out.

It changes by compare-and-swap alone, and a process has one swap in flight per list: whoever comes meanwhile goes with
the next one, so a thousand cancels at once cost a handful of writes. A swap renews what this process pursues, removes
what is over, and takes over what was given back or had no new turn for 150 s on this process's own clock.

A swap whose answer was lost is not repeated blindly: an entry that bears this process's name, and that it does not
pursue, is taken over like one that was given back.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from outboard.domain.owed import OwedCancel, OwedCodec, crowded_out
from outboard.errors import ForeignHandle, OutboardError, StoreUnavailable
from outboard.host.logs import TaskLog
from outboard.host.stores import Store

_SILENT_S: Final = 150.0
"""Two turns and some: a claimant this silent is gone."""
_OWED_FOR_S: Final = 86_400.0
_CALL_LIMIT_S: Final = 10.0
_REST_S: Final = 15.0
_SWAPS: Final = 30
T = TypeVar("T")


class Pursuer(Protocol):
    """Sees to the end of jobs; `host.cancellations`."""

    def can_pursue(self, encoded: bytes) -> bool:
        """Tell whether this process can read a handle."""
        ...

    def take_over(self, encoded: bytes) -> asyncio.Task[None] | None:
        """See to the end of a handle's job; None where there is nothing to pursue."""
        ...

    def give_up(self, encoded: bytes, reason: str) -> None:
        """Tell an operator that nobody pursues a cancel any more."""
        ...


@dataclass(slots=True)
class _Own:
    """What this process owes: until its pursuit is over, or, where it has none, until it is written down for others."""

    entry: OwedCancel
    pursuit: asyncio.Task[None] | None

    @property
    def is_over(self) -> bool:
        return self.pursuit is not None and self.pursuit.done()


@dataclass(slots=True)
class _Plan:
    """What becomes of a list: its entries then, those to be pursued here from now on, and those given up, with why."""

    entries: dict[str, OwedCancel] = field(default_factory=dict)
    taken: dict[str, OwedCancel] = field(default_factory=dict)
    given_up: list[tuple[str, OwedCancel, str]] = field(default_factory=list)


class OwedList:
    """One list, and what this process knows of it.

    Args:
        uri: Where it lies.
        stores: The object stores.
        codec: Seals and opens it.
        claim: The random name of this process.
        pursuer: Who pursues what is taken over.
    """

    def __init__(self, uri: str, stores: Store, codec: OwedCodec, claim: str, pursuer: Pursuer) -> None:
        self.uri = uri
        self._stores = stores
        self._codec = codec
        self._claim = claim
        self._pursuer = pursuer
        self._own: dict[str, _Own] = {}
        self._seen: dict[str, tuple[tuple[str, int], float]] = {}
        self._lock = asyncio.Lock()
        self._wanted = self._written = 0
        self._rest_until = 0.0
        self._is_told = self._is_handing_back = False

    @property
    def is_idle(self) -> bool:
        """Whether this process owes nothing here."""
        return not self._own

    @property
    def is_due(self) -> bool:
        """Whether something is to be written or read."""
        return self._wanted > self._written

    def add(self, name: str, encoded: bytes, pursuit: asyncio.Task[None] | None) -> None:
        """Enter a cancel with the next swap; without a `pursuit` it is another replica's from the beginning."""
        if name not in self._own:
            self._own[name] = _Own(OwedCancel(handle=encoded, since=int(time.time())), pursuit)
            self._wanted += 1

    def touch(self) -> None:
        """Read the list with the next swap, and renew what is owed."""
        self._wanted += 1

    def hand_back(self) -> None:
        """Give back what is owed with the next swap; nothing is taken over any more."""
        if not self._is_handing_back:
            self._is_handing_back = True
            self._wanted += bool(self._own)

    async def swap(self) -> None:
        """Bring the list up to what is wanted now, unless another call does so meanwhile; never raises."""
        wanted = self._wanted
        async with self._lock:
            if self._written >= wanted or time.monotonic() < self._rest_until:
                return
            wanted = self._wanted
            try:
                plan = await self._try()
            except OutboardError as error:
                self._seen.clear()  # silence is counted only while the store answers
                self._rest_until = time.monotonic() + _REST_S
                if not self._is_told:
                    self._is_told = True
                    TaskLog().error(
                        "owed cancels not shared", place=self.uri, error_id=error.error_id, reason=error.message
                    )
                return
            self._written, self._is_told = wanted, False
            self._carry_out(plan)

    async def _try(self) -> _Plan:
        for _ in range(_SWAPS):
            found = await self._within(self._stores.read_tagged(self.uri))
            entries = {} if found is None else self._opened(found.data)
            plan = self._plan(entries)
            if plan.entries == entries:
                return plan
            encoded = self._codec.encode(plan.entries)
            if found is None:
                tag = await self._within(self._stores.create(self.uri, encoded))
            else:
                tag = await self._within(self._stores.replace(self.uri, encoded, found.tag))
            if tag is not None:
                return plan
            await asyncio.sleep(random.uniform(0.02, 0.5))  # noqa: S311 - those that met do not meet again
        raise StoreUnavailable(f"the owed cancels at {self.uri} are changed by others all the time; ask again")

    def _opened(self, encoded: bytes) -> dict[str, OwedCancel]:
        try:
            return self._codec.decode(encoded)
        except ForeignHandle as error:
            TaskLog().error(
                "owed cancels are begun anew", place=self.uri, error_id=error.error_id, reason=error.message
            )
            return {}

    def _plan(self, entries: dict[str, OwedCancel]) -> _Plan:
        plan, now = _Plan(), time.time()
        self._seen = {name: seen for name, seen in self._seen.items() if name in entries}
        for name, entry in entries.items():
            own = self._own.get(name)
            is_free = entry.claim in ("", self._claim) or self._is_silent(name, entry)
            if now - entry.since > _OWED_FOR_S:
                plan.given_up.append((name, entry, "it was tried for a day"))
            elif not is_free:
                plan.entries[name] = entry
            elif own is None:
                plan.entries[name] = self._taken(plan, name, entry)
            elif not own.is_over:
                plan.entries[name] = self._claimed(entry, own)
        for name, own in self._own.items():
            if name not in entries and not own.is_over:
                plan.entries[name] = self._claimed(own.entry, own)
        for name in crowded_out(plan.entries):
            plan.given_up.append((name, plan.entries.pop(name), "too many cancels are owed"))
            plan.taken.pop(name, None)
        return plan

    def _is_silent(self, name: str, entry: OwedCancel) -> bool:
        mark, now = (entry.claim, entry.turn), time.monotonic()
        known, since = self._seen.get(name, (None, now))
        if known != mark:
            self._seen[name] = mark, now
            return False
        return now - since >= _SILENT_S

    def _taken(self, plan: _Plan, name: str, entry: OwedCancel) -> OwedCancel:
        if self._is_handing_back or not self._pursuer.can_pursue(entry.handle):
            return entry  # for others
        plan.taken[name] = entry = replace(entry, claim=self._claim, turn=entry.turn + 1)
        return entry

    def _claimed(self, entry: OwedCancel, own: _Own) -> OwedCancel:
        if self._is_handing_back or own.pursuit is None:
            return replace(entry, claim="")
        return replace(entry, claim=self._claim, turn=entry.turn + 1)

    def _carry_out(self, plan: _Plan) -> None:
        """Do what goes with a list that is in place now."""
        over = [name for name, own in self._own.items() if own.pursuit is None or own.is_over]
        for name in (*over, *(name for name, _, _ in plan.given_up)):
            self._own.pop(name, None)
        for _, entry, reason in plan.given_up:
            self._pursuer.give_up(entry.handle, reason)
        for name, entry in plan.taken.items():
            pursuit = self._pursuer.take_over(entry.handle)
            self._own[name] = _Own(entry, pursuit or asyncio.ensure_future(asyncio.sleep(0)))  # none: over, and removed

    async def _within(self, work: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(work, _CALL_LIMIT_S)
        except (asyncio.TimeoutError, TimeoutError):
            raise StoreUnavailable(f"the store of {self.uri} did not answer within {_CALL_LIMIT_S:g} s") from None
