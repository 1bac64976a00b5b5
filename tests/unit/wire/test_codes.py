"""Errors to gRPC's codes and back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from outboard import errors
from outboard.errors import AgentError, OutboardError, Sent
from outboard.wire.codes import CODES, decode_error, encode_error


def tree(root: type[OutboardError] = OutboardError) -> Iterator[type[OutboardError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


KINDS = sorted({kind for kind in tree() if not kind.__name__.startswith("_")}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_of_the_tree_has_a_code_of_its_own_in_the_table(kind: type[OutboardError]) -> None:
    assert kind in CODES
    assert CODES[kind] not in (StatusCode.OK, StatusCode.UNKNOWN, StatusCode.CANCELLED)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_back_as_itself(kind: type[OutboardError]) -> None:
    error = (
        kind("it went wrong; do this", retry_after=timedelta(seconds=3)) if issubclass(kind, AgentError) else kind("no")
    )
    wire = encode_error(error)
    read = decode_error(wire.code, wire.details, dict(wire.trailing), "CreateTask")
    assert type(read) is kind
    assert (read.message, read.error_id, read.retry, read.retry_after) == (
        error.message,
        error.error_id,
        error.retry,
        error.retry_after,
    )


@pytest.mark.parametrize("sent", Sent)
def test_whether_a_call_may_have_arrived_travels(sent: Sent) -> None:
    wire = encode_error(errors.Unavailable("down", sent=sent))
    read = decode_error(wire.code, wire.details, dict(wire.trailing), "CreateTask")
    assert isinstance(read, errors.Unavailable)
    assert read.sent is sent


def test_an_error_of_a_platforms_own_class_travels_as_its_parent() -> None:
    class Odd(errors.Rejected):
        pass

    wire = encode_error(Odd("odd"))
    assert wire.code is StatusCode.INVALID_ARGUMENT
    assert type(decode_error(wire.code, wire.details, dict(wire.trailing), "CreateTask")) is errors.Rejected


@given(st.text(alphabet=st.characters(), max_size=3000))
def test_details_are_one_short_line_with_the_id_whatever_the_message(message: str) -> None:
    error = errors.InvalidTask(message)
    details = encode_error(error).details
    assert len(details.encode()) <= 1024
    assert len(details.splitlines()) == 1
    assert details.endswith(f"(error id {error.error_id})")


@pytest.mark.parametrize(
    "secret",
    ["dapi0123456789abcdef0123456789abcdef", "https://u:pw@host/", "?token=tok-SECRET", "Bearer abcdefghijklmnop1234"],
)
def test_credentials_do_not_travel(secret: str) -> None:
    details = encode_error(errors.Unavailable(f"GET {secret} failed")).details
    assert secret not in details
    assert "[redacted]" in details


def test_the_hosts_redaction_wins_over_the_message() -> None:
    assert "hunter2" not in encode_error(errors.Unavailable("hunter2"), "[redacted]").details


@pytest.mark.parametrize("code", StatusCode)
@pytest.mark.parametrize("operation", ["CreateTask", "GetTask"])
def test_any_code_of_any_service_is_an_error_of_the_tree(code: StatusCode, operation: str) -> None:
    read = decode_error(code, "", {}, operation)
    assert isinstance(read, OutboardError)
    assert read.message


def test_garbage_in_the_trailing_metadata_is_ignored() -> None:
    trailing = {"outboard-error": "Unavailable", "outboard-retry-after-s": "soon", "outboard-sent": "perhaps"}
    read = decode_error(StatusCode.UNAVAILABLE, "down", trailing, "GetTask")
    assert isinstance(read, errors.Unavailable)
    assert (read.sent, read.retry_after) == (Sent.MAYBE, None)


def test_invalid_argument_of_another_service_is_about_the_handle_where_there_is_one() -> None:
    assert type(decode_error(StatusCode.INVALID_ARGUMENT, "bad", {}, "GetTask")) is errors.ForeignHandle
    assert type(decode_error(StatusCode.INVALID_ARGUMENT, "bad", {}, "CreateTask")) is errors.InvalidTask


def test_what_flytekits_service_has_not_implemented_is_unsupported() -> None:
    read = decode_error(StatusCode.UNKNOWN, "Unexpected <class 'NotImplementedError'>: ", {}, "GetTaskLogs")
    assert isinstance(read, errors.Unsupported)
