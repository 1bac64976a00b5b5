"""Handles are small, complete, versioned, sealed where there is a key, and free of secrets."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.handles import HANDLE_LIMIT_BYTES, Handle, HandleCodec
from outboard.domain.identity import ExecutionIdentity, Scope
from outboard.domain.keys import submission_key
from outboard.domain.seals import ServiceKey
from outboard.errors import (
    ContractViolation,
    ForeignHandle,
    HandleError,
    HandleTooLarge,
    InvalidSettings,
    UnreadableHandle,
)

KEY = submission_key("prod", ExecutionIdentity(execution="f6a2c9d1e0b74", node="n0"), "s3://bucket/x/n0/0")
HANDLE = Handle(
    agent="databricks",
    task_type="spark",
    task_type_version=1,
    key=KEY,
    scope=Scope(project="flytesnacks", domain="development", namespace="flytesnacks-development"),
    connection={
        "instance": "adb-1234567890123456.7.azuredatabricks.net",
        "token": {"key": "databricks-token", "scope": "project"},
    },
    account="adb-1234567890123456.7.azuredatabricks.net",
    output_prefix="s3://my-flyte-bucket/metadata/propeller/flytesnacks-development-f6a2c9d1e0b74/n0/data/0",
    created_at=1_795_000_000,
    job={"id": "987654321098765", "cluster": "1122-070900-abcdefgh"},
    output_types={"results": ["D", "parquet"], "rows": "i"},
)
SECRET = ServiceKey(b"k" * 32)
CODECS = [HandleCodec(), HandleCodec([SECRET])]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz", max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("codec", CODECS)
def test_a_realistic_handle_fits_and_comes_back_whole(codec: HandleCodec) -> None:
    encoded = codec.encode(HANDLE)
    assert len(encoded) <= HANDLE_LIMIT_BYTES
    assert codec.decode(encoded) == HANDLE


@pytest.mark.parametrize("codec", CODECS)
@given(job=st.dictionaries(st.text("abcxyz", min_size=1, max_size=4), JSON, max_size=3), memo=st.binary(max_size=20))
def test_any_small_job_comes_back_whole(codec: HandleCodec, job: dict[str, Any], memo: bytes) -> None:
    handle = replace(HANDLE, job=job, memo=memo)
    assert codec.decode(codec.encode(handle)) == handle


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=600))
def test_random_bytes_are_foreign(codec: HandleCodec, data: bytes) -> None:
    with pytest.raises(ForeignHandle):
        codec.decode(data)


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=200))
def test_random_bytes_behind_our_magic_are_refused_with_a_handle_error(codec: HandleCodec, data: bytes) -> None:
    with pytest.raises(HandleError):
        codec.decode(b"\xffOB" + data)


@given(position=st.integers(0, 400), bit=st.integers(0, 7))
def test_a_sealed_handle_that_was_changed_anywhere_is_refused(position: int, bit: int) -> None:
    encoded = bytearray(CODECS[1].encode(HANDLE))
    encoded[position % len(encoded)] ^= 1 << bit
    with pytest.raises(HandleError):
        CODECS[1].decode(bytes(encoded))


def test_a_sealed_handle_shows_nothing_of_its_content() -> None:
    encoded = CODECS[1].encode(HANDLE)
    assert b"databricks" not in encoded
    assert encoded != CODECS[1].encode(HANDLE)


def test_an_older_key_is_still_read_and_an_unknown_one_is_parked() -> None:
    old = HandleCodec([SECRET])
    rotated = HandleCodec([ServiceKey(b"n" * 32), SECRET])
    assert rotated.decode(old.encode(HANDLE)) == HANDLE
    with pytest.raises(UnreadableHandle, match="add the older key"):
        old.decode(rotated.encode(HANDLE))


def test_a_sealing_service_refuses_clear_handles() -> None:
    with pytest.raises(ForeignHandle, match="what is sealed only"):
        CODECS[1].decode(CODECS[0].encode(HANDLE))


def test_clear_handles_are_read_while_moving_to_sealed_ones_if_the_operator_says_so() -> None:
    moving = HandleCodec([SECRET], accepts_clear=True)
    assert moving.decode(CODECS[0].encode(HANDLE)) == HANDLE
    assert moving.encode(HANDLE) != CODECS[0].encode(HANDLE)


def test_a_handle_of_the_future_is_unreadable_not_foreign() -> None:
    encoded = bytearray(CODECS[0].encode(HANDLE))
    encoded[3] = 9
    with pytest.raises(UnreadableHandle, match="newer release"):
        CODECS[0].decode(bytes(encoded))


def test_a_deflate_bomb_is_foreign() -> None:
    import zlib

    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(b"\0" * 10_000_000) + deflate.flush()
    with pytest.raises(ForeignHandle):
        CODECS[0].decode(b"\xffOB\x01\x00" + bomb)


@pytest.mark.parametrize("foreign", [b"", b"{}", json.dumps({"job_id": "1"}).encode(), b"\x80\x04\x95"])
def test_other_systems_handles_are_foreign(foreign: bytes) -> None:
    with pytest.raises(ForeignHandle, match="unchanged"):
        CODECS[0].decode(foreign)


@pytest.mark.parametrize(
    "fields",
    [
        {"job": {"id": "1", "access_token": "x"}},
        {"job": {"id": "1", "nested": {"password": "x"}}},
        {"connection": {"auth_header": "x"}},
        {"job": {"id": "dapi0123456789abcdef0123456789abcdef"}},
        {"connection": {"url": "https://user:hunter2@example.com/"}},
        {"job": {"id": "1", "items": ["AKIAIOSFODNN7EXAMPLE"]}},
    ],
)
def test_what_is_or_looks_like_a_secret_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ContractViolation, match="SecretRef"):
        CODECS[0].encode(replace(HANDLE, **fields))


def test_output_types_give_way_before_a_handle_is_too_large() -> None:
    import secrets

    types = {secrets.token_hex(8): "s" for _ in range(40)}
    assert CODECS[0].decode(CODECS[0].encode(replace(HANDLE, output_types=types))).output_types is None


def test_a_handle_too_large_names_its_largest_part() -> None:
    import secrets

    with pytest.raises(HandleTooLarge, match="largest part is job"):
        CODECS[0].encode(replace(HANDLE, job={"id": secrets.token_hex(400)}))


def test_values_that_are_not_json_are_the_authors_fault() -> None:
    with pytest.raises(ContractViolation, match="plain JSON"):
        CODECS[0].encode(replace(HANDLE, job={"id": object()}))


@pytest.mark.parametrize("text", ["", "short", "!!!", base64.b64encode(b"x" * 31).decode()])
def test_a_wrong_service_key_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidSettings, match="32 bytes") as caught:
        ServiceKey.parse(text)
    assert caught.value.field == "service_key"


@pytest.mark.parametrize("codec", CODECS)
@given(prefix=st.integers(0, 400), job=st.integers(2, 160))
def test_a_job_fits_wherever_there_was_room_for_it(codec: HandleCodec, prefix: int, job: int) -> None:
    import secrets

    handle = replace(HANDLE, output_prefix="s3://" + secrets.token_urlsafe(400)[:prefix], job={})
    try:
        codec.check_room(handle, 160)
    except HandleTooLarge:
        return
    encoded = codec.encode(replace(handle, job={"id": secrets.token_hex(job // 2)[: job - 2]}))
    assert len(encoded) <= HANDLE_LIMIT_BYTES


@pytest.mark.parametrize("codec", CODECS)
def test_a_handle_with_something_behind_it_is_foreign(codec: HandleCodec) -> None:
    with pytest.raises(ForeignHandle):
        codec.decode(codec.encode(HANDLE) + b"more")


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a"])
def test_fields_nested_without_end_are_foreign(opening: bytes) -> None:
    import zlib

    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(opening * 5_000 + b"\xc0") + deflate.flush()
    with pytest.raises(ForeignHandle):
        CODECS[0].decode(b"\xffOB\x01\x00" + packed)
