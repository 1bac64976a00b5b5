"""Faults: everything that goes wrong between us and a platform, in one vocabulary, and when it does.

A call to a platform has two steps, the effect and the reply, and a fault strikes `BEFORE` or `AFTER` the effect. That
one word decides whether a job exists, and it is exactly what a caller cannot see. `keeps_effect` tells a test.

===================  =======================================================================================
`Refuse`             an error status instead of the effect, or instead of the reply
`OkButThrottled`     status 200, and a body that says "slow down"
`Cut`                the connection ends without a reply, in order or by reset
`Stall`              nothing for a while or for ever; a stalled effect comes late, even if nobody waits any more
`Garble`             a reply that cannot be read
`Unreachable`        nothing was connected, so nothing was sent
===================  =======================================================================================

A `FaultPlan` says which call meets which fault: by operation, by what the call is about, by count, by time, by chance
with a seed. The in-process ledger (`ledger_client`) and the HTTP server (`platform_server`) act on the same plan.
Times are `time.time()`, so plans work in virtual time too.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Final, TypeAlias

from outboard.testing.platform_clock import platform_time
from outboard.testing.tallies import Tally

OPERATIONS: Final = ("create", "get", "get_many", "find", "cancel", "fetch", "logs")
"""The operations of the reference platforms; a platform of an author's own may name others."""


