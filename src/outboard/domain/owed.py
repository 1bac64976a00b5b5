r"""Owed cancels: what processes tell each other of cancels whose end is not confirmed yet.

One small object per place lists them. An entry has a claimant, the process that pursues it and shows so by a new turn
each minute; one without was given back. Whoever sees an entry that nobody pursues takes it over::

    (nothing) ──enter──> claimed ──renewed, each minute──> claimed ──over──> (nothing)
                            │  ^
                given back  v  │  taken over: when given back, or after 150 s without a new turn
                          (no claimant)

The object is an envelope (see `seals`) with the magic `FF 4F 57` around raw-deflated msgpack, bound to the installation.
Fields are read by name; unknown ones are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outboard.domain.packing import MALFORMED, of, pack, unpack
from outboard.domain.seals import Envelope, ServiceKey
from outboard.errors import ForeignHandle

MOST_ENTRIES: Final = 2_000
MOST_BYTES: Final = 1024 * 1024
_ENTRY_BYTES: Final = 160
"""What an entry takes beside its handle, at most: key, claimant, turn and time."""
_MAGIC: Final = b"\xffOW"
_FOREIGN: Final = "this is no list of owed cancels of this installation; whoever may write there has replaced it"
_INFLATED_LIMIT: Final = 8 * MOST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedCancel:
    """A cancel whose end is not confirmed.

    Attributes:
        handle: Of the task.
        claim: Random name of the process that pursues it; empty: given back.
        turn: How often the claim was renewed or taken over.
        since: Unix seconds of its entry.
    """

    handle: bytes
    claim: str = ""
    turn: int = 0
    since: int = 0


class OwedCodec:
    """Turns lists of owed cancels, by submission key, into bytes and back.

    Args:
        installation: Whose list it is; a sealed one opens for no other.
        service_keys: The key to seal with, followed by older keys that are still read.
        accepts_clear: Read lists that are not sealed although there is a key.

    >>> owed = {"ob-f-n0-0-" + "a" * 26: OwedCancel(handle=b"handle", claim="c0ffee", turn=3, since=1_900_000_000)}
    >>> codec = OwedCodec("prod")
    >>> codec.decode(codec.encode(owed)) == owed
    True
    """

    __slots__ = ("_bound_to", "_envelope")

    def __init__(
        self, installation: str, service_keys: Sequence[ServiceKey] = (), *, accepts_clear: bool = False
    ) -> None:
        self._bound_to = installation.encode(errors="surrogatepass")
        self._envelope = Envelope(_MAGIC, _FOREIGN, service_keys, accepts_clear=accepts_clear)

    def encode(self, owed: Mapping[str, OwedCancel]) -> bytes:
        """Return a list's bytes."""
        entries = {
            name: {"handle": entry.handle, "claim": entry.claim, "turn": entry.turn, "since": entry.since}
            for name, entry in owed.items()
        }
        return self._envelope.frame(pack({"entries": entries}), bound_to=self._bound_to)

    def decode(self, encoded: bytes) -> dict[str, OwedCancel]:
        """Return the list in these bytes.

        Raises:
            ForeignHandle: They are not a list of this installation.
            UnreadableHandle: They are, but of a newer format or sealed with a key that this process lacks.
        """
        body = self._envelope.open(encoded, bound_to=self._bound_to)
        try:
            entries = unpack(body, _INFLATED_LIMIT)["entries"]
            return {of(str, name): _entry(fields) for name, fields in entries.items()}
        except MALFORMED:
            raise ForeignHandle(_FOREIGN) from None


def crowded_out(owed: Mapping[str, OwedCancel]) -> list[str]:
    """Return which entries a list has no room for: the oldest, beyond 2,000 entries or 1 MiB.

    >>> crowded_out({"new": OwedCancel(handle=b"x" * 900_000, since=2), "old": OwedCancel(handle=b"x" * 900_000, since=1)})
    ['old']
    """
    youngest_first = sorted(owed, key=lambda name: owed[name].since, reverse=True)
    count = room = 0
    for name in youngest_first:
        room += len(owed[name].handle) + _ENTRY_BYTES
        if count >= MOST_ENTRIES or room > MOST_BYTES:
            break
        count += 1
    return youngest_first[count:]


def _entry(fields: Mapping[str, Any]) -> OwedCancel:
    return OwedCancel(
        handle=of(bytes, fields["handle"]),
        claim=of(str, fields.get("claim", "")),
        turn=of(int, fields.get("turn", 0)),
        since=of(int, fields.get("since", 0)),
    )
