"""What a file sensor waits for: a file, a glob, or anything below a folder.

==========================  ============================================================================
`/data/day.csv`             the file; or, where that is a folder, anything below it
`s3://bucket/day/`          anything below it, however deep
`gs://bucket/day/*.csv`     `*` and `?` within one name, `[a-z]` one character, `**` across folders
==========================  ============================================================================

Local paths are absolute, since nobody knows the working directory of a service. An address names no host, no user and
no parent folder (`..`), so that what the operator allows by its beginning stays allowed by its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import unquote

from outboard.errors import InvalidInputs

LOCAL: Final = "file://"
CLOUDS: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "abfs": "abfs", "abfss": "abfss"}
"""Schemes as they are written, and as obstore opens them."""

_WILD: Final = re.compile(r"[*?\[]")
_ANY_DEPTH: Final = "**"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One place to look at.

    Attributes:
        store: What to open: `file://`, or a scheme and a bucket.
        folder: The folder that everything wanted lies in, without slashes around it; the file itself where it is one.
        glob: The parts that a path must match in full; None for an exact file or anything below `folder`.
        is_file: `folder` is the wanted file.
        is_deep: Folders within `folder` count too.
    """

    store: str
    folder: str
    glob: tuple[str, ...] | None = None
    is_file: bool = False
    is_deep: bool = True

    @property
    def text(self) -> str:
        """The address as it is compared with what the operator allows."""
        return f"/{self.folder}" if self.store == LOCAL else f"{self.store}/{self.folder}"

    def matches(self, path: str) -> bool:
        """Tell whether a path found below `folder` is wanted.

        All places in the glob that the path's parts can have reached are carried along, so no glob takes long.

        >>> parse_address("/data/**/day-?.csv").matches("data/2024/01/day-3.csv")
        True
        """
        if self.glob is None:
            return True
        places = self._skipped({0})
        for name in path.split("/"):
            places = self._skipped({after for place in places for after in self._step(place, name)})
        return len(self.glob) in places

    def _step(self, place: int, name: str) -> tuple[int, ...]:
        glob = self.glob or ()
        if place == len(glob):
            return ()
        if glob[place] == _ANY_DEPTH:
            return (place,)
        return (place + 1,) if fnmatchcase(name, glob[place]) else ()

    def _skipped(self, places: set[int]) -> set[int]:
        """The places, and those behind a `**` that stands for no folder at all."""
        glob, reached = self.glob or (), set(places)
        for place in sorted(places):
            while place < len(glob) and glob[place] == _ANY_DEPTH:
                place += 1  # noqa: PLW2901 - a walk from each place
                reached.add(place)
        return reached


def parse_address(text: str) -> Address:
    """Return what an address names.

    Raises:
        InvalidInputs: It names nothing that can be looked at; the message says how to write it.
    """
    store, path = _split(text)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _refusal("names a parent folder; write it without '..'")
    if not parts and (store == LOCAL or not path.endswith("/")):
        raise _refusal("names no file; add one, or end a bucket with '/' to wait for anything in it")
    wild = next((index for index, part in enumerate(parts) if _WILD.search(part)), None)
    if wild is None:
        return Address(store=store, folder="/".join(parts), is_file=not path.endswith("/"))
    glob = (*parts, _ANY_DEPTH) if path.endswith("/") else tuple(parts)
    is_deep = wild < len(glob) - 1 or _ANY_DEPTH in glob
    return Address(store=store, folder="/".join(parts[:wild]), glob=glob, is_deep=is_deep)


def is_allowed(place: str, roots: Sequence[str] | None) -> bool:
    """Tell whether a place lies in one of the roots; None allows everything, an empty list nothing.

    >>> is_allowed("/data/a.csv", ["/data/"]), is_allowed("/database/a.csv", ["/data"])
    (True, False)
    """
    if roots is None:
        return True
    return any(place == root or place.startswith(f"{root}/") for root in (each.rstrip("/") for each in roots))


def _split(text: str) -> tuple[str, str]:
    scheme, separator, rest = text.partition("://")
    if not separator:
        if not text.startswith("/"):
            raise _refusal("is a relative path; write an absolute one, or s3://, gs:// or az://")
        return LOCAL, text
    if scheme == "file":
        host, _, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise _refusal("names another machine; write file:///path")
        return LOCAL, "/" + unquote(path)
    if scheme not in CLOUDS:
        raise _refusal("has a scheme that no file sensor knows; write a path, s3://, gs:// or az://")
    bucket, _, path = rest.partition("/")
    if not bucket or (":" in bucket) or ("@" in bucket and CLOUDS[scheme] not in ("abfs", "abfss")):
        raise _refusal("names no bucket; write s3://bucket/path")
    return f"{CLOUDS[scheme]}://{bucket}", f"/{path}" if "/" in rest else ""


def _refusal(words: str) -> InvalidInputs:
    return InvalidInputs(f"the path {words}", field="inputs.path")
