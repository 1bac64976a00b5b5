"""Words: every text about a task that leaves the host, without secrets and of a bounded length.

Platforms and agents write these texts, so they may hold a password, ten megabytes, or no text at all. What only
decorates a status (links, custom info, usage) and is not what it should be is left out: it is never a reason to lose
the status. Lengths are bounded because an answer beyond a gRPC message's limit would never reach the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from itertools import islice
from typing import Any, Final, TypeVar

from outboard.domain.provided import Provided
from outboard.domain.statuses import Cause, Failure, Link, Usage
from outboard.errors import OutboardError, Retry
from outboard.host.secrets.redactor import Redactor

EnumT = TypeVar("EnumT", bound=Enum)
MESSAGE_CHARACTERS: Final = 4_096
_CODE_CHARACTERS: Final = 200
_URL_CHARACTERS: Final = 2_048
_MOST_LINKS: Final = 32
_FACTS_CHARACTERS: Final = 32_768
_FACTS_DEPTH: Final = 8
_FACTS_ENTRIES: Final = 256
_READ_CHARACTERS: Final = 65_536
"""Beyond this a text is not even looked at: redaction takes time in proportion."""


class Words:
    """Makes texts fit to leave.

    Args:
        redact: Removes the secrets that this process has read from a text.
    """

    __slots__ = ("_redact",)

    def __init__(self, redact: Redactor) -> None:
        self._redact = redact

    def text(self, value: object, limit: int = MESSAGE_CHARACTERS) -> str:
        """Return a text, or whatever an agent took for one, without secrets and cut to `limit` characters."""
        if value is None or (isinstance(value, str) and not value):
            return ""
        return self._redact(_spell(value)[:_READ_CHARACTERS])[:limit]

    def state(self, state: object) -> str:
        """Return a platform's state as people read it; the words of a pair are joined by a slash."""
        parts = state if isinstance(state, (tuple, list)) else (state,)
        return self.text("/".join(map(_spell, parts)), _CODE_CHARACTERS)

    def failure(self, failure: Failure) -> Failure:
        """Return the failure with its texts made fit, and with a verdict even where the agent gave none."""
        return Failure(
            code=self.text(failure.code, _CODE_CHARACTERS) or "Unknown",
            message=self.text(failure.message),
            retry=_one_of(Retry, failure.retry, Retry.NEVER),
            cause=_one_of(Cause, failure.cause, Cause.USER),
        )

    def links(self, links: object) -> tuple[Link, ...]:
        """Return those of an agent's links that are links."""
        if not isinstance(links, Iterable):
            return ()
        return tuple(
            replace(link, name=self.text(link.name, _CODE_CHARACTERS), url=self.text(link.url, _URL_CHARACTERS))
            for link in islice(links, _MOST_LINKS)
            if isinstance(link, Link) and all(isinstance(part, str) for part in (link.name, link.url))
        )

    def facts(self, custom_info: object, usage: object) -> dict[str, Any] | None:
        """Return custom info and usage as JSON values of a bounded size; None where there is neither."""
        facts = _Facts(self).mapping(custom_info, 0) if isinstance(custom_info, Mapping) else {}
        if isinstance(usage, Usage):
            facts["usage"] = _spent(usage)
        return facts or (None if custom_info is None else {})

    def holds_secret(self, text: str, provided: Provided) -> bool:
        """Tell whether a text holds a secret that this process has read, or that was provided for its task."""
        return self._redact.holds(text, provided)

    def own(self, error: OutboardError) -> OutboardError:
        """Return the error, its message without secrets: whoever catches it may show it."""
        message = self.text(error.message)
        if message != error.message:
            error.message = message
            error.args = (message,)
        return error


class _Facts:
    """JSON values of one custom info; what goes beyond the bounds is left out."""

    __slots__ = ("_left", "_words")

    def __init__(self, words: Words) -> None:
        self._words = words
        self._left = _FACTS_CHARACTERS

    def mapping(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        entries = islice(values.items(), _FACTS_ENTRIES)
        return {self._text(name): self._value(value, depth + 1) for name, value in entries if self._left > 0}

    def _value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if (isinstance(value, float) and math.isfinite(value)) or (isinstance(value, int) and abs(value) < 2**63):
            return value
        if isinstance(value, Mapping) and depth < _FACTS_DEPTH:
            return self.mapping(value, depth)
        if isinstance(value, (list, tuple)) and depth < _FACTS_DEPTH:
            return [self._value(each, depth + 1) for each in value[:_FACTS_ENTRIES] if self._left > 0]
        return self._text(value)

    def _text(self, value: Any) -> str:
        text = self._words.text(value, min(MESSAGE_CHARACTERS, max(0, self._left)))
        self._left -= len(text)
        return text


def _spent(usage: Usage) -> dict[str, Any]:
    spent: dict[str, Any] = {}
    amounts: list[tuple[Any, Any]] = [("duration_s", usage.duration), ("cost", usage.currency_amount)]
    billed: object = usage.billed
    if isinstance(billed, Mapping):
        amounts[:0] = billed.items()
    for name, amount in amounts:
        try:
            number = amount.total_seconds() if isinstance(amount, timedelta) else float(amount)
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(number):
            spent[str(name)] = number
    return spent


def _one_of(kind: type[EnumT], value: object, default: EnumT) -> EnumT:
    return value if isinstance(value, kind) else default


def _spell(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an agent's object that cannot even be shown
        return type(value).__name__
