"""When a child is started again: 1 s after its end, doubling to 60 s, and from the beginning after a minute of health.

The delay counts ends in a row, so a child that dies at start for ever costs one start per minute, and one that dies now and
then is back in a second.
"""

from __future__ import annotations

from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
HEALTHY_AFTER_S: Final = 60.0


class Backoff:
    """The delays before the next starts.

    >>> backoff = Backoff()
    >>> [backoff.after(lived_s) for lived_s in (0.0, 5.0, 5.0, 61.0, 0.0)]
    [1.0, 2.0, 4.0, 1.0, 2.0]
    """

    __slots__ = ("_next_s",)

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def after(self, healthy_s: float) -> float:
        """Return how long to wait after an end.

        Args:
            healthy_s: How long the child answered before.
        """
        if healthy_s >= HEALTHY_AFTER_S:
            self._next_s = FIRST_S
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, LONGEST_S)
        return delay_s
