"""Names of secrets: what may be one, where a pattern leads, and what a rule means by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.identity import Scope
from outboard.domain.secret_names import (
    NamePattern,
    UnfitName,
    candidates,
    check_match,
    is_fit,
    matches,
    matches_for_anybody,
    unfit_part,
    values_of,
)
from outboard.domain.secret_refs import SecretRef, SecretScope

HERE = Scope(project="a", domain="production", namespace="a-production")
HOSTILE = (
    *(
        "../x",
        "..",
        ".",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "a\x00b",
        "%2e%2e",
        "..%2f",
        "a\nb",
        "a b",
        "~",
        "${x}",
        "{project}",
    ),
    *("․․", "．．", "a∕b", "ａ", "a#b", "a?b=c", "a:b", "x" * 300),  # noqa: RUF001 - that is the point
)


@pytest.mark.parametrize("part", HOSTILE)
def test_what_could_lead_elsewhere_is_no_part_of_a_name(part: str) -> None:
    assert not is_fit(part)
    for ref in (SecretRef(part), SecretRef("key", part), SecretRef("key", "group", part)):
        assert unfit_part(ref) is not None


def test_a_reference_without_a_key_is_none() -> None:
    assert unfit_part(SecretRef("", "group")) == ""
    assert unfit_part(SecretRef("key", "", "")) is None


@pytest.mark.parametrize(
    ("pattern", "separator", "ref", "place"),
    [
        ("{project}/{domain}/{group}", "/", SecretRef("k", "g"), "a/production/g"),
        ("{project}/{domain}/{group}", "/", SecretRef("k"), "a/production"),
        ("{group}/{version}/{key}", "/", SecretRef("k", "g", "v"), "g/v/k"),
        ("{group}/{key}", "/", SecretRef("k"), "k"),
        ("{project}-{domain}", "/", SecretRef("k"), "a-production"),
        ("{group}--{key}", "--", SecretRef("my-key", "g"), "g--my-key"),
        ("{namespace}", "/", SecretRef("k"), "a-production"),
    ],
)
def test_a_pattern_leads_to_a_place(pattern: str, separator: str, ref: SecretRef, place: str) -> None:
    assert NamePattern(pattern, separator).render(values_of(ref, HERE)) == place


@pytest.mark.parametrize(
    ("pattern", "separator", "ref", "scope"),
    [
        ("{project}/{key}", "/", SecretRef("k"), Scope()),  # whose it is nobody knows
        ("x-{group}", "/", SecretRef("k"), HERE),
        ("{group}", "/", SecretRef("k"), HERE),
        ("{group}--{key}", "--", SecretRef("a--b", "g"), HERE),
        ("{project}-{key}", "/", SecretRef("b-c"), HERE),
        ("{group}/{key}", "/", SecretRef("k", ".."), HERE),
    ],
)
def test_a_reference_without_a_place_of_its_own_has_none(
    pattern: str, separator: str, ref: SecretRef, scope: Scope
) -> None:
    with pytest.raises(UnfitName):
        NamePattern(pattern, separator).render(values_of(ref, scope))


@pytest.mark.parametrize(
    "pattern", ["", "{nothing}", "../{key}", "/{key}", "{key}/", "{key", "{group}{key}", "a//b", "."]
)
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"there is no|this must"):
        NamePattern(pattern)


PART = st.text("ab-._", min_size=1, max_size=4).filter(is_fit)


@given(PART, PART, PART, PART, PART, PART)
def test_two_projects_never_meet_in_one_place(a: str, b: str, c: str, d: str, e: str, f: str) -> None:
    pattern = NamePattern("x-{project}--{key}/{group}")
    places = []
    for project, group, key in ((a, b, c), (d, e, f)):
        try:
            places.append(pattern.render(values_of(SecretRef(key, group), Scope(project=project))))
        except UnfitName:
            return
    assert (places[0] == places[1]) == ((a, b, c) == (d, e, f))


def test_references_of_a_project_stand_for_its_own_first() -> None:
    ref = SecretRef("k", "g", scope=SecretScope.PROJECT)
    assert [each.group for each in candidates(ref, HERE)] == ["a-production", "a", "g"]
    assert [each.group for each in candidates(ref, Scope(project="../b", domain="d"))] == ["g"]


def test_a_rule_means_its_own_project_and_stays_within_a_part() -> None:
    assert matches("{project}-{domain}/*", "A-Production/KEY", HERE)
    assert not matches("{project}-{domain}/*", "b-production/key", HERE)
    assert not matches("{project}/*", "b/key", Scope())
    assert not matches("{project}/*", "/key", Scope())
    assert not matches("*", "group/key", HERE)
    assert matches("**", "group/version/key", HERE)
    assert not matches("shared.x/*", "sharedqx/key", HERE)
    assert matches_for_anybody("{project}-{domain}/*", "b-production/key")


@pytest.mark.parametrize("pattern", ["", "../*", "/etc/*", "{group}/*", "a b", "a|b"])
def test_what_names_no_secrets_is_refused_in_a_rule(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"there is no|this must"):
        check_match(pattern)
