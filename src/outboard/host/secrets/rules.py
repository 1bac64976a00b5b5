"""Rules: which tasks may name which secrets.

Without rules every task may name every secret, as with flytekit. With rules a task may name what one of them grants it and
nothing else: another project's group, named outright, is refused before any store is looked at.

Some stores know a secret by one name that several references spell: the variable `A_B_C` is group `a_b` with key `c`, group `a`
with key `b_c`, and key `a_b_c`. There, a task that is granted one spelling does not get what a rule keeps for others under
another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from outboard.domain.secret_names import matches, matches_for_anybody, name_of
from outboard.domain.secret_refs import SecretRef
from outboard.host.secrets.ports import Reader

if TYPE_CHECKING:
    from outboard.host.store_settings import SecretRule, Whose


def is_meant(whose: Whose, reader: Reader) -> bool:
    """Tell whether settings mean a reader."""
    asked = (
        (whose.projects, reader.scope.project),
        (whose.domains, reader.scope.domain),
        (whose.task_types, reader.task_type),
    )
    return all(not wanted or any(fnmatchcase(name, each) for each in wanted) for wanted, name in asked)


class Rules:
    """What tasks may name.

    Args:
        rules: As the settings have them.
    """

    def __init__(self, rules: Sequence[SecretRule]) -> None:
        self._rules = rules
        self.by_task_type = any(rule.task_types for rule in rules)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def grant(self, ref: SecretRef, reader: Reader) -> bool:
        """Tell whether a reader may name a reference."""
        if not self._rules or not reader.is_task:
            return True
        return self._grants(name_of(ref), reader)

    def keeps_from(self, ref: SecretRef, reader: Reader) -> bool:
        """Tell whether a variable of this reference is, spelled otherwise, somebody else's secret."""
        if not self._rules or not reader.is_task:
            return False
        variable = "_".join(part for part in (ref.group, ref.version, ref.key) if part)
        return any(self._is_anybodys(name) and not self._grants(name, reader) for name in _spellings(variable))

    def _grants(self, name: str, reader: Reader) -> bool:
        return any(
            is_meant(rule, reader) and any(matches(each, name, reader.scope) for each in rule.secrets)
            for rule in self._rules
        )

    def _is_anybodys(self, name: str) -> bool:
        return any(matches_for_anybody(each, name) for rule in self._rules for each in rule.secrets)


def _spellings(variable: str) -> Iterator[str]:
    """Give every reference that a variable stands for: it may be cut at any underscore, or at two of them."""
    yield variable
    cuts = [at for at, letter in enumerate(variable) if letter == "_"]
    for first in cuts:
        group, rest = variable[:first], variable[first + 1 :]
        if group and rest:
            yield f"{group}/{rest}"
            for second in cuts:
                version, key = variable[first + 1 : second], variable[second + 1 :]
                if second > first and version and key:
                    yield f"{group}/{version}/{key}"
