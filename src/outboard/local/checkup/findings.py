"""Findings: what a check found, in one line that also says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from outboard.errors import OutboardError


class Mark(str, Enum):
    """How bad a finding is, from nothing to bad."""

    SKIPPED = "skipped"
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


_ORDER = tuple(Mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        check: Which check.
        mark: How bad it is.
        found: What was found, in one line.
        remedy: What to do; empty where there is nothing to do.
        about: What of several things it is about: a platform, a port, a file.
        error: What was raised, where something was.
        seconds: How long finding it took; None where that tells nothing.
    """

    check: str
    mark: Mark
    found: str
    remedy: str = ""
    about: str = ""
    error: OutboardError | None = None
    seconds: float | None = None


def worst(findings: Sequence[Finding]) -> Mark:
    """Return the worst mark among findings; `SKIPPED` where there are none.

    >>> worst([Finding(check="a", mark=Mark.OK, found=""), Finding(check="b", mark=Mark.WARNING, found="")]).value
    'warning'
    """
    return max((each.mark for each in findings), key=_ORDER.index, default=Mark.SKIPPED)
