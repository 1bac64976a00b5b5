"""What no schema says of the manifests: that they fit each other, and what an operator was promised.

A rule yields a sentence per fault, by what it is about: `addresses`, `policies`, `pods`, `rights`, `replacing`, `doctors`. Faults
are planted for each, so that a rule which finds nothing is known to look. `changes` has what a change of a value does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.rules import addresses, changes, doctors, pods, policies, replacing, rights
from deploy.rules.objects import released
from deploy.rules.rule import Rule
from real_parts import NotToBeHad
from tables.sections import Section

RULES: Final[tuple[Rule, ...]] = (
    *addresses.RULES,
    *policies.RULES,
    *pods.RULES,
    *rights.RULES,
    *replacing.RULES,
    *doctors.RULES,
)


def sections() -> Iterator[Section]:
    """Hold all releases against all rules."""
    try:
        yield held()
        yield changes.placed()
        yield changes.rolled()
    except NotToBeHad as error:
        yield Section(title="Rules", skipped=str(error))


def held() -> Section:
    """Count the faults by rule, and the faults that were planted for it."""
    rows, failures = [], []
    for rule in RULES:
        faults = [f"{rule.name}: {name}: {fault}" for name, each in released().items() for fault in rule.faults(each)]
        missed = [fault for fault in rule.planted if not rule.notices(fault)]
        failures += faults + [f"{rule.name}: it does not notice {fault}" for fault in missed]
        rows.append(
            {
                "rule": rule.name,
                "releases": len(released()),
                "faults": len(faults),
                "planted": len(rule.planted),
                "noticed": len(rule.planted) - len(missed),
            }
        )
    return Section(
        title="Rules", columns=("rule", "releases", "faults", "planted", "noticed"), rows=rows, failures=failures
    )
