"""What a store promises, whichever it is.

An object is small, is read and written whole, and is never seen half written. Every version of an object has a tag.
`create` and `replace` are the two conditional writes that submission records stand on: of any number of writers that
race for one version, in this process or another, exactly one wins.

Three answers, three meanings:

* a tag: the write is in place, and this is its version;
* None: it is not, since something else is there (or nothing is left to replace);
* `StoreUnavailable`: it may or may not be in place. Whoever asks again may then meet their own write and be told None:
  bytes that no other writer would write (a random id of the process among them) tell the two apart when read back.

A tag stands for content as much as for a version: local paths and S3 give equal bytes equal tags. A writer that must
notice "changed and changed back" puts something into the bytes that never repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """An object with the tag of the version that was read.

    Attributes:
        data: The whole object.
        tag: Opaque, never empty; good for `replace` of the same URI only.
    """

    data: bytes
    tag: str


class Store(Protocol):
    """Reads and writes small objects by URI. Everything but "not there" raises `StoreUnavailable`."""

    async def read(self, uri: str) -> bytes | None:
        """Return an object's bytes, or None when it is not there."""
        ...

    async def read_tagged(self, uri: str) -> Stored | None:
        """Return an object and the tag of its version, or None when it is not there."""
        ...

    async def write(self, uri: str, data: bytes) -> None:
        """Write an object, replacing what was there."""
        ...

    async def create(self, uri: str, data: bytes) -> str | None:
        """Write an object where nothing is; return its tag, or None when something is there already."""
        ...

    async def replace(self, uri: str, data: bytes, tag: str) -> str | None:
        """Write an object over the version of that tag; return the new tag, or None when it changed or vanished."""
        ...

    async def copy(self, source: str, target: str) -> bool:
        """Copy an object over whatever is at the target; return False when the source is not there."""
        ...

    async def exists(self, uri: str) -> bool:
        """Tell whether an object is there."""
        ...

    async def delete(self, uri: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        ...
