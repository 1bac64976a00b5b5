"""Packing: how the fields of what travels become few bytes, and come back without trust.

Handles, submission records and lists of owed cancels travel in envelopes (see `seals`). What lies in each is raw-deflated
msgpack, written here and read here. Nothing that is read is believed: an envelope may be unsealed, so a body inflates up
to a bound only, and every field is of the type that it should be or nothing is read at all.

Reading raises whatever Python raises over values of another form; `MALFORMED` names all of it, for the one who knows
whose bytes they are.
"""

from __future__ import annotations

import zlib
from enum import Enum
from typing import Any, Final, TypeVar

import ormsgpack

from outboard.domain.phases import Phase
from outboard.domain.seals import NEWER
from outboard.domain.statuses import Cause, Ending
from outboard.errors import UnreadableHandle

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=Enum)

MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError)
"""What reading a body, and the fields in it, may raise; errors of our own tree apart."""
_RAW: Final = -15
"""Deflate without zlib's header and checksum, with the largest window."""


def deflate(plain: bytes, level: int = 6) -> bytes:
    """Return bytes deflated."""
    deflating = zlib.compressobj(level, zlib.DEFLATED, _RAW)
    return deflating.compress(plain) + deflating.flush()


def pack(fields: object) -> bytes:
    """Return plain values as a body."""
    return deflate(ormsgpack.packb(fields))


def unpack(body: bytes, limit: int) -> Any:
    """Return the values in a body.

    Args:
        body: What `pack` returned, or so it is said.
        limit: The most bytes that it may inflate to.

    Raises:
        ValueError: It is no body, or inflates to more.
    """
    inflating = zlib.decompressobj(_RAW)
    try:
        packed = inflating.decompress(body, limit)
    except zlib.error as error:
        raise ValueError("not deflated") from error
    if not inflating.eof or inflating.unused_data:
        raise ValueError("inflates to more than it may, or ends early or late")
    return ormsgpack.unpackb(packed)


def of(expected: type[T], value: object) -> T:
    """Return a value of the expected type; `TypeError` for any other."""
    if not isinstance(value, expected):
        raise TypeError
    return value


def word_of(words: type[EnumT], value: object) -> EnumT:
    """Return a word; `UnreadableHandle` for one that only a newer release can have written."""
    try:
        return words(value)
    except ValueError:
        raise UnreadableHandle(NEWER) from None


def pack_ending(ending: Ending) -> list[str]:
    """Return how a task ended as plain values."""
    return [ending.phase.value, ending.code, ending.message, ending.cause.value]


def unpack_ending(packed: Any) -> Ending:
    """Return the ending in plain values; raises one of `MALFORMED`, or `UnreadableHandle` as `word_of` does."""
    phase, code, message, cause = packed
    return Ending(
        phase=word_of(Phase, phase), code=of(str, code), message=of(str, message), cause=word_of(Cause, cause)
    )
