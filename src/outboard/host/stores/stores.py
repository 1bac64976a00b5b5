"""Finds the place of a URI, and says in words what went wrong there.

A place is one bucket, the memory of one `Stores`, or all local paths; each is opened when it is first asked for. "Not
there" is an answer. Everything else is `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from outboard.errors import StoreUnavailable
from outboard.host.stores.port import Stored

_LOCAL: Final = ("", "file")
_CLOUD: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
SCHEMES: Final = frozenset({*_LOCAL, *_CLOUD, "memory"})
"""What a URI may begin with; "" is a path."""


class Place(Protocol):
    """Where objects lie by path. What goes wrong is raised as it comes."""

    async def read(self, path: str) -> Stored | None:
        """Return the object; its tag is empty where the place has none."""
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Write the object."""
        ...

    async def swap(self, path: str, data: bytes, tag: str | None) -> str | None:
        """Write the object if its tag is this one (None: if nothing is there); return the new tag, or None."""
        ...

    async def copy(self, source: str, target: str) -> bool:
        """Copy the object; return False when it is not there."""
        ...

    async def exists(self, path: str) -> bool:
        """Tell whether the object is there."""
        ...

    async def delete(self, path: str) -> None:
        """Delete the object if it is there."""
        ...

    async def written_at(self, path: str) -> datetime | None:
        """Return when the object was written, by the place's own clock; None when it is not there."""
        ...


class Stores:
    """Reads and writes small objects by URI or local path, as `port.Store` promises.

    A store that does not answer holds nobody up for long: a request gets 10 s and a call about 30 s, all tries
    included (a read or plain write of a large object may take 30 s for each of its requests).
    """

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    async def read(self, uri: str) -> bytes | None:
        """Return an object's bytes, or None when it is not there."""
        with _in_words("read", uri):
            place, path = self._locate(uri)
            stored = await place.read(path)
        return None if stored is None else stored.data

    async def read_tagged(self, uri: str) -> Stored | None:
        """Return an object and the tag of its version, or None when it is not there."""
        with _in_words("read", uri):
            place, path = self._locate(uri)
            stored = await place.read(path)
        if stored is not None:
            _require_tag(uri, stored.tag)
        return stored

    async def write(self, uri: str, data: bytes) -> None:
        """Write an object, replacing what was there; local directories are made."""
        with _in_words("write", uri):
            place, path = self._locate(uri)
            await place.write(path, data)

    async def create(self, uri: str, data: bytes) -> str | None:
        """Write an object where nothing is; return its tag, or None when something is there already.

        A try whose fate is unknown (a lost reply, a 5xx) is followed by a look: bytes equal to ours are taken for
        ours. So None is never this call's own write, as long as no other writer writes the same bytes. After
        `StoreUnavailable` the object may be there all the same; a second call may then answer None about the first
        one's write, which reading back tells.
        """
        return await self._swap("create", uri, data, None)

    async def replace(self, uri: str, data: bytes, tag: str) -> str | None:
        """Write an object over the version of that tag; return the new tag, or None when it changed or vanished.

        What `create` says about tries whose fate is unknown holds here too.
        """
        return await self._swap("replace", uri, data, tag)

    async def copy(self, source: str, target: str) -> bool:
        """Copy an object over whatever is at the target; return False when the source is not there.

        Within one bucket the store copies; between two places the object passes through this process.
        """
        with _in_words("copy", source, target):
            place, path = self._locate(source)
            other, other_path = self._locate(target)
            if place is other:
                return await place.copy(path, other_path)
            stored = await place.read(path)
            if stored is None:
                return False
            await other.write(other_path, stored.data)
        return True

    async def exists(self, uri: str) -> bool:
        """Tell whether an object is there."""
        with _in_words("read", uri):
            place, path = self._locate(uri)
            return await place.exists(path)

    async def delete(self, uri: str) -> None:
        """Delete an object; one that is not there is as good as deleted."""
        with _in_words("delete", uri):
            place, path = self._locate(uri)
            await place.delete(path)

    async def written_at(self, uri: str) -> datetime | None:
        """Return when an object was written, in UTC and by the clock of whoever keeps it; None when it is not there."""
        with _in_words("read", uri):
            place, path = self._locate(uri)
            return await place.written_at(path)

    async def _swap(self, verb: str, uri: str, data: bytes, tag: str | None) -> str | None:
        with _in_words(verb, uri):
            place, path = self._locate(uri)
            new = await place.swap(path, data, tag)
        if new is not None:
            _require_tag(uri, new)
        return new

    def _locate(self, uri: str) -> tuple[Place, str]:
        # Imported here: whoever only reads and writes local paths pays for neither obstore nor its wrapper.
        parts = urlsplit(uri)
        if parts.scheme in _LOCAL:
            from outboard.host.stores.paths import LocalPaths  # noqa: PLC0415 - the two kinds are symmetrical

            return self._opened("file://", LocalPaths), str(Path(parts.path if parts.scheme else uri).absolute())
        from outboard.host.stores.buckets import open_bucket, open_memory  # noqa: PLC0415 - obstore: 12 ms and 10 MB

        if parts.scheme == "memory":
            return self._opened("memory://", open_memory), f"{parts.netloc}{parts.path}".strip("/")
        if parts.scheme not in _CLOUD:
            raise ValueError(f"{parts.scheme}:// is not supported; use a path, s3://, gs://, az:// or memory://")
        bucket = f"{_CLOUD[parts.scheme]}://{parts.netloc}"
        return self._opened(bucket, lambda: open_bucket(bucket)), parts.path.lstrip("/")

    def _opened(self, name: str, opened: Callable[[], Place]) -> Place:
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = opened()
        return place


def join_uri(prefix: str, *names: str) -> str:
    """Return the URI of something below a prefix.

    >>> join_uri("s3://bucket/out/", "outputs.pb")
    's3://bucket/out/outputs.pb'
    """
    return "/".join((prefix.rstrip("/"), *names))


def _require_tag(uri: str, tag: str) -> None:
    if not tag:
        raise StoreUnavailable(f"cannot tell the versions of {uri} apart: the store sends no ETag; use one that does")


@contextmanager
def _in_words(verb: str, *uris: str) -> Iterator[None]:
    try:
        yield
    except StoreUnavailable:
        raise
    except NotImplementedError as error:
        # The condition is what counts: to write without it could start a job twice.
        raise StoreUnavailable(
            f"cannot {verb} {uris[0]}: {error}; use a store with conditional writes (If-None-Match and If-Match), "
            "or a newer release of this one"
        ) from error
    except Exception as error:
        # obstore appends its configuration to messages: only the first line is for people.
        words = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise StoreUnavailable(
            f"cannot {verb} {' to '.join(uris)}: {words}; check that the place exists and that this process may use it"
        ) from error
