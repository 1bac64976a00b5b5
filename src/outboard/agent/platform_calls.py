"""Platform calls: how long each took and what came of it, as whoever operates the service sees them.

`spending.Spending` is where every platform call passes, so it tells each one here: plain numbers by agent, method and outcome,
which `host.platform_call_metrics` shows to Prometheus when somebody scrapes. Where calls are traced, each is a span too: the
host gives the agent's call (`CURRENT_CALL`) a `CallTrace`, in coroutines and in threads alike.

Agents name methods, so their number is bounded: beyond `MOST_KINDS` they share the method `other`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Final, Protocol
from urllib.parse import urlsplit

from outboard.errors import Forbidden, MissingSecret, OutboardError, Throttled, Unauthorized, Unavailable

BUCKETS_S: Final = (0.01, 0.05, 0.2, 0.5, 1.0, 3.0, 10.0, 30.0)
MOST_KINDS: Final = 1_000
OTHER: Final = "other"
ANSWERED: Final = "answered"
Fact = str | int | float | bool
Kind = tuple[str, str, str]
"""The agent, the platform's method, the outcome."""


class CallSpan(Protocol):
    """The span of one platform call."""

    def note(self, facts: Mapping[str, Fact], /) -> None:
        """Add attributes; texts lose their secrets."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Return what tells the platform which trace its call belongs to; empty where it is not to know."""
        ...

    def end(self, outcome: str, error: BaseException | None, /) -> None:
        """The call is over."""
        ...


class CallTrace(Protocol):
    """The span of an agent's call, under which its platform calls stand."""

    def platform_call(self, method: str, waited_s: float, /) -> CallSpan:
        """Begin the span of a platform call."""
        ...

    def attached(self) -> AbstractContextManager[None]:
        """Return a block that belongs to the span; for threads, which do not know it by themselves."""
        ...


class Tally:
    """Platform calls of one kind."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * (len(BUCKETS_S) + 1)


TALLIES: Final[dict[Kind, Tally]] = {}
"""Of this process. Threads of blocking agents count too: one that loses a race loses a call's count, and nothing else."""


def took(agent: str, method: str, outcome: str, seconds: float) -> None:
    """Count a call that is over."""
    tally = TALLIES.get((agent, method, outcome))
    if tally is None:
        named = method if len(TALLIES) < MOST_KINDS else OTHER
        tally = TALLIES.setdefault((agent, named, outcome), Tally())
    tally.seconds += seconds
    tally.buckets[bisect_left(BUCKETS_S, seconds)] += 1


def outcome_of(error: BaseException | None) -> str:
    """Return what came of a call, in one word."""
    if error is None:
        return ANSWERED
    if isinstance(error, Throttled):
        return "throttled"
    if isinstance(error, (Unauthorized, Forbidden, MissingSecret)):
        return "refused"
    if isinstance(error, (Unavailable, OSError, TimeoutError)):
        return "unreachable"
    if isinstance(error, OutboardError):
        return "rejected"
    return "broken" if isinstance(error, Exception) else "given_up"


def outcome_of_status(status: int) -> str:
    """Return what came of a call that was answered with an HTTP status."""
    if status == 429:
        return "throttled"
    if status in (401, 403):
        return "refused"
    if status >= 500:
        return "unreachable"
    return "rejected" if status >= 400 else ANSWERED


def http_facts(verb: str, url: str) -> Mapping[str, Fact]:
    """Return a request's attributes, by OpenTelemetry's names; of the address neither login nor query nor fragment.

    >>> http_facts("GET", "https://me:secret@h.example:8443/runs/7?token=x#y")["url.full"]
    'https://h.example:8443/runs/7'
    """
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:  # the port is no number; whoever sends it meets that
        port = 0
    host = parts.hostname or ""
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return {"http.request.method": verb, "url.full": shown, "server.address": host, "server.port": port}
