"""Where addresses that tasks choose may lead, as operators write it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from outboard.host import HostSettings


def test_by_default_nothing_inside_is_reached() -> None:
    rules = HostSettings().egress.rules()
    assert not rules.reaches("10.0.0.1")
    assert rules.reaches("1.1.1.1")


def test_hosts_and_networks_are_taken_as_they_are_written() -> None:
    egress = {
        "allow_hosts": ["Hooks.Corp.example.", "*.inner.example", "svc"],
        "allow_networks": ["10.20.0.0/16", "fd12::7"],
        "deny_networks": ["10.20.1.0/24"],
    }
    rules = HostSettings.model_validate({"egress": egress}).egress.rules()
    assert rules.trusts("hooks.corp.example")
    assert rules.trusts("a.inner.example")
    assert rules.trusts("svc")
    assert rules.reaches("10.20.0.1")
    assert rules.reaches("fd12::7")
    assert not rules.reaches("10.20.1.1")


@pytest.mark.parametrize("host", ["*", "10.0.0.1", "https://a.example", "a.example:80", "", "a b", "*.*", "a*.example"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="is no host"):
        HostSettings.model_validate({"egress": {"allow_hosts": [host]}})


def test_a_network_with_a_host_s_bits_is_refused() -> None:
    with pytest.raises(ValidationError, match="allow_networks"):
        HostSettings.model_validate({"egress": {"allow_networks": ["10.20.0.1/16"]}})
