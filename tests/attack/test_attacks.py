"""The quick ones of `make attack`; the numbers there are larger."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from attack import addresses, connections, fuzz, messages, ports, rolling
from attack.parts import REPORT
from attack.trials import tried
from tables.sections import assert_kept

QUICK: Final = (
    *("idle", "a call on each", "slow headers", "slow bodies"),
    *("rapid reset", "pings", "continuations", "settings"),
    *("100 MB request", "bomb", "deep Struct", "deep literal", "many keys", "huge names", "odd paths", "odd metadata"),
    *("metrics: odd requests", "callbacks: odd requests", "callbacks: header bombs"),
    *("random messages", "mutated messages", "random bytes on the socket", "random frames"),
)


def test_the_quick_attacks_are_answered_and_keep_nobody_from_being_served() -> None:
    attacks = [
        *connections.attacks(many=200),
        *connections.floods(size=20_000),
        *messages.attacks(count=100),
        *ports.attacks(many=20),
        *fuzz.attacks(count=1_000, seed=7),
    ]
    assert_kept(tried("quick", [each for each in attacks if each.name in QUICK]))


def test_no_address_inside_is_asked() -> None:
    assert_kept(addresses.asked(addresses.SPELLINGS[:4]))


@pytest.mark.timeout(180)
def test_a_replacement_fails_no_call_and_loses_no_job() -> None:
    assert_kept(rolling.replaced(["virtual address"], rounds=1, least_rate=0.0))


def test_a_row_that_is_not_as_promised_is_told() -> None:
    attack = next(each for each in messages.attacks() if each.name == "odd metadata")
    attack = replace(attack, expected="nothing of the kind", log_matches="a line")
    wrong = tried("wrong", [attack]).failures
    assert len(wrong) == 2
    assert "answered '7 x OK', not 'nothing of the kind'" in wrong[0]
    assert "the log shows 'nothing'" in wrong[1]


def test_every_part_that_is_there_is_reported() -> None:
    assert {"connections", "messages", "fuzz", "ports", "addresses", "rolling"} <= set(REPORT.parts)
