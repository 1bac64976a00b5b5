"""What is counted and told of a platform call: its outcome in one word, and an address that shows no secret."""

from __future__ import annotations

import asyncio

import pytest

from outboard.agent import platform_calls
from outboard.agent.platform_calls import http_facts, outcome_of, outcome_of_status, took
from outboard.errors import AgentFault, Forbidden, Rejected, Throttled, Unauthorized, Unavailable


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "answered"),
        (Throttled("slow down"), "throttled"),
        (Unauthorized("who"), "refused"),
        (Forbidden("no"), "refused"),
        (Unavailable("down"), "unreachable"),
        (ConnectionResetError(), "unreachable"),
        (Rejected("no"), "rejected"),
        (AgentFault("a bug"), "rejected"),
        (ValueError("odd"), "broken"),
        (asyncio.CancelledError(), "given_up"),
    ],
)
def test_an_error_says_what_came_of_a_call(error: BaseException | None, outcome: str) -> None:
    assert outcome_of(error) == outcome


def test_a_status_says_what_came_of_a_call() -> None:
    told = {status: outcome_of_status(status) for status in (200, 302, 400, 401, 403, 404, 429, 500, 503)}
    refused, down = dict.fromkeys((401, 403), "refused"), dict.fromkeys((500, 503), "unreachable")
    rejected = dict.fromkeys((400, 404), "rejected")
    assert told == {200: "answered", 302: "answered", 429: "throttled", **refused, **down, **rejected}


@pytest.mark.parametrize(
    ("url", "shown", "host", "port"),
    [
        ("https://h.example/a?token=x", "https://h.example/a", "h.example", 443),
        ("http://me:hunter2@h.example:81/a#f", "http://h.example:81/a", "h.example", 81),
        ("http://[::1]:8080/", "http://[::1]:8080/", "::1", 8080),
        ("https://h.example:port/", "https://h.example:port/", "h.example", 0),
    ],
)
def test_an_address_is_told_without_login_and_query(url: str, shown: str, host: str, port: int) -> None:
    facts = http_facts("GET", url)
    assert (facts["url.full"], facts["server.address"], facts["server.port"]) == (shown, host, port)


def test_methods_that_are_made_up_share_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_calls, "TALLIES", {})
    for number in range(platform_calls.MOST_KINDS + 500):
        took("agent", f"method {number}", "answered", 0.1)
    assert len(platform_calls.TALLIES) == platform_calls.MOST_KINDS + 1
    assert sum(platform_calls.TALLIES["agent", "other", "answered"].buckets) == 500
