"""The rendered manifests: what the tables of `make deploy-check` promise."""

from __future__ import annotations

import pytest

from deploy import rules, schemas
from deploy.rules import changes
from deploy.rules.objects import released
from deploy.rules.rule import Rule
from deploy.tools import programs
from real_parts import install, tried
from tables.sections import assert_kept


@pytest.fixture(autouse=True)
def tools() -> None:
    tried(programs)
    tried(lambda: install("deploy"))


def test_every_version_of_kubernetes_takes_every_release() -> None:
    assert_kept(schemas.validated())


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.name)
def test_every_release_keeps_the_rule(rule: Rule) -> None:
    for name, objects in released().items():
        assert rule.faults(objects) == [], name


@pytest.mark.parametrize(
    ("rule", "fault"),
    [pytest.param(rule, fault, id=f"{rule.name}: {fault}") for rule in rules.RULES for fault in rule.planted],
)
def test_the_rule_notices_a_planted_fault(rule: Rule, fault: str) -> None:
    assert rule.notices(fault)


def test_values_arrive_where_they_are_for() -> None:
    assert_kept(changes.placed())


def test_a_change_replaces_the_pods_that_it_concerns() -> None:
    assert_kept(changes.rolled())
