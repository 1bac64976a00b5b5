"""Owed cancels in the object store: who pursues which, so that another process goes on when this one ends.

A cancel that is not confirmed within some seconds is entered into a list that all replicas share (see `domain.owed`):
`<settings.records>/owed-<installation>`, or where none is configured `.outboard/owed-<installation>` in the bucket of the
task's outputs. Local paths have none: there the engine is on the same machine, and its journal repeats what is owed.

A process learns of places from its settings and from the handles and requests it sees. Each minute it reads every one of
them (one small GET), renews what it pursues, removes what is over, and takes over what nobody pursues: what was given
back, and what had no new turn for 150 s on this process's own clock. The list changes by compare-and-swap alone, and a
process has one swap in flight per place: whoever comes meanwhile goes with the next one. Nothing breaks where the store
is down: the pursuits go on, and what they are is written down as soon as it answers.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field, replace
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from outboard.domain.owed import OwedCancel, OwedCodec, crowded_out
from outboard.errors import ForeignHandle, OutboardError, StoreUnavailable
from outboard.host.logs import TaskLog
from outboard.host.records import FOLDER
from outboard.host.stores import SCHEMES, Store, join_uri

_READ_S: Final = 60.0
_SILENT_S: Final = 150.0
"""Two turns and some: a claimant this silent is gone."""
_OWED_FOR_S: Final = 86_400.0
_CALL_LIMIT_S: Final = 10.0
_REST_S: Final = 15.0
_SWAPS: Final = 30
_MOST_PLACES: Final = 16
_NO_BUCKETS: Final = ("", "file")


class Pursuer(Protocol):
    """Sees to the end of jobs; `host.cancellations`."""

    def can_pursue(self, encoded: bytes) -> bool:
        """Tell whether this process can read a handle."""
        ...

    def pursue(self, encoded: bytes) -> asyncio.Task[None] | None:
        """See to the end of a handle's job; None where there is nothing to do."""
        ...

    def raise_alarm(self, encoded: bytes, reason: str) -> None:
        """Tell an operator that a cancel is given up."""
        ...


@dataclass(slots=True)
class _Own:
    """What this process owes: over when its pursuit is, and given back at once without one."""

    entry: OwedCancel
    pursuit: asyncio.Task[None] | None

    @property
    def is_over(self) -> bool:
        return self.pursuit is not None and self.pursuit.done()


@dataclass(slots=True)
class _Place:
    """One list, and what this process knows of it.

    Attributes:
        own: What this process owes, by the names of the entries.
        seen: Claim and turn of each entry as seen last, and the monotonic time of the first sight of that.
        wanted, written: How often `own` changed, and as of which change it is in the list.
        rest_until: Monotonic time before which the store is left alone.
    """

    uri: str
    own: dict[str, _Own] = field(default_factory=dict)
    seen: dict[str, tuple[tuple[str, int], float]] = field(default_factory=dict)
    swapping: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0
    written: int = 0
    rest_until: float = 0.0
    is_told: bool = False


@dataclass(slots=True)
class _Plan:
    """What becomes of a list: its entries then, those to be pursued here from now on, and those given up, with why."""

    entries: dict[str, OwedCancel] = field(default_factory=dict)
    taken: dict[str, OwedCancel] = field(default_factory=dict)
    given_up: dict[str, tuple[OwedCancel, str]] = field(default_factory=dict)


