"""Submission records in the engine's object store: read, claimed by a conditional put, moved by compare-and-swap.

There is one place per key, `<output prefix>/.outboard/<key>`, or `<settings.records>/<key>` where the operator
configured a bucket for them. Whoever knows a handle knows the place. A task without an output prefix has none, and
then only the process that took its CreateTask submits it.

A conditional write that was lost on its way back may have been applied: what is found afterwards is compared with what
was written, byte for byte; claims carry the random name of a process, so equal bytes are our own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

from outboard.domain.keys import Key
from outboard.domain.records import Record, RecordCodec
from outboard.errors import ForeignHandle, StoreUnavailable, UnreadableHandle
from outboard.host.stores import SCHEMES, Store, join_uri

FOLDER: Final = ".outboard"
_CALL_LIMIT_S: Final = 10.0
_REST_S: Final = 15.0
_SWAPS: Final = 50
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A record as it was read or written last.

    Attributes:
        record: What it says.
        place: Where it lies.
        tag: The store's name for this version of it.
    """

    record: Record
    place: str
    tag: str


class Records:
    """Reads and writes submission records. All methods raise `StoreUnavailable` when the store does not answer in time.

    Args:
        stores: The object stores.
        codec: Seals and opens records.
        root: Where all records go; empty puts each beside its attempt's outputs.
    """

    def __init__(self, stores: Store, codec: RecordCodec, root: str = "") -> None:
        self._stores = stores
        self._codec = codec
        self._root = root
        self._down_until: dict[str, float] = {}

    def place(self, output_prefix: str, key: Key) -> str | None:
        """Return where a key's record lies; None where there is no store for it."""
        if self._root:
            return join_uri(self._root, key.text)
        if not output_prefix or urlsplit(output_prefix).scheme not in SCHEMES:
            return None
        return join_uri(output_prefix, FOLDER, key.text)

    def is_down(self, place: str) -> bool:
        """Tell whether the place's store failed to answer a moment ago."""
        return self._down_until.get(_store_of(place), 0.0) > time.monotonic()

    async def read(self, place: str, key: Key, limit_s: float = _CALL_LIMIT_S) -> Held | None:
        """Return the key's record; None when there is none."""
        found = await self._within(place, self._stores.read_tagged(place), limit_s)
        if found is None:
            return None
        try:
            record = self._codec.decode(found.data, key)
        except (ForeignHandle, UnreadableHandle) as error:
            raise StoreUnavailable(f"the submission record {place} cannot be read: {error.message}") from None
        return Held(record=record, place=place, tag=found.tag)

    async def create(self, place: str, record: Record, limit_s: float = _CALL_LIMIT_S) -> Held | None:
        """Write a key's first record; None when there is one already, which is somebody else's."""
        encoded = self._codec.encode(record)
        tag = await self._within(place, self._stores.create(place, encoded), limit_s)
        return await self._confirmed(place, record, encoded, tag)

    async def replace(self, held: Held, record: Record) -> Held | None:
        """Write `record` in the place of `held`; None when somebody else was faster."""
        encoded = self._codec.encode(record)
        tag = await self._within(held.place, self._stores.replace(held.place, encoded, held.tag))
        return await self._confirmed(held.place, record, encoded, tag)

    async def change(self, place: str, key: Key, change: Callable[[Record | None], Record | None]) -> Held | None:
        """Apply a pure change to a key's record, again where somebody else was faster, and return the record then.

        Args:
            place: Where the record lies.
            key: Whose it is.
            change: What becomes of a record (None: there is none); None leaves it as it is.
        """
        for _ in range(_SWAPS):
            held = await self.read(place, key)
            wanted = change(held.record if held else None)
            if wanted is None:
                return held
            moved = await self.create(place, wanted) if held is None else await self.replace(held, wanted)
            if moved is not None:
                return moved
        raise StoreUnavailable(f"the submission record {place} is changed by others all the time; ask again")

    async def _confirmed(self, place: str, record: Record, encoded: bytes, tag: str | None) -> Held | None:
        if tag is None:
            found = await self._within(place, self._stores.read_tagged(place))
            if found is None or found.data != encoded:
                return None
            tag = found.tag
        return Held(record=record, place=place, tag=tag)

    async def _within(self, place: str, work: Awaitable[T], limit_s: float = _CALL_LIMIT_S) -> T:
        try:
            result = await asyncio.wait_for(work, limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            self._down_until[_store_of(place)] = time.monotonic() + _REST_S
            raise StoreUnavailable(f"the store of {place} did not answer within {limit_s:g} s") from None
        except StoreUnavailable:
            self._down_until[_store_of(place)] = time.monotonic() + _REST_S
            raise
        self._down_until.pop(_store_of(place), None)
        return result


def _store_of(place: str) -> str:
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc}"
