"""Labels: which accounts metrics may name.

Tasks name accounts, so the names are bounded: accounts beyond the bound, or whose names are too long or hold a secret, share the
label `other` of their platform.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

OTHER: Final = "other"
MOST_LABELS: Final = 100
_LABEL_CHARACTERS: Final = 200


class AccountLabels:
    """The labels of one kind of metrics.

    Args:
        words: Makes a text fit to be shown in so many characters; an account that it would change gets no label.
    """

    def __init__(self, words: Callable[[str, int], str] | None = None) -> None:
        self._words = words
        self._given: dict[tuple[str, str], str] = {}

    def label(self, platform: str, account: str) -> str:
        """Return the label of an account, the same for as long as this lives."""
        key = (platform, account)
        label = self._given.get(key)
        if label is None:
            if len(self._given) >= MOST_LABELS or not is_fit(account, self._words):
                return OTHER
            label = self._given[key] = account
        return label


def is_fit(account: str, words: Callable[[str, int], str] | None = None) -> bool:
    """Tell whether an account may be named at all."""
    if account == OTHER or len(account) > _LABEL_CHARACTERS:
        return False
    return words is None or words(account, _LABEL_CHARACTERS) == account
