"""Complaints: what pydantic says about a value that does not fit, without the value.

A model's own validators may quote what they refuse, and some of pydantic's messages quote it too. These messages go to
users, into logs and into the engine's database, where a value that was meant to stay private has no business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

_SHORTEST: Final = 3
_TOLD_CHARACTERS: Final = 300
_NAME_CHARACTERS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One thing that does not fit.

    Attributes:
        path: Names and indexes from the outside in.
        text: What is wrong, without the value.
        is_missing: Nothing stands there, and something must.
    """

    path: tuple[str, ...]
    text: str
    is_missing: bool


def complaints(error: ValidationError) -> list[Complaint]:
    """Return all that does not fit; never empty.

    >>> from pydantic import BaseModel, field_validator
    >>> class Login(BaseModel):
    ...     user: str
    ...     @field_validator("user")
    ...     @classmethod
    ...     def check(cls, user: str) -> str:
    ...         raise ValueError(f"{user} is no user of ours")
    >>> try:
    ...     Login(user="mallory")
    ... except ValidationError as error:
    ...     complaints(error)[0].text
    'Value error, [value] is no user of ours'
    """
    return [
        Complaint(
            path=tuple(str(part)[:_NAME_CHARACTERS] for part in each["loc"]),
            text=_without(each["msg"], each["input"])[:_TOLD_CHARACTERS],
            is_missing=each["type"] == "missing",
        )
        for each in error.errors(include_url=False, include_context=False)
    ]


def first_complaint(error: ValidationError) -> Complaint:
    """Return the first thing that does not fit."""
    return complaints(error)[0]


def _without(text: str, value: Any) -> str:
    for spelled in sorted({*_spellings(value)}, key=len, reverse=True):
        if len(spelled) >= _SHORTEST:
            text = text.replace(spelled, "[value]")
    return text


def _spellings(value: Any) -> Iterator[str]:
    """Return the texts and numbers in a plain value; names of fields are no secret."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _spellings(each)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _spellings(each)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)
