"""Which scenarios there are, in the order of the table; a module is imported only when one of its scenarios is wanted."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final

from proof.scenarios import Scenario

MODULES: Final = ("calm", "lost_replies", "names", "cancels", "polls", "states", "processes", "cost")
"""Modules of this package that have `SCENARIOS`; a scenario's name begins with its module's."""


class UnknownScenario(LookupError):
    """There is no scenario of this name."""


def find(only: Sequence[str] = ()) -> list[Scenario]:
    """Return the scenarios that have one of these names or are of one of these modules; all where none is given.

    Raises:
        UnknownScenario: A name fits none.
        ValueError: A module has a scenario of a foreign or of a repeated name.
    """
    wanted = only or MODULES
    found: dict[str, Scenario] = {}
    for name in wanted:
        module = name.partition("/")[0]
        fitting = [each for each in _load(module) if name in {module, each.name}]
        if not fitting:
            raise UnknownScenario(f"there is no scenario {name}; `--list` shows all")
        found.update({each.name: each for each in fitting})
    return list(found.values())


def _load(module: str) -> Sequence[Scenario]:
    if module not in MODULES:
        raise UnknownScenario(f"there is no scenario {module}; `--list` shows all")
    scenarios: Sequence[Scenario] = importlib.import_module(f"proof.{module}").SCENARIOS
    names = [each.name for each in scenarios]
    if len(set(names)) < len(names) or not all(name.partition("/")[0] == module for name in names):
        raise ValueError(f"proof.{module} has scenarios of repeated or foreign names: {names}")
    return scenarios
