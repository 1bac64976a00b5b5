"""Labels fit every platform, whatever users write."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.domain.labels import LabelRules, Labels

USER = st.dictionaries(st.text(max_size=300), st.text(max_size=400), max_size=80)
KEY = "ob-f6a-n0-0-" + "a" * 26


@pytest.mark.parametrize("rules", list(LabelRules))
@given(user=USER)
def test_fitted_labels_keep_the_platforms_rules_and_our_key(rules: LabelRules, user: dict[str, str]) -> None:
    fitted = Labels(provenance={"outboard-key": KEY}, user=user).fit(rules)
    rule = rules.value
    assert fitted["outboard-key"] == KEY
    assert len(fitted) <= rule.count
    for name, value in fitted.items():
        assert 0 < len(name) <= rule.key_limit
        assert len(value) <= rule.value_limit
        assert not re.search(rule.key_pattern, name, re.ASCII)
        assert not re.search(rule.value_pattern, value, re.ASCII)


@given(user=USER)
def test_google_labels_begin_with_a_letter(user: dict[str, str]) -> None:
    fitted = Labels(provenance={}, user=user).fit(LabelRules.GCP)
    assert all(re.match("[a-z]", name) for name in fitted)


@given(user=USER)
def test_kubernetes_labels_begin_and_end_alphanumeric(user: dict[str, str]) -> None:
    for name, value in Labels(provenance={}, user=user).fit(LabelRules.K8S).items():
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?", name)
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?", value)


def test_long_values_that_differ_stay_different() -> None:
    labels = Labels(provenance={}, user={"a": "x" * 100 + "1", "b": "x" * 100 + "2"}).fit(LabelRules.GCP)
    assert labels["a"] != labels["b"]


def test_provenance_wins_over_a_users_label_of_the_same_name() -> None:
    assert Labels(provenance={"k": "ours"}, user={"k": "theirs"}).fit(LabelRules.AWS) == {"k": "ours"}
