"""Refusals: counted, logged, and never so many lines that they fill a disk.

Each caller and reason has ten lines at once and then one in five seconds; a line says how many were left out before it. All
together have at most fifty lines a second. Labels are names out of the settings and words out of this program, so no caller
makes series.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from outboard.errors import OutboardError, Overloaded
from outboard.host.budgets.buckets import Meter
from outboard.host.logs import TaskLog

_LINES_BURST: Final = 10
_LINES_PER_SECOND: Final = 0.2
_ALL_BURST: Final = 100
_ALL_PER_SECOND: Final = 50.0
_FIELD_CHARACTERS: Final = 256


class Refused(Exception):
    """A call that is refused.

    Attributes:
        error: What its caller is told.
        reason: A word for metrics and log lines.
        caller: Who it is; `unknown` where nobody knows.
        presented: What it showed of itself, for the log; never a token.
    """

    def __init__(self, error: OutboardError, reason: str, caller: str, presented: str = "") -> None:
        super().__init__(error.message)
        self.error = error
        self.reason = reason
        self.caller = caller
        self.presented = presented


def overloaded(caller: str, reason: str, message: str, wait_s: float) -> Refused:
    """Return the refusal of a caller that asks for too much at once."""
    return Refused(Overloaded(message, retry_after=timedelta(seconds=max(0.1, wait_s))), reason, caller)


class _Tallies(Collector):
    """Of all services of this process. Plain numbers that only the loop's thread changes; samples when somebody scrapes."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.refused: dict[tuple[str, str], int] = {}
        self.admitted: dict[tuple[str, str], int] = {}
        self.reachable: dict[str, bool] = {}

    def collect(self) -> Iterator[Metric]:
        """Return what Prometheus reads."""
        calls = CounterMetricFamily("outboard_access_calls", "Calls of callers that were let in.", labels=["caller"])
        for caller, count in list(self.calls.items()):
            calls.add_metric([caller], count)
        names = ["caller", "reason"]
        refused = CounterMetricFamily("outboard_access_refused", "Calls that were refused.", labels=names)
        for pair, count in list(self.refused.items()):
            refused.add_metric(pair, count)
        admitted = CounterMetricFamily(
            "outboard_access_unenforced", "Calls that `access.enforce` would have refused.", labels=names
        )
        for pair, count in list(self.admitted.items()):
            admitted.add_metric(pair, count)
        reachable = GaugeMetricFamily(
            "outboard_access_issuer_reachable",
            "Whether an issuer's keys could be read the last time.",
            labels=["issuer"],
        )
        for issuer, is_reachable in list(self.reachable.items()):
            reachable.add_metric([issuer], float(is_reachable))
        yield from (calls, refused, admitted, reachable)

    def describe(self) -> Iterable[Metric]:
        """Claim no names."""
        return ()


TALLIES: Final = _Tallies()
REGISTRY.register(TALLIES)


class Refusals:
    """Counts and logs refusals."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], Meter] = {}
        self._left_out: dict[tuple[str, str], int] = {}
        self._all = Meter(_ALL_PER_SECOND, _ALL_BURST, time.monotonic())

    def tell(self, refused: Refused, *, method: str, peer: str, identity: Mapping[str, Any], is_enforced: bool) -> None:
        """Count a refusal, and log it unless there were many like it."""
        pair = (refused.caller, refused.reason)
        counts = TALLIES.refused if is_enforced else TALLIES.admitted
        counts[pair] = counts.get(pair, 0) + 1
        now = time.monotonic()
        meter = self._meters.get(pair)
        if meter is None:
            meter = self._meters[pair] = Meter(_LINES_PER_SECOND, _LINES_BURST, now)
        if max(meter.free_at(now), self._all.free_at(now)) > now:
            self._left_out[pair] = self._left_out.get(pair, 0) + 1
            return
        meter.take(now)
        self._all.take(now)
        facts: dict[str, Any] = {**identity, "presented": refused.presented, "left_out": self._left_out.pop(pair, 0)}
        TaskLog().warning(
            "call refused" if is_enforced else "call would be refused",
            caller=refused.caller,
            method=method,
            reason=refused.reason,
            peer=peer,
            error=refused.error.code,
            error_id=refused.error.error_id,
            words=refused.error.message[:_FIELD_CHARACTERS],
            **{name: value for name, value in facts.items() if value not in ("", 0)},
        )
