"""What an address that a task chose may reach, decided on the address alone."""

from __future__ import annotations

import ipaddress

import pytest

from outboard.domain.egress import Egress


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",  # noqa: S104 - an address, not one to listen on
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fd00:ec2::254",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:a9fe:a9fe",
        "::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::10.0.0.1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2001:0:7f00:1::1",
    ],
)
def test_what_lies_inside_is_not_reached(address: str) -> None:
    assert not Egress().reaches(address)


@pytest.mark.parametrize(
    "address", ["", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.1.1.1 ", "1.1.1"]
)
def test_what_is_no_address_in_its_usual_form_is_not_reached(address: str) -> None:
    assert not Egress(allow_networks=(ipaddress.ip_network("0.0.0.0/0"),)).reaches(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "168.63.129.15", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
)
def test_what_is_public_is_reached(address: str) -> None:
    assert Egress().reaches(address)


def test_a_network_that_the_operator_allows_is_reached_and_its_neighbours_are_not() -> None:
    egress = Egress(allow_networks=(ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd12::/64")))
    assert egress.reaches("10.20.255.1")
    assert egress.reaches("::ffff:10.20.0.1")
    assert egress.reaches("fd12::7")
    assert not egress.reaches("10.21.0.1")
    assert not egress.reaches("fd12:0:0:1::7")


def test_a_way_through_ipv4_that_the_operator_allows_leads_nowhere_inside_it() -> None:
    egress = Egress(allow_networks=(ipaddress.ip_network("2001::/32"), ipaddress.ip_network("2002::/16")))
    assert egress.reaches("2002:101:101::1")
    assert not egress.reaches("2002:7f00:1::1")
    assert egress.reaches("2001:0:808:808::fefe:fefe")  # Teredo spells the client's address in reverse: 1.1.1.1
    assert not egress.reaches("2001:0:808:808::80ff:fffe")
    assert not egress.reaches("2001:0:a00:1::fefe:fefe")


def test_a_network_that_the_operator_denies_is_not_reached_by_any_spelling_and_wins() -> None:
    networks = (ipaddress.ip_network("9.0.0.0/8"),)
    egress = Egress(allow_networks=(ipaddress.ip_network("9.9.0.0/16"),), deny_networks=networks)
    assert not egress.reaches("9.9.9.9")
    assert not egress.reaches("::ffff:9.1.1.1")
    assert not egress.reaches("64:ff9b::9.1.1.1")
    assert not egress.reaches("2002:901:101::1")
    assert egress.reaches("8.8.8.8")


@pytest.mark.parametrize(
    ("host", "is_trusted"),
    [
        ("hooks.corp.example", True),
        ("HOOKS.corp.example.", True),
        ("a.b.inner.example", True),
        ("inner.example", False),
        ("hooks.corp.example.evil.test", False),
        ("evilinner.example", False),
        ("xhooks.corp.example", False),
        ("", False),
    ],
)
def test_a_host_is_trusted_by_its_whole_name(host: str, is_trusted: bool) -> None:
    assert Egress(allow_hosts=("hooks.corp.example", "*.inner.example")).trusts(host) is is_trusted
