"""Durations as Go writes them: `3s`, `1m30s`, `1.5h`, `-2us`.

The rules are those of Go's `time.ParseDuration`: a sign, then numbers with units; `0` alone needs no unit, and there is
no unit above the hour. An empty text is zero, as Flyte's configuration reads it (`flytestdlib/config/duration.go`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Final

_MICROS: Final[dict[str, Decimal]] = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "\u00b5s": Decimal(1),  # the micro sign
    "\u03bcs": Decimal(1),  # the Greek letter mu
    "ms": Decimal(1_000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
_PART: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(" + "|".join(sorted(_MICROS, key=len, reverse=True)) + ")")
_LONGEST: Final = Decimal(2**63) / 1_000  # Go keeps nanoseconds in 64 bits


def parse_go_duration(text: str) -> timedelta:
    """Return the duration that a Go text says, to the microsecond.

    Raises:
        ValueError: It is no such text, or longer than Go can hold (292 years).

    >>> parse_go_duration("1m30s")
    datetime.timedelta(seconds=90)
    """
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    if text == "" or unsigned == "0":
        return timedelta(0)
    parts = list(_PART.finditer(unsigned))
    if not parts or "".join(part.group() for part in parts) != unsigned:
        raise ValueError(f"'{text}' is no duration: write numbers with units (ns, us, ms, s, m, h), such as '1m30s'")
    micros = sum((Decimal(part.group(1)) * _MICROS[part.group(2)] for part in parts), Decimal(0))
    if micros >= _LONGEST:
        raise ValueError(f"'{text}' is longer than Go can hold: write at most 292 years")
    return timedelta(microseconds=int(micros) * (-1 if text.startswith("-") else 1))
