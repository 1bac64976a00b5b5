"""Quotas are data: what fits is kept, what does not is named with what to write instead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from outboard.domain.quotas import Quotas, QuotaScope, Rate
from outboard.errors import ContractViolation


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"per_second": 0}, "give a number above 0"),
        ({"per_second": float("inf")}, "give a number above 0"),
        ({"per_second": float("nan")}, "give a number above 0"),
        ({"per_second": "10"}, "give a number above 0"),
        ({"per_second": True}, "give a number above 0"),
        ({"per_second": 1, "burst": 0}, "give a whole number of at least 1"),
        ({"per_second": 1, "burst": 1.5}, "give a whole number of at least 1"),
        ({"per_second": 1, "scope": "user"}, "give one of QuotaScope.ACCOUNT"),
        ({"per_second": 1, "date": "last year"}, "YYYY-MM-DD"),
        ({"per_second": 1, "date": "20261122"}, "YYYY-MM-DD"),
    ],
)
def test_a_rate_that_is_none_is_refused_with_what_to_write(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractViolation, match=re.escape(words)):
        Rate(**fields)


def test_a_rate_by_the_hour_counts_its_burst_within() -> None:
    for calls, burst in ((10_000, None), (60, 1), (2, 1), (7, 6)):
        rate = Rate.per_hour(calls, burst=burst)
        assert rate.per_second * 3_600 + rate.burst == pytest.approx(calls)
    rate = Rate.per_minute(600, scope=QuotaScope.CONNECTION, source="https://example.com", date="2026-11-22")
    assert (rate.per_second, rate.burst, rate.scope) == (9.0, 60, QuotaScope.CONNECTION)


@pytest.mark.parametrize(("calls", "burst"), [(1, None), (10, 10), (10, 0), (2.5, 1)])
def test_a_rate_by_the_hour_that_leaves_nothing_is_refused(calls: Any, burst: Any) -> None:
    with pytest.raises(ContractViolation, match="a Rate of"):
        Rate.per_hour(calls, burst=burst)


def test_a_method_has_one_rate_or_several() -> None:
    one, other = Rate(per_second=35), Rate.per_hour(10_000)
    quotas = Quotas({"runs/get": one, "runs/submit": [one, other]})
    assert quotas.of("runs/get") == (one,)
    assert quotas.of("runs/submit") == (one, other)
    assert quotas.of("runs/list") == ()
    assert list(quotas) == [("runs/get", one), ("runs/submit", one), ("runs/submit", other)]


@pytest.mark.parametrize("rates", [{"": Rate(per_second=1)}, {"get": 10}, {"get": ()}, {"get": [10]}, {"get": None}])
def test_quotas_of_something_else_are_refused(rates: Any) -> None:
    with pytest.raises(ContractViolation, match="Quotas"):
        Quotas(rates)
