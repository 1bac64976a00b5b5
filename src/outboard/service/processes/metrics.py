"""Metrics of workers, beside what they say themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from outboard.service.processes.workers import Worker


class ParentMetrics:
    """A Prometheus collector of a parent: its own process, and which workers answer.

    Args:
        workers: Returns them; called in the scraper's thread.
    """

    def __init__(self, workers: Callable[[], Iterable[Worker]]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Give the samples."""
        states = GaugeMetricFamily(
            "outboard_processes", "Worker processes: up, or down and being started again.", labels=["state"]
        )
        restarts = CounterMetricFamily(
            "outboard_process_restarts", "How often a worker process was started again.", labels=["process"]
        )
        workers = list(self._workers())
        up = sum(worker.is_up for worker in workers)
        states.add_metric(["up"], up)
        states.add_metric(["down"], len(workers) - up)
        for worker in workers:
            restarts.add_metric([worker.source], worker.restarts)
        yield from (states, restarts)
        yield from REGISTRY.collect()