class When(str, Enum):
    """On which side of the effect a fault strikes."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """An error status with the platform's words.

    Attributes:
        status: HTTP status.
        code: The platform's own error code; see `ledger_client.ERRORS` for those that agents of the kit know.
        retry_after: Sent as `Retry-After`, in whole seconds on the wire; None sends none.
        when: `AFTER` is a platform that starts the job and then answers an error.
    """

    status: int = 500
    code: str = "INTERNAL"
    words: str = "the platform broke"
    retry_after: timedelta | None = None
    when: When = When.BEFORE


@dataclass(frozen=True, slots=True, kw_only=True)
class OkButThrottled:
    """Status 200 with `{"error": {"code": "rateLimitExceeded"}}`, as some platforms throttle; without effect."""

    code: str = "rateLimitExceeded"
    when: When = When.BEFORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection ends without a reply: in order (FIN) or by a reset (RST)."""

    when: When
    is_reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Nothing happens for `seconds`, or for ever.

    `BEFORE` with seconds delays the effect, which then comes whether or not the caller still waits; without, there is
    no effect. `AFTER` delays the reply only.
    """

    when: When
    seconds: float | None = None


class Form(str, Enum):
    """How a reply is spoilt."""

    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    OTHER_SHAPE = "other shape"
    MISLABELLED = "mislabelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garble:
    """A reply with status 200 that is no JSON, half of it, JSON of another shape, or labelled as HTML."""

    form: Form = Form.GARBAGE
    when: When = When.AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """The connection is refused.

    On the wire a request is only seen once it arrived, so there it is a reset before the effect;
    `PlatformServer.outage` refuses connections for real.
    """

    when: When = When.BEFORE


Fault: TypeAlias = Refuse | OkButThrottled | Cut | Stall | Garble | Unreachable

REPLY_LOST: Final = Cut(when=When.AFTER)
EFFECT_LOST: Final = Cut(when=When.BEFORE, is_reset=True)
INVALID: Final = Refuse(status=400, code="INVALID_ARGUMENT", words="the request is not valid")
UNAUTHORIZED: Final = Refuse(status=401, code="UNAUTHENTICATED", words="the credentials have expired")
FORBIDDEN: Final = Refuse(status=403, code="PERMISSION_DENIED", words="you may not do this")


def throttled(retry_after: timedelta | None = None) -> Refuse:
    """Return a 429, with `Retry-After` when one is given."""
    return Refuse(status=429, code="TOO_MANY_REQUESTS", words="slow down", retry_after=retry_after)


FAULTS: Final[Mapping[str, Fault]] = {
    "reply lost": REPLY_LOST,
    "reply reset": Cut(when=When.AFTER, is_reset=True),
    "reply never comes": Stall(when=When.AFTER),
    "effect lost": EFFECT_LOST,
    "request never answered": Stall(when=When.BEFORE),
    "connection refused": Unreachable(),
    "500": Refuse(),
    "500 after the effect": Refuse(when=When.AFTER),
    "429": throttled(),
    "429 with Retry-After": throttled(timedelta(seconds=2)),
    "429 as 200": OkButThrottled(),
    "400": INVALID,
    "401": UNAUTHORIZED,
    "403": FORBIDDEN,
    "garbage": Garble(),
    "truncated": Garble(form=Form.TRUNCATED),
    "other shape": Garble(form=Form.OTHER_SHAPE),
    "mislabelled": Garble(form=Form.MISLABELLED),
}
"""Every fault once, by a name for reports: what a suite goes through."""


def keeps_effect(fault: Fault) -> bool:
    """Tell whether the platform does what it was asked although the caller may not learn of it."""
    if isinstance(fault, Stall):
        return fault.when is When.AFTER or fault.seconds is not None
    return fault.when is When.AFTER


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRule:
    """Which calls meet a fault.

    Attributes:
        operation: Of this operation; None is any.
        about: Whose request holds this text (a key, a job's id); empty is any.
        skip: Matching calls that pass first.
        times: Matching calls that meet it then; None is no end.
        since, until: Within this span of `time.time()`.
        chance: With this probability.
    """

    fault: Fault
    operation: str | None = None
    about: str = ""
    skip: int = 0
    times: int | None = None
    since: float = float("-inf")
    until: float = float("inf")
    chance: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """A fault that a call met, at a time of `time.time()`."""

    at: float
    operation: str
    fault: Fault


@dataclass(slots=True)
class _Progress:
    rule: FaultRule
    seen: int = 0
    struck: int = 0

    def is_spent(self) -> bool:
        return self.rule.times is not None and self.struck >= self.rule.times


@dataclass(slots=True)
class FaultPlan:
    """Which call meets which fault; the first rule that fits decides. May be changed while calls are under way.

    Attributes:
        seed: Of the chances; print it with a result.
        calls: How many calls arrived, by operation, faulty or not.
        struck: The faults that were met, in order.

    >>> plan = FaultPlan(seed=7)
    >>> plan.add(REPLY_LOST, "create", times=1)
    >>> plan.strike("create") is REPLY_LOST, plan.strike("create"), plan.calls["create"]
    (True, None, 2)
    """

    seed: int = 0
    calls: Tally = field(default_factory=Tally)
    struck: list[Struck] = field(default_factory=list)
    _rules: list[_Progress] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self._random.seed(self.seed)

    def add(
        self,
        fault: Fault,
        operation: str | None = None,
        *,
        about: str = "",
        skip: int = 0,
        times: int | None = None,
        chance: float = 1.0,
        within: tuple[float, float] = (float("-inf"), float("inf")),
    ) -> None:
        """Let calls meet a fault from now on; see `FaultRule` for the conditions, `within` is (since, until)."""
        since, until = within
        rule = FaultRule(
            fault=fault,
            operation=operation,
            about=about,
            skip=skip,
            times=times,
            since=since,
            until=until,
            chance=chance,
        )
        with self._lock:
            self._rules.append(_Progress(rule))

    def cut_off(self, since: float, until: float, fault: Fault | None = None) -> None:
        """Make the platform unreachable for everybody from `since` until `until` (`time.time()`), whatever else is planned.

        It shows as `fault`, and as refused connections when that is None.
        """
        rule = FaultRule(fault=fault or Unreachable(), since=since, until=until)
        with self._lock:
            self._rules.insert(0, _Progress(rule))

    def clear(self) -> None:
        """Let every call pass from now on; what was counted stays."""
        with self._lock:
            self._rules.clear()

    def strike(self, operation: str, about: str | Callable[[], str] = "") -> Fault | None:
        """Count a call that arrived, and return the fault that it meets.

        `about` is the text of the request that rules may look for; a function is called only when one does.
        """
        self.calls.add(operation)
        if not self._rules:
            return None
        now = platform_time()
        with self._lock:
            for progress in self._rules:
                if self._fits(progress, operation, about, now):
                    progress.struck += 1
                    fault = progress.rule.fault
                    self.struck.append(Struck(at=now, operation=operation, fault=fault))
                    return fault
        return None

    def _fits(self, progress: _Progress, operation: str, about: str | Callable[[], str], now: float) -> bool:
        rule = progress.rule
        if progress.is_spent() or not rule.since <= now < rule.until:
            return False
        if rule.operation is not None and rule.operation != operation:
            return False
        if rule.about and rule.about not in (about if isinstance(about, str) else about()):
            return False
        progress.seen += 1
        if progress.seen <= rule.skip:
            return False
        return rule.chance >= 1.0 or self._random.random() < rule.chance
