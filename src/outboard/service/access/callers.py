"""Callers: who makes a call, and what is known of them in this process."""

from __future__ import annotations

from outboard.service.access.limits import Limits
from outboard.service.access.refusals import TALLIES
from outboard.service.access.rules import Rules
from outboard.service.access.settings import RuleSettings


class Standing:
    """What is known of a caller in this process: its rules, limits and count.

    Attributes:
        name: As the settings call it; `anonymous` for who is none of them.
    """

    __slots__ = ("limits", "name", "rules")

    def __init__(self, name: str, settings: RuleSettings) -> None:
        self.name = name
        self.rules = Rules(name, settings)
        self.limits = Limits(name, settings)

    def count(self) -> None:
        """Count a call that is let in."""
        TALLIES.calls[self.name] = TALLIES.calls.get(self.name, 0) + 1


class Admission:
    """A call that was let in; `release` ends it.

    Attributes:
        is_over: A status over a limit: to be answered at once, with what is certain.
    """

    __slots__ = ("_is_counted", "is_over", "standing")

    def __init__(self, standing: Standing, *, is_over: bool = False) -> None:
        self.standing = standing
        self.is_over = is_over
        self._is_counted = not is_over
        if self._is_counted:
            standing.limits.running += 1

    def release(self) -> None:
        """Say that the call has ended."""
        if self._is_counted:
            self._is_counted = False
            self.standing.limits.running -= 1
