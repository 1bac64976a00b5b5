"""A rule about rendered objects, with the faults that are planted to know that it looks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from deploy.rules.objects import Objects, released

_LACKING: Final = (KeyError, IndexError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What every release keeps.

    Attributes:
        name: What is so.
        look: Yields a sentence for each fault that it finds.
        planted: What breaks it, by what is broken.
        of: The release in which faults are planted.
    """

    name: str
    look: Callable[[Objects], Iterator[str]]
    planted: Mapping[str, Callable[[Objects], Any]]
    of: str = "two_services_mtls"

    def faults(self, objects: Objects) -> list[str]:
        """Return what is wrong; objects that lack what the rule looks at are."""
        try:
            return list(self.look(objects))
        except _LACKING as error:
            return [f"{type(error).__name__}: {error}"]

    def notices(self, fault: str) -> bool:
        """Tell whether a planted fault is found; one that cannot be planted, since the release has nothing to break, is not."""
        objects = copy.deepcopy(released()[self.of])
        try:
            self.planted[fault](objects)
        except _LACKING:
            return False
        return bool(self.faults(objects))
