"""Submission records: how replicas agree who submits, and what came of it.

One small object per key, beside the attempt's outputs. It is created by a conditional put and changed only by
compare-and-swap, so of two replicas one wins and the other learns what the winner wrote::

    (nothing) ──claim──> CLAIMED ──────> SUBMITTED ──> ENDED
                            │ └──────────────────────────^   refused, never started, outcome unknown
                            └ renewed, taken over: the same stage, another claim

A cancel sets a mark in any stage; where nothing was claimed yet it creates the record as ENDED, and nobody submits.

A record is an envelope (see `seals`) with the magic `FF 4F 52` around raw-deflated msgpack, bound to its key, so that
one copied to another key's place does not open. Fields are read by name; unknown ones are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from typing_extensions import Self

from outboard.domain.keys import Key
from outboard.domain.packing import MALFORMED, of, pack, pack_ending, unpack, unpack_ending, word_of
from outboard.domain.seals import Envelope, ServiceKey
from outboard.domain.statuses import Ending
from outboard.errors import ForeignHandle

_MAGIC: Final = b"\xffOR"
_FOREIGN: Final = "this is not the submission record of this key; whoever may write there has replaced it"
_INFLATED_LIMIT: Final = 128 * 1024 * 1024


class Stage(str, Enum):
    """How far a submission is."""

    CLAIMED = "claimed"
    SUBMITTED = "submitted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the replicas know of one key.

    Attributes:
        key: The submission key.
        stage: How far it is.
        claim: Random name of the process that submits; empty when it gave the submission back.
        turn: How often the claim was renewed or taken over: whoever waits for a silent claimant waits anew.
        created_at: Unix seconds of the first claim.
        release: The release that wrote the request; an older one does not submit it.
        may_have_arrived: A create was, or is about to be, sent.
        is_cancelled: Nobody may submit any more; a job that exists is to be stopped.
        refusals: How many cancels were answered with an error.
        handle: The job's handle.
        ending: How the task ended.
        request: The request as the engine sent it (a serialized CreateTaskRequest), for whoever takes over.
    """

    key: Key
    stage: Stage
    claim: str = ""
    turn: int = 0
    created_at: int = 0
    release: str = ""
    may_have_arrived: bool = False
    is_cancelled: bool = False
    refusals: int = 0
    handle: bytes = b""
    ending: Ending | None = None
    request: bytes = b""

    def renewed(self, claim: str, *, may_have_arrived: bool) -> Self:
        """Return the record with the claim of a process that goes on with the submission."""
        return replace(self, claim=claim, turn=self.turn + 1, may_have_arrived=may_have_arrived)

    def submitted(self, handle: bytes) -> Self:
        """Return the record with its job."""
        return replace(self, stage=Stage.SUBMITTED, handle=handle, request=b"")

    def ended(self, ending: Ending) -> Self:
        """Return the record with its end."""
        return replace(self, stage=Stage.ENDED, ending=ending, request=b"")

    def cancelled(self) -> Self:
        """Return the record with the cancel mark."""
        return replace(self, is_cancelled=True)


class RecordCodec:
    """Turns records into bytes and back.

    Args:
        service_keys: The key to seal with, followed by older keys that are still read.
        accepts_clear: Read records that are not sealed although there is a key.

    >>> from outboard.domain.keys import Key
    >>> record = Record(key=Key("ob-f-n0-0-" + "a" * 26), stage=Stage.CLAIMED, claim="c0ffee")
    >>> codec = RecordCodec()
    >>> codec.decode(codec.encode(record), record.key) == record
    True
    """

    __slots__ = ("_envelope",)

    def __init__(self, service_keys: Sequence[ServiceKey] = (), *, accepts_clear: bool = False) -> None:
        self._envelope = Envelope(_MAGIC, _FOREIGN, service_keys, accepts_clear=accepts_clear)

    def encode(self, record: Record) -> bytes:
        """Return a record's bytes."""
        return self._envelope.frame(pack(_fields_of(record)), bound_to=record.key.text.encode())

    def decode(self, encoded: bytes, key: Key) -> Record:
        """Return the record of `key` in these bytes.

        Raises:
            ForeignHandle: They are not the record of this key.
            UnreadableHandle: They are ours, but of a newer format or sealed with a key that this process lacks.
        """
        body = self._envelope.open(encoded, bound_to=key.text.encode())
        try:
            record = _record(unpack(body, _INFLATED_LIMIT))
        except MALFORMED:
            raise ForeignHandle(_FOREIGN) from None
        if record.key != key:
            raise ForeignHandle(_FOREIGN)
        return record


def _fields_of(record: Record) -> dict[str, Any]:
    fields = {
        "key": record.key.text,
        "stage": record.stage.value,
        "claim": record.claim,
        "turn": record.turn,
        "created": record.created_at,
        "release": record.release,
        "arrived": record.may_have_arrived,
        "cancelled": record.is_cancelled,
        "refusals": record.refusals,
        "handle": record.handle,
        "end": pack_ending(record.ending) if record.ending else None,
        "request": record.request,
    }
    return {name: value for name, value in fields.items() if value}


def _record(fields: Mapping[str, Any]) -> Record:
    end = fields.get("end")
    stage = word_of(Stage, fields["stage"])
    return Record(
        key=Key.parse(of(str, fields["key"])),
        stage=stage,
        claim=of(str, fields.get("claim", "")),
        turn=of(int, fields.get("turn", 0)),
        created_at=of(int, fields.get("created", 0)),
        release=of(str, fields.get("release", "")),
        may_have_arrived=of(bool, fields.get("arrived", False)),
        is_cancelled=of(bool, fields.get("cancelled", False)),
        refusals=of(int, fields.get("refusals", 0)),
        handle=of(bytes, fields.get("handle", b"")),
        ending=None if end is None else unpack_ending(end),
        request=of(bytes, fields.get("request", b"")),
    )
