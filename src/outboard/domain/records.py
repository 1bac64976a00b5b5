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

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

import ormsgpack
from typing_extensions import Self

from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.seals import Envelope, ServiceKey
from outboard.domain.statuses import Cause, Ending
from outboard.errors import ForeignHandle, UnreadableHandle

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
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = deflate.compress(ormsgpack.packb(_fields_of(record))) + deflate.flush()
        return self._envelope.frame(body, bound_to=record.key.text.encode())

    def decode(self, encoded: bytes, key: Key) -> Record:
        """Return the record of `key` in these bytes.

        Raises:
            ForeignHandle: They are not the record of this key.
            UnreadableHandle: They are ours, but of a newer format or sealed with a key that this process lacks.
        """
        body = self._envelope.open(encoded, bound_to=key.text.encode())
        try:
            inflate = zlib.decompressobj(-15)
            packed = inflate.decompress(body, _INFLATED_LIMIT)
            if not inflate.eof or inflate.unused_data:
                raise ForeignHandle(_FOREIGN)
            record = _record(ormsgpack.unpackb(packed))
        except (zlib.error, ValueError, TypeError, LookupError):
            raise ForeignHandle(_FOREIGN) from None
        if record.key != key:
            raise ForeignHandle(_FOREIGN)
        return record


def _fields_of(record: Record) -> dict[str, Any]:
    end = record.ending
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
        "end": [end.phase.value, end.code, end.message, end.cause.value] if end else None,
        "request": record.request,
    }
    return {name: value for name, value in fields.items() if value}


def _record(fields: Mapping[str, Any]) -> Record:
    end = fields.get("end")
    _refuse_unknown(Stage, fields["stage"])
    if end is not None:
        _refuse_unknown(Phase, end[0])
        _refuse_unknown(Cause, end[3])
    return Record(
        key=Key.parse(_of(str, fields["key"])),
        stage=Stage(fields["stage"]),
        claim=_of(str, fields.get("claim", "")),
        turn=_of(int, fields.get("turn", 0)),
        created_at=_of(int, fields.get("created", 0)),
        release=_of(str, fields.get("release", "")),
        may_have_arrived=_of(bool, fields.get("arrived", False)),
        is_cancelled=_of(bool, fields.get("cancelled", False)),
        refusals=_of(int, fields.get("refusals", 0)),
        handle=_of(bytes, fields.get("handle", b"")),
        ending=None
        if end is None
        else Ending(phase=Phase(end[0]), code=_of(str, end[1]), message=_of(str, end[2]), cause=Cause(end[3])),
        request=_of(bytes, fields.get("request", b"")),
    )


def _of(expected: type, value: Any) -> Any:
    if not isinstance(value, expected):
        raise TypeError
    return value


def _refuse_unknown(words: type[Enum], word: object) -> None:
    try:
        words(word)
    except ValueError:
        raise UnreadableHandle(
            "this record was written by a newer release; another replica or an upgrade will read it"
        ) from None
