"""inputs.pb, outputs.pb and error.pb."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest
from flyteidl.core import errors_pb2
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.statuses import Cause, Failure
from outboard.domain.types import ListType, SimpleType, ValueType
from outboard.errors import InvalidInputs, InvalidOutputs, Retry
from outboard.wire.files import (
    decode_error_file,
    decode_inputs_file,
    decode_outputs_file,
    encode_error_file,
    encode_inputs_file,
    encode_outputs_file,
)

TYPES: Mapping[str, ValueType] = {"a": ListType(SimpleType.INTEGER), "b": SimpleType.STRING}


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), st.text(max_size=9))
def test_values_come_back_from_both_files(numbers: list[int], text: str) -> None:
    values = {"a": numbers, "b": text}
    assert dict(decode_inputs_file(encode_inputs_file(values, TYPES), TYPES)) == values
    assert dict(decode_outputs_file(encode_outputs_file(values, TYPES), TYPES)) == values


def test_the_same_values_give_the_same_bytes() -> None:
    values = {"a": [1], "b": "x"}
    assert encode_inputs_file(values, TYPES) == encode_inputs_file(dict(reversed(values.items())), TYPES)


def test_a_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(InvalidInputs, match=r"inputs\.b"):
        encode_inputs_file({"b": 1}, TYPES)
    with pytest.raises(InvalidOutputs, match=r"outputs\.b"):
        encode_outputs_file({"b": 1}, TYPES)


@given(
    st.builds(
        Failure,
        code=st.text(min_size=1, max_size=9),
        message=st.text(max_size=20),
        retry=st.sampled_from(Retry),
        cause=st.sampled_from([Cause.USER, Cause.PLATFORM]),
    )
)
def test_a_failure_comes_back(failure: Failure) -> None:
    assert decode_error_file(encode_error_file(failure)) == failure


def test_flytekits_recoverable_user_error_is_read_as_it_meant() -> None:
    error = errors_pb2.ContainerError(code="USER", message="no", kind="RECOVERABLE", origin="USER")
    data = errors_pb2.ErrorDocument(error=error).SerializeToString()
    assert decode_error_file(data) == Failure(code="USER", message="no", retry=Retry.YES, cause=Cause.USER)


@given(st.binary(max_size=40))
def test_whatever_the_bytes_only_errors_of_the_tree_are_raised(data: bytes) -> None:
    assert decode_error_file(data).code
    for read, kind in ((decode_inputs_file, InvalidInputs), (decode_outputs_file, InvalidOutputs)):
        with contextlib.suppress(kind):
            list(read(data, TYPES).items())
