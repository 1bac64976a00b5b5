from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.cli.json_values import dumps, to_json
from outboard.domain.phases import Phase
from outboard.domain.places import Place
from outboard.domain.plain_values import read_plain
from outboard.domain.types import BlobType, Column, SchemaType, SimpleType, StructuredDatasetType, ValueType
from outboard.domain.values import Binary, Blob, ErrorValue, Offloaded, Schema, StructuredDataset
from outboard.errors import InvalidInputs

moments = st.datetimes(timezones=st.just(timezone.utc))


@given(
    st.one_of(
        st.tuples(moments, st.just(SimpleType.DATETIME)),
        st.tuples(st.integers(-(2**38), 2**38).map(lambda s: timedelta(seconds=s)), st.just(SimpleType.DURATION)),
        st.tuples(st.integers(-(2**62), 2**62), st.just(SimpleType.INTEGER)),
        st.tuples(st.just(Blob("s3://b/f", "csv")), st.just(BlobType("csv"))),
        st.tuples(st.just(StructuredDataset("s3://b/t", "parquet")), st.just(StructuredDatasetType(format="parquet"))),
        st.tuples(st.just(Schema("s3://b/t")), st.just(SchemaType())),
    )
)
def test_what_is_printed_reads_back_as_an_input_of_the_same_type(pair: tuple[object, ValueType]) -> None:
    value, value_type = pair
    again = json.loads(dumps(value))
    assert read_plain(again, value_type, Place("inputs.x", InvalidInputs)) == value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (b"\xff", {"base64": "/w==", "tag": ""}),
        (Binary(b"\x80", "msgpack"), {"base64": "gA==", "tag": "msgpack"}),
        (ErrorValue("broken", "n0"), {"message": "broken", "failed_node_id": "n0"}),
        (Offloaded("s3://b/x", 7), {"uri": "s3://b/x", "size_bytes": 7}),
        (Phase.RUNNING, "RUNNING"),
        (datetime(2024, 1, 31, 12, 0), "2024-01-31T12:00:00Z"),  # noqa: DTZ001 - naive is what it is about
        (
            StructuredDataset("s3://b/t", "parquet", (Column("n", SimpleType.INTEGER),)),
            {"uri": "s3://b/t", "format": "parquet", "columns": {"n": "int"}},
        ),
        ({1: (2, {"x": None})}, {"1": [2, {"x": None}]}),
    ],
)
def test_every_kind_of_value_has_one_spelling(value: object, plain: object) -> None:
    assert to_json(value) == plain
    assert json.loads(dumps(value)) == plain
