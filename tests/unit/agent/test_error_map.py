"""What a platform's client raises becomes an error that says who must act and whether the call may have arrived."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.agent import ErrorMap, Verdict
from outboard.errors import (
    AgentError,
    ContractViolation,
    Forbidden,
    InvalidTask,
    Rejected,
    Sent,
    Throttled,
    Unauthorized,
    Unavailable,
)


class SdkError(Exception):
    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.code = code


class SyntaxTrouble(SdkError):
    pass


ERRORS = ErrorMap({SyntaxTrouble: Rejected, "QUOTA": Throttled, 400: Verdict(Rejected), ValueError: Rejected})


def kind(error: BaseException) -> tuple[type[BaseException], Sent]:
    classified = ERRORS.classify(error)
    assert isinstance(classified, AgentError)
    return type(classified), classified.sent


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SdkError(401), (Unauthorized, Sent.NO)),
        (SdkError(403), (Forbidden, Sent.NO)),
        (SdkError(429), (Throttled, Sent.NO)),
        (SdkError(400), (Rejected, Sent.NO)),
        (SdkError(404), (AgentError, Sent.NO)),
        (SdkError(500), (Unavailable, Sent.MAYBE)),
        (SdkError(503), (Unavailable, Sent.MAYBE)),
        (SdkError(400, "QUOTA"), (Throttled, Sent.NO)),
        (ConnectionRefusedError(), (Unavailable, Sent.NO)),
        (ConnectionResetError(), (Unavailable, Sent.MAYBE)),
        (asyncio.TimeoutError(), (Unavailable, Sent.MAYBE)),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), (Rejected, Sent.NO)),
        (KeyError("state"), (AgentError, Sent.MAYBE)),
    ],
)
def test_errors_are_classified(error: BaseException, expected: tuple[type[BaseException], Sent]) -> None:
    assert kind(error) == expected


@given(st.integers(100, 999))
def test_what_nobody_listed_is_never_a_rejection(status: int) -> None:
    classified = ErrorMap().classify(SdkError(status))
    assert not isinstance(classified, Rejected)


def test_our_own_errors_pass_unchanged() -> None:
    error = InvalidTask("no")
    assert ERRORS.classify(error) is error


def test_long_words_are_cut() -> None:
    assert len(str(ERRORS.classify(SdkError(500), words="x" * 10**6))) <= 2_000


def test_a_table_that_says_something_else_than_a_platforms_error_is_refused_at_once() -> None:
    with pytest.raises(ContractViolation, match="BAD"):
        ErrorMap({"BAD": InvalidTask})  # type: ignore[dict-item]


def test_an_error_that_cannot_even_be_shown_is_classified() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

        @property
        def status(self) -> int:
            raise RuntimeError

    error = ErrorMap().classify(Unspeakable())
    assert isinstance(error, Unavailable)
    assert error.message == "Unspeakable"
