"""An object store in memory, with the methods of `outboard.host.stores.Stores` and the faults of a real one.

Replicas share one `MemoryStores`. Each operation has two halves, as every request to a store has: it travels there and
takes effect, and its answer travels back. A caller that dies in between leaves the effect behind. Conditional writes
(`create`, `replace`) are atomic. Tags go by content, as those of S3 and of local paths: equal bytes have equal tags.

What a fault does is chosen per operation by `schedule` (seeded: `random_faults`); outages are switched by attributes.
The meanest one is `Fault.REPEATED`: the reply is lost, the store's client repeats the request by itself, as those of all
clouds do, and meets its own write; a conditional write is then refused although it took effect.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Final, TypeVar

from outboard.errors import StoreUnavailable
from outboard.host.stores import Stored
from outboard.testing.processes import outside

T = TypeVar("T")

READS: Final = frozenset({"read", "read_tagged", "exists"})
"""The operations that change nothing; `copy` reads and writes."""


class Fault(str, Enum):
    """What happens to one operation."""

    NONE = "none"
    LOST = "lost"
    """It never arrives: no effect, `StoreUnavailable`."""
    REPLY_LOST = "reply lost"
    """It takes effect; the caller gets `StoreUnavailable`."""
    REPEATED = "repeated"
    """It takes effect, and is sent once more by the store's own client; the caller gets the second answer."""


Schedule = Callable[[str, str], Fault]
"""Chooses the fault of an operation (its method's name) on a URI."""


class MemoryStores:
    """Objects by URI, shared by replicas.

    Attributes:
        reads_down: Reads fail with `StoreUnavailable`.
        writes_down: Writes and deletes do, without effect.
        latency_s: How long an operation takes in virtual seconds; the effect comes half-way.
        schedule: Chooses each operation's fault.
        calls: How often each operation was asked for, faults included.
        written: How often each URI was really changed.

    >>> from outboard.testing.virtual_time import run_virtually
    >>> async def twice() -> list[bool]:
    ...     stores = MemoryStores()
    ...     return [await stores.create("s3://b/x", b"1") is not None for _ in range(2)]
    >>> run_virtually(twice)
    [True, False]
    """

    def __init__(self, *, latency_s: float = 0.0, schedule: Schedule | None = None) -> None:
        self.reads_down = False
        self.writes_down = False
        self.latency_s = latency_s
        self.schedule = schedule
        self.calls: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self._objects: dict[str, Stored] = {}

    @property
    def down(self) -> bool:
        """Whether nothing can be done; set it to begin or end an outage."""
        return self.reads_down and self.writes_down

    @down.setter
    def down(self, is_down: bool) -> None:
        self.reads_down = self.writes_down = is_down

    def uris(self) -> list[str]:
        """Return what is there, as a test looks at it: at once and without faults."""
        return sorted(self._objects)

    def peek(self, uri: str) -> bytes | None:
        """Return an object's bytes, as a test looks at it."""
        found = self._objects.get(_place(uri))
        return found.data if found else None

    def plant(self, uri: str, data: bytes) -> str:
        """Put an object there, as a job writes its outputs; return its tag."""
        return self._put(_place(uri), data)

    async def read(self, uri: str) -> bytes | None:
        """Return an object's bytes, or None when it is not there."""
        found = await self.read_tagged(uri, _as="read")
        return found.data if found else None

    async def read_tagged(self, uri: str, *, _as: str = "read_tagged") -> Stored | None:
        """Return an object and its tag, or None when it is not there."""
        return await self._do(_as, uri, lambda: self._objects.get(_place(uri)))

    async def exists(self, uri: str) -> bool:
        """Tell whether an object is there."""
        return await self._do("exists", uri, lambda: _place(uri) in self._objects)

    async def write(self, uri: str, data: bytes) -> None:
        """Write an object, replacing what was there."""
        await self._do("write", uri, lambda: self._put(_place(uri), data))

    async def delete(self, uri: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        await self._do("delete", uri, lambda: self._remove(_place(uri)))

    async def create(self, uri: str, data: bytes) -> str | None:
        """Write an object where none is; return its tag, or None when something is there."""
        place = _place(uri)
        return await self._do("create", uri, lambda: None if place in self._objects else self._put(place, data))

    async def replace(self, uri: str, data: bytes, tag: str) -> str | None:
        """Write an object if it still has this tag; return the new tag, or None when it has not."""
        place = _place(uri)

        def put() -> str | None:
            found = self._objects.get(place)
            return self._put(place, data) if found is not None and found.tag == tag else None

        return await self._do("replace", uri, put)

    async def copy(self, source: str, target: str) -> bool:
        """Copy an object; return whether there was one."""

        def put() -> bool:
            found = self._objects.get(_place(source))
            if found is not None:
                self._put(_place(target), found.data)
            return found is not None

        return await self._do("copy", target, put)

    async def _do(self, operation: str, uri: str, effect: Callable[[], T]) -> T:
        self.calls[operation] += 1
        fault = Fault.NONE if self.schedule is None else self.schedule(operation, uri)
        if not self.latency_s:
            return await self._serve(operation, uri, effect, fault)
        return await outside(self._serve(operation, uri, effect, fault))

    async def _serve(self, operation: str, uri: str, effect: Callable[[], T], fault: Fault) -> T:
        await asyncio.sleep(self.latency_s / 2)
        if fault is Fault.LOST or self._is_down(operation):
            raise _unavailable(operation, uri)
        answer = effect()
        if fault is Fault.REPEATED:
            answer = effect()
        await asyncio.sleep(self.latency_s / 2)
        if fault is Fault.REPLY_LOST:
            raise _unavailable(operation, uri)
        return answer

    def _is_down(self, operation: str) -> bool:
        reads = operation in READS or operation == "copy"
        writes = operation not in READS
        return (reads and self.reads_down) or (writes and self.writes_down)

    def _put(self, place: str, data: bytes) -> str:
        tag = hashlib.sha256(data).hexdigest()[:32]
        self._objects[place] = Stored(data=bytes(data), tag=tag)
        self.written[place] += 1
        return tag

    def _remove(self, place: str) -> None:
        if self._objects.pop(place, None) is not None:
            self.written[place] += 1


def random_faults(seed: int, *, lost: float = 0.0, reply_lost: float = 0.0, repeated: float = 0.0) -> Schedule:
    """Return a schedule that strikes by chance, the same for the same seed and order of operations.

    Args:
        seed: Of the choice.
        lost: The probability of `Fault.LOST`, from 0 to 1.
        reply_lost: The probability of `Fault.REPLY_LOST`.
        repeated: The probability of `Fault.REPEATED`.
    """
    source = random.Random(seed)  # noqa: S311 - a choice that can be repeated
    weights = (1.0 - lost - reply_lost - repeated, lost, reply_lost, repeated)

    def choose(operation: str, uri: str) -> Fault:  # noqa: ARG001 - blind chance
        return source.choices((Fault.NONE, Fault.LOST, Fault.REPLY_LOST, Fault.REPEATED), weights)[0]

    return choose


def _place(uri: str) -> str:
    return uri.rstrip("/")


def _unavailable(operation: str, uri: str) -> StoreUnavailable:
    return StoreUnavailable(f"cannot {operation} {uri}: the store is down; check that the place exists and may be used")
