"""Metrics of polls, for Prometheus: plain numbers that the loop's thread changes, told when somebody scrapes.

They are kept by agent, over all its lanes and all hosts of this process, since lanes come and go and a counter must not go
backwards.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sized
from typing import Final
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Tally:
    """What was counted for one agent.

    Attributes:
        memory: Polls that were told what was fresh in memory.
        news: Polls that waited and were told the platform's answer.
        old: Polls that were told what was known before, since no answer came in time or could be expected.
        questions: Calls that asked the agent where jobs stand.
        jobs: Jobs that these asked about.
    """

    __slots__ = ("jobs", "memory", "news", "old", "questions")

    def __init__(self) -> None:
        self.memory = self.news = self.old = self.questions = self.jobs = 0


def tally_of(agent: str) -> Tally:
    """Return the tally of an agent."""
    return _COLLECTOR.tallies.setdefault(agent, Tally())


def count_live(jobs: Sized) -> None:
    """Let the metrics tell how many live jobs there are."""
    with _COLLECTOR.lock:
        _COLLECTOR.live.add(jobs)


def count_no_more(jobs: Sized) -> None:
    """Leave out the jobs of a host that is closed."""
    with _COLLECTOR.lock:
        _COLLECTOR.live.discard(jobs)


class _Collector:
    """Makes Prometheus' samples, in the scraper's thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tallies: dict[str, Tally] = {}
        self.live: WeakSet[Sized] = WeakSet()

    def collect(self) -> Iterator[Metric]:
        polls = CounterMetricFamily(
            "outboard_polls",
            "Polls of live jobs that were told what was fresh in memory, news that they waited for, or what is old.",
            labels=["agent", "told"],
        )
        questions = CounterMetricFamily(
            "outboard_status_questions", "Calls that asked an agent where jobs stand.", labels=["agent"]
        )
        jobs = CounterMetricFamily("outboard_status_jobs", "Jobs that these calls asked about.", labels=["agent"])
        for agent, tally in list(self.tallies.items()):
            for told in ("memory", "news", "old"):
                polls.add_metric([agent, told], getattr(tally, told))
            questions.add_metric([agent], tally.questions)
            jobs.add_metric([agent], tally.jobs)
        with self.lock:
            live = sum(map(len, self.live))
        yield from (polls, questions, jobs)
        yield GaugeMetricFamily("outboard_live_jobs", "Jobs that were polled in the last ten minutes.", value=live)


_COLLECTOR: Final = _Collector()
REGISTRY.register(_COLLECTOR)
