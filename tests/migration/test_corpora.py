"""Handles and records of every release are read for ever: jobs are under way while services are upgraded.

`handles/<release>.json` and `records/<release>.json` hold what that release wrote, and what it means. A release adds its files
and never changes another's; see `corpora`.
"""

import base64
import zlib
from enum import Enum
from typing import Any

import ormsgpack
import pytest

from migration import corpora
from outboard import __version__
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.keys import Key
from outboard.domain.phases import Phase
from outboard.domain.records import Record, RecordCodec, Stage
from outboard.domain.statuses import Cause

REMEDY = "what is written changed; run: python tests/migration/corpora.py RELEASE (see its docstring)"


def of(kind: str, *releases: str) -> pytest.MarkDecorator:
    found = [(release, case) for release in releases for case in corpora.cases(kind, release)]
    return pytest.mark.parametrize(
        "case", [case for _, case in found], ids=[f"{release}-{case['name']}" for release, case in found]
    )


HANDLES, RECORDS = corpora.releases("handles"), corpora.releases("records")


def handle_in(case: dict[str, Any]) -> Handle:
    return HandleCodec(corpora.keys_of(case)).decode(base64.b64decode(case["handle"]))


def record_in(case: dict[str, Any]) -> Record:
    codec = RecordCodec(corpora.keys_of(case))
    return codec.decode(base64.b64decode(case["record"]), Key(case["fields"]["key"]))


@of("handles", *HANDLES)
def test_a_handle_of_a_release_means_what_it_meant(case: dict[str, Any]) -> None:
    assert corpora.described(handle_in(case)) == {**corpora.defaults(Handle), **case["fields"]}


@of("records", *RECORDS)
def test_a_record_of_a_release_means_what_it_meant(case: dict[str, Any]) -> None:
    assert corpora.described(record_in(case)) == {**corpora.defaults(Record), **case["fields"]}


def unpacked(encoded: bytes) -> Any:
    """What stands in a clear envelope: how deflate packs it may differ between versions of zlib."""
    return ormsgpack.unpackb(zlib.decompress(encoded[5:], -15))


@of("handles", HANDLES[-1])
def test_this_release_writes_handles_as_its_corpus_holds_them(case: dict[str, Any]) -> None:
    if case["service_key"]:
        assert HandleCodec(corpora.keys_of(case)).encode(handle_in(case))[:9] == base64.b64decode(case["handle"])[:9]
        return
    written, kept = HandleCodec().encode(handle_in(case)), base64.b64decode(case["handle"])
    assert (written[:5], unpacked(written)) == (kept[:5], unpacked(kept)), REMEDY


@of("records", RECORDS[-1])
def test_this_release_writes_records_as_its_corpus_holds_them(case: dict[str, Any]) -> None:
    if case["service_key"]:
        assert RecordCodec(corpora.keys_of(case)).encode(record_in(case))[:9] == base64.b64decode(case["record"])[:9]
        return
    written, kept = RecordCodec().encode(record_in(case)), base64.b64decode(case["record"])
    assert (written[:5], unpacked(written)) == (kept[:5], unpacked(kept)), REMEDY


@pytest.mark.parametrize(("kind", "model"), [("handles", Handle), ("records", Record)])
def test_the_newest_corpus_uses_every_field(kind: str, model: type[Handle] | type[Record]) -> None:
    release = corpora.releases(kind)[-1]
    unused = dict.fromkeys(corpora.described(_least(model)))
    for case in corpora.cases(kind, release):
        for name, value in case["fields"].items():
            if name not in corpora.defaults(model) or value != corpora.defaults(model)[name]:
                unused.pop(name, None)
    assert not unused, REMEDY


def _least(model: type[Handle] | type[Record]) -> Handle | Record:
    if model is Handle:
        return Handle(agent="a", task_type="a", key=corpora.KEY)
    return Record(key=corpora.KEY, stage=Stage.CLAIMED)


@pytest.mark.parametrize(
    "members",
    [[each for each in Phase if each.is_terminal], list(Cause), list(Stage)],
    ids=["terminal phases", "causes", "stages"],
)
def test_the_newest_corpus_uses_every_word_that_travels(members: list[Enum]) -> None:
    written = repr([corpora.cases("records", RECORDS[-1]), corpora.cases("handles", HANDLES[-1])])
    assert [each.value for each in members if repr(each.value) not in written] == [], REMEDY


@pytest.mark.parametrize("kind", ["handles", "records"])
def test_this_release_has_a_corpus(kind: str) -> None:
    assert corpora.numbers(corpora.releases(kind)[-1]) >= corpora.numbers(__version__), REMEDY


def test_no_release_changes_the_corpus_of_another() -> None:
    assert corpora.summed() == corpora.digests(), "a corpus file was changed, removed or added by hand; " + REMEDY
