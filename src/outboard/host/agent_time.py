"""Time per agent: how long each agent's code keeps the event loop, and who runs at this moment.

All agents of a process share one loop, so an `async def` that blocks stops all of them. Loop lag alone cannot say who did it,
and a small fixed limit cries wolf. So every synchronous step of an agent's code (a coroutine between two awaits, or a pure
method) is timed with two readings of `perf_counter`: real time also where tests replace the clock, since the loop is kept in
real time. The seconds add up per agent. A step beyond `SLOW_STEP_S` gives a log line with agent, method and seconds, at most
one per agent and minute.

While a step runs it stands in a slot, where the watchdog's thread reads it although the loop is blocked. The slot is per
thread that runs a loop: two hosts in two threads must not be taken for each other.

What an agent hands to the loop itself (tasks of its own, callbacks) is not timed here; the watchdog's frames name that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import get_ident
from time import perf_counter
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from outboard.host.logs import TaskLog

SLOW_STEP_S: Final = 1.0
"""Beyond this a step is told. Steps of healthy agents take micro- to milliseconds, a large answer that is parsed some tens;
a second is also what Kubernetes' probes wait by default."""
_TOLD_APART_S: Final = 60.0


class Tally:
    """What one agent's code took of the loop; written by loops' threads only."""

    __slots__ = ("agent", "longest_s", "seconds", "slow_steps", "told_at", "untold")

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.seconds = 0.0
        self.longest_s = 0.0
        self.slow_steps = 0
        self.untold = 0
        self.told_at: float | None = None

    def took(self, seconds: float, method: str) -> None:
        """Add a step."""
        self.seconds += seconds
        if seconds > self.longest_s:  # noqa: PLR1730 - every poll comes by, and `max` costs a call
            self.longest_s = seconds
        if seconds > SLOW_STEP_S:
            self._tell(seconds, method)

    def _tell(self, seconds: float, method: str) -> None:
        self.slow_steps += 1
        now = perf_counter()
        if self.told_at is not None and now - self.told_at < _TOLD_APART_S:
            self.untold += 1
            return
        log = TaskLog(agent=self.agent)
        record = log.warning if self.told_at is None else log.error
        untold, self.untold, self.told_at = self.untold, 0, now
        record(
            "agent blocked the event loop",
            method=method,
            seconds=round(seconds, 3),
            steps_since_last_line=untold + 1,
            remedy="await instead of blocking, make it a BlockingAgent, or serve its platform with --isolate",
        )


class Step:
    """The steps of one call of an agent's method, one after the other, each as a `with` block.

    Attributes:
        method: Which of the agent's methods was called.
        since: When the present step began, by `perf_counter`.
    """

    __slots__ = ("_outer", "_tally", "_thread", "method", "since")

    def __init__(self, agent: str, method: str) -> None:
        tally = _TALLIES.get(agent)
        self._tally = tally if tally is not None else _TALLIES.setdefault(agent, Tally(agent))
        self.method = method
        self.since = 0.0
        self._thread = 0
        self._outer: Step | None = None

    @property
    def agent(self) -> str:
        """Whose code it is."""
        return self._tally.agent

    def __enter__(self) -> None:
        self._thread = thread = get_ident()
        self._outer = _RUNNING.get(thread)
        self.since = perf_counter()
        _RUNNING[thread] = self

    def __exit__(self, _kind: object, _error: object, _trace: object) -> None:
        seconds = perf_counter() - self.since
        _RUNNING[self._thread] = self._outer
        self._tally.took(seconds, self.method)


def running_in(thread: int) -> Step | None:
    """Return the step that runs in a thread at this moment; for the watchdog's thread."""
    return _RUNNING.get(thread)


def spent() -> Mapping[str, float]:
    """Return the seconds of finished steps by agent, over all loops of this process."""
    return {agent: tally.seconds for agent, tally in list(_TALLIES.items())}


_TALLIES: Final[dict[str, Tally]] = {}
_RUNNING: Final[dict[int, Step | None]] = {}


class _Collector:
    """Makes Prometheus' samples of the tallies, in the scraper's thread."""

    def collect(self) -> Iterator[Metric]:
        seconds = CounterMetricFamily(
            "outboard_agent_loop_seconds", "How long an agent's code kept the event loop.", labels=["agent"]
        )
        slow = CounterMetricFamily(
            "outboard_agent_slow_steps",
            f"Steps of an agent's code that kept the event loop for more than {SLOW_STEP_S:g} s.",
            labels=["agent"],
        )
        longest = GaugeMetricFamily(
            "outboard_agent_longest_step_seconds", "The longest step since the process started.", labels=["agent"]
        )
        for agent, tally in list(_TALLIES.items()):
            seconds.add_metric([agent], tally.seconds)
            slow.add_metric([agent], tally.slow_steps)
            longest.add_metric([agent], tally.longest_s)
        yield from (seconds, slow, longest)


REGISTRY.register(_Collector())
