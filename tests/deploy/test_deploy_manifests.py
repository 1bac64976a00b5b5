"""The rendered manifests: what the tables of `make deploy-check` promise."""

from __future__ import annotations

import pytest

from deploy import rules, schemas
from deploy.releases import releases
from deploy.tools import programs
from real_parts import install, tried
from tables.sections import assert_kept


@pytest.fixture(autouse=True)
def tools() -> None:
    tried(programs)
    tried(lambda: install("deploy"))


def test_every_version_of_kubernetes_takes_every_release() -> None:
    assert_kept(schemas.validated())


@pytest.mark.parametrize("rule", list(rules.RULES))
def test_every_release_keeps_the_rule(rule: str) -> None:
    for release in releases():
        assert list(rules.RULES[rule](rules.objects_of(release))) == [], release.name


@pytest.mark.parametrize("rule", list(rules.RULES))
def test_the_rule_notices_a_planted_fault(rule: str) -> None:
    assert list(rules.RULES[rule](rules.broken(rule)))


def test_a_change_replaces_the_pods_that_it_concerns() -> None:
    assert_kept(rules.rolled())