class OwedCancels:
    """The cancels that this process and the other replicas owe.

    Args:
        stores: The object stores.
        codec: Seals and opens lists.
        claim: The random name of this process.
        installation: Part of the lists' names.
        records: Where all records go; empty: beside their outputs.
    """

    def __init__(self, stores: Store, codec: OwedCodec, claim: str, *, installation: str, records: str = "") -> None:
        self._stores = stores
        self._codec = codec
        self._claim = claim
        self._name = "owed-" + quote(installation, safe="")
        self._records = records
        self._places: dict[str, _Place] = {}
        self._pursuer: Pursuer | None = None
        self._reading: asyncio.Task[None] | None = None
        self._is_handing_back = False

    def report_to(self, pursuer: Pursuer) -> None:
        """Say who pursues what is taken over."""
        self._pursuer = pursuer

    def learn(self, output_prefix: str = "") -> None:
        """Watch the place where cancels of tasks with this output prefix are owed, from now on."""
        place = self._place(output_prefix)
        if place is not None and self._reading is None and not self._is_handing_back:
            try:
                self._reading = asyncio.get_running_loop().create_task(self._read())
            except RuntimeError:
                return  # no loop yet: the next call begins it

    def add(self, name: str, encoded: bytes, output_prefix: str, pursuit: asyncio.Task[None] | None) -> None:
        """Enter a cancel at the next opportunity; without a `pursuit` it is another replica's from the beginning."""
        place = self._place(output_prefix)
        if place is None and pursuit is None:
            place = next(reversed(self._places.values()), None)  # its own place is not known; any that others read will do
        if place is not None and name not in place.own:
            place.own[name] = _Own(OwedCancel(handle=encoded, since=int(time.time())), pursuit)
            place.wanted += 1

    async def settle(self, limit_s: float) -> None:
        """Write down what was entered, as far as that can be done in time; never raises."""
        due = [place for place in self._places.values() if place.wanted > place.written]
        if due:
            writing = asyncio.gather(*(self._write(place) for place in due))
            try:
                await asyncio.wait_for(writing, max(0.0, limit_s))
            except (asyncio.TimeoutError, TimeoutError):
                return  # the next reading writes it

    async def hand_back(self, limit_s: float) -> None:
        """Give back all that this process owes; nothing is read or taken over from now on."""
        if self._reading is not None:
            self._reading.cancel()
        if not self._is_handing_back:
            self._is_handing_back = True
            for place in self._places.values():
                place.wanted += bool(place.own)
        await self.settle(limit_s)

    async def close(self) -> None:
        """Read no more."""
        self._is_handing_back = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _place(self, output_prefix: str) -> _Place | None:
        uri = self._uri(output_prefix)
        if uri is None:
            return None
        place = self._places.pop(uri, None) or _Place(uri)
        self._places[uri] = place  # the latest is the last
        if len(self._places) > _MOST_PLACES:
            idle = next((known.uri for known in self._places.values() if not known.own), None)
            self._places.pop(idle or next(iter(self._places)))
        return place

    def _uri(self, output_prefix: str) -> str | None:
        if self._records:
            return join_uri(self._records, self._name)
        parts = urlsplit(output_prefix)
        if parts.scheme in _NO_BUCKETS or parts.scheme not in SCHEMES or not parts.netloc:
            return None
        return join_uri(f"{parts.scheme}://{parts.netloc}", FOLDER, self._name)

    async def _read(self) -> None:
        pause_s = _READ_S * random.uniform(0.1, 1.0)  # noqa: S311 - replicas that start together do not read in step
        while True:
            await asyncio.sleep(pause_s)
            for place in self._places.values():
                place.wanted += 1
            await self.settle(_READ_S)
            pause_s = _READ_S * random.uniform(0.75, 1.25)  # noqa: S311 - the same

    async def _write(self, place: _Place) -> None:
        """Bring the list up to what is wanted now, unless another call has done so meanwhile."""
        wanted = place.wanted
        async with place.swapping:
            if place.written >= wanted or time.monotonic() < place.rest_until:
                return
            wanted = place.wanted
            try:
                plan = await self._swap(place)
            except OutboardError as error:
                place.seen.clear()  # silence is counted only while the store answers
                place.rest_until = time.monotonic() + _REST_S
                if not place.is_told:
                    place.is_told = True
                    TaskLog().error("owed cancels not shared", place=place.uri, reason=error.message)
                return
            place.written, place.is_told = wanted, False
            self._carry_out(place, plan)

    async def _swap(self, place: _Place) -> _Plan:
        for _ in range(_SWAPS):
            found = await _within(place.uri, self._stores.read_tagged(place.uri))
            entries = {} if found is None else self._opened(place, found.data)
            plan = self._plan(place, entries)
            if plan.entries == entries:
                return plan
            encoded = self._codec.encode(plan.entries)
            swap = (
                self._stores.create(place.uri, encoded)
                if found is None
                else self._stores.replace(place.uri, encoded, found.tag)
            )
            if await _within(place.uri, swap) is not None:
                return plan
            await asyncio.sleep(random.uniform(0.02, 0.5))  # noqa: S311 - those that met do not meet again
        raise StoreUnavailable(f"the owed cancels at {place.uri} are changed by others all the time")

    def _opened(self, place: _Place, encoded: bytes) -> dict[str, OwedCancel]:
        try:
            return self._codec.decode(encoded)
        except ForeignHandle as error:
            TaskLog().error("owed cancels are begun anew", place=place.uri, reason=error.message)
            return {}

    def _plan(self, place: _Place, entries: dict[str, OwedCancel]) -> _Plan:
        plan, now = _Plan(), time.time()
        place.seen = {name: seen for name, seen in place.seen.items() if name in entries}
        for name, entry in entries.items():
            own = place.own.get(name)
            is_free = entry.claim in ("", self._claim) or self._is_silent(place, name, entry)
            if now - entry.since > _OWED_FOR_S:
                plan.given_up[name] = entry, "it was tried for a day"
            elif not is_free:
                plan.entries[name] = entry
            elif own is None:
                plan.entries[name] = self._taken(plan, name, entry)
            elif not own.is_over:
                plan.entries[name] = self._claimed(entry, own)
        for name, own in place.own.items():
            if name not in entries and not own.is_over:
                plan.entries[name] = self._claimed(own.entry, own)
        for name in crowded_out(plan.entries):
            plan.given_up[name] = plan.entries.pop(name), "too many cancels are owed"
        return plan

    def _is_silent(self, place: _Place, name: str, entry: OwedCancel) -> bool:
        mark, now = (entry.claim, entry.turn), time.monotonic()
        known, since = place.seen.get(name, (None, now))
        if known != mark:
            place.seen[name] = mark, now
            return False
        return now - since >= _SILENT_S

    def _taken(self, plan: _Plan, name: str, entry: OwedCancel) -> OwedCancel:
        if self._is_handing_back or self._pursuer is None or not self._pursuer.can_pursue(entry.handle):
            return entry  # for others
        plan.taken[name] = entry = replace(entry, claim=self._claim, turn=entry.turn + 1)
        return entry

    def _claimed(self, entry: OwedCancel, own: _Own) -> OwedCancel:
        """Return an entry as this process claims it, or gives it back."""
        if self._is_handing_back or own.pursuit is None:
            return replace(entry, claim="")
        return replace(entry, claim=self._claim, turn=entry.turn + 1)

    def _carry_out(self, place: _Place, plan: _Plan) -> None:
        """Do what goes with a list that is in place now."""
        if self._pursuer is None:
            return
        for name, own in list(place.own.items()):
            if own.is_over or own.pursuit is None or name in plan.given_up:
                del place.own[name]
        for entry, reason in plan.given_up.values():
            self._pursuer.raise_alarm(entry.handle, reason)
        for name, entry in plan.taken.items():
            pursuit = self._pursuer.pursue(entry.handle)
            if pursuit is None:
                pursuit = asyncio.get_running_loop().create_task(_nothing())  # over: the next swap removes it
            place.own[name] = _Own(entry, pursuit)


async def _nothing() -> None:
    return


async def _within(uri: str, work: object) -> object:
    raise NotImplementedError
