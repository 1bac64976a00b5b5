"""A record that this replica cannot read yet is somebody's all the same: it is unreadable, never "replaced by a stranger"."""

from typing import Any

import pytest

from migration import frozen_0_1_0
from outboard.domain.keys import Key
from outboard.domain.records import RecordCodec, Stage
from outboard.errors import ForeignHandle, UnreadableHandle

KEY = Key("ob-exec-n0-0-" + "a" * 26)


def written(version: int = 1, mode: int = 0, **fields: Any) -> bytes:
    """A record that some release wrote."""
    return body_of({"key": KEY.text, "stage": "claimed", **fields}, version, mode)


def body_of(fields: object, version: int = 1, mode: int = 0) -> bytes:
    """What some release wrote where a record belongs."""
    import zlib

    import ormsgpack

    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = ormsgpack.packb(fields)
    return b"\xffOR" + bytes((version, mode)) + deflate.compress(packed) + deflate.flush()


@pytest.mark.parametrize(
    "record",
    [
        written(version=2),
        written(mode=2),
        written(stage="suspended"),
        written(stage="ended", end=["EVAPORATED", "", "", "user"]),
        written(stage="ended", end=["FAILED", "", "", "moon phase"]),
    ],
    ids=["format version", "mode", "stage", "phase", "cause"],
)
def test_a_record_of_the_future_is_unreadable_and_not_foreign(record: bytes) -> None:
    with pytest.raises(UnreadableHandle):
        RecordCodec().decode(record, KEY)


def test_what_a_later_release_adds_to_a_record_is_ignored() -> None:
    assert RecordCodec().decode(written(priority=3), KEY).stage is Stage.CLAIMED


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"\xffOR\x01\x00",
        frozen_0_1_0.write([]),
        written(key="ob-" + "b" * 26),
        written(turn="1"),
        written(end=["FAILED"]),
        written(end=7),
        body_of([KEY.text, "claimed"]),
    ],
    ids=[
        "empty",
        "header",
        "a handle",
        "another key's",
        "a field of another form",
        "half an end",
        "no end",
        "no fields",
    ],
)
def test_what_no_release_will_ever_read_is_foreign(record: bytes) -> None:
    with pytest.raises(ForeignHandle):
        RecordCodec().decode(record, KEY)
