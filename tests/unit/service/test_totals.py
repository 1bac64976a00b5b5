"""One page of metrics for many processes: sums that never go backwards, over real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from outboard.service.supervision import totals
from outboard.service.supervision.control import METRICS, Control
from outboard.service.supervision.samples import read_page, write_page
from outboard.service.supervision.totals import Totals

Page = Sequence[Metric]


class Own:
    """This process's own metrics."""

    def __init__(self, *families: Metric) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        yield from self.families


@dataclass
class Process:
    """A child that says what a test tells it to, or nothing."""

    source: str
    folder: Path
    life: int = 0
    control: str | None = None
    page: Page = ()
    hangs: threading.Event = field(default_factory=threading.Event)
    server: Control | None = None

    def begin(self) -> None:
        self.end()
        self.life += 1
        self.page = ()
        self.control = str(self.folder / f"{self.source}.{self.life}")
        self.server = Control(self.control, {METRICS: self._say})

    def end(self) -> None:
        if self.server is not None:
            self.server.close()
        self.server = self.control = None

    def _say(self, _: Any) -> Any:
        if self.hangs.is_set():
            threading.Event().wait(5)
        return write_page(self.page)


class Door:
    """A lock that tells who came to it."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Process]]:
    both = [Process("1", tmp_path), Process("2", tmp_path)]
    for each in both:
        each.begin()
    yield both
    for each in both:
        each.end()


def counter(value: float, name: str = "calls", **labels: str) -> Metric:
    family = CounterMetricFamily(name, "Calls.", labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def gauge(name: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(name, "A gauge.", labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def read(collector: Totals) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in collector.collect() for s in f.samples}


def total(collector: Totals, name: str, **labels: str) -> float | None:
    return read(collector).get((name, tuple(sorted(labels.items()))))


def test_counters_and_histograms_add_up_per_label(processes: list[Process]) -> None:
    histogram = HistogramMetricFamily("took", "How long.", buckets=[("1.0", 2), ("+Inf", 3)], sum_value=4.5)
    for process in processes:
        process.page = [counter(5, agent="a"), counter(1, agent=process.source), histogram]
    page = read(Totals(Own(counter(7, agent="a")), lambda: processes))
    assert page["calls_total", (("agent", "a"),)] == 17
    assert page["calls_total", (("agent", "1"),)] == page["calls_total", (("agent", "2"),)] == 1
    assert page["took_bucket", (("le", "1.0"),)] == 4
    assert (page["took_count", ()], page["took_sum", ()]) == (6, 9)


def test_gauges_are_added_or_the_greatest_or_the_least_by_what_they_tell(processes: list[Process]) -> None:
    for process, value in zip(processes, (1.0, 0.0), strict=True):
        process.page = [
            gauge("outboard_pool_waiting", 3),
            gauge("outboard_account_reachable", value),
            gauge("outboard_isolated_up", value),
            gauge("outboard_account_silent_seconds", 10 * value),
            gauge("outboard_tls_certificate_expiry_timestamp_seconds", 10 * value),
            gauge("python_info", 1, version="3"),
        ]
    page = read(Totals(Own(), lambda: processes))
    assert {name: value for (name, _), value in page.items()} == {
        "outboard_pool_waiting": 6,
        "outboard_account_reachable": 0,
        "outboard_isolated_up": 0,
        "outboard_account_silent_seconds": 10,
        "outboard_tls_certificate_expiry_timestamp_seconds": 0,
        "python_info": 1,
    }


def test_what_is_about_one_process_says_which(processes: list[Process]) -> None:
    rss = "process_resident_memory_bytes"
    processes[0].page = [gauge(rss, 5)]
    processes[1].page = [Metric(rss, "RSS.", "gauge")]
    processes[1].page[0].add_sample(rss, {}, 6)
    processes[1].page[0].add_sample(rss, {"process": "child"}, 7)
    page = read(Totals(Own(gauge(rss, 4)), lambda: processes, "parent"))
    assert {dict(labels)["process"]: value for (_, labels), value in page.items()} == {
        "parent": 4,
        "1": 5,
        "2": 6,
        "2/child": 7,
    }


def test_what_a_process_counted_before_it_ended_stays_and_its_gauges_go(processes: list[Process]) -> None:
    page = Totals(Own(), lambda: processes)
    for process in processes:
        process.page = [counter(5), gauge("live", 1)]
    assert (total(page, "calls_total"), total(page, "live")) == (10, 2)
    processes[0].end()
    assert (total(page, "calls_total"), total(page, "live")) == (10, 1)
    processes[0].begin()
    assert total(page, "calls_total") == 10
    processes[0].page = [counter(2), gauge("live", 1)]
    assert (total(page, "calls_total"), total(page, "live")) == (12, 2)


def test_a_process_that_hangs_counts_with_what_it_said_last(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "ANSWER_S", 0.05)
    page = Totals(Own(), lambda: processes)
    for process in processes:
        process.page = [counter(5)]
    assert total(page, "calls_total") == 10
    processes[0].hangs.set()
    for process in processes:
        process.page = [counter(6)]
    assert total(page, "calls_total") == 11


def test_scrapes_that_came_while_another_one_asked_share_what_is_asked_next(
    processes: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    door, go = Door(), threading.Event()

    def slow(path: str) -> Page:
        asked.append(path)
        go.wait(20)
        return [counter(5)]

    monkeypatch.setattr(totals, "_page", slow)
    page = Totals(Own(), lambda: processes)
    monkeypatch.setattr(page, "_lock", door)
    with ThreadPoolExecutor(11) as threads:
        scrapes = [threads.submit(total, page, "calls_total") for _ in range(11)]
        assert all(door.came.acquire(timeout=20) for _ in scrapes)
        go.set()
        assert {each.result() for each in scrapes} == {10}
    assert len(asked) == 2 * len(processes)  # by the first, and once for those that came meanwhile
    assert total(page, "calls_total") == 10
    assert len(asked) == 3 * len(processes)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["count", "end", "begin", "scrape"])), max_size=25))
def test_no_counter_ever_goes_backwards(events: list[tuple[int, str]]) -> None:
    with TemporaryDirectory() as folder:
        processes = [Process("1", Path(folder)), Process("2", Path(folder))]
        page = Totals(Own(), lambda: processes)
        counts, seen = [0, 0], 0.0
        for index, event in [*events, (0, "scrape")]:
            process = processes[index]
            match event:
                case "begin":
                    process.begin()
                    counts[index] = 0
                case "end":
                    process.end()
                case "count":
                    counts[index] += 1
                    process.page = [counter(counts[index])]
                case _:
                    now = total(page, "calls_total") or 0.0
                    assert now >= seen
                    seen = now
        for process in processes:
            process.end()


def test_a_page_can_be_asked_for_some_names_only(processes: list[Process]) -> None:
    processes[0].page = [counter(5), gauge("live", 1)]
    names = {
        s.name for f in Totals(Own(), lambda: processes).restricted_registry(["live"]).collect() for s in f.samples
    }
    assert names == {"live"}


def test_metrics_travel_as_json_unchanged() -> None:
    page = [counter(2**60, agent='a "quoted"\n'), gauge("live", float("inf"))]
    assert list(read_page(json.loads(json.dumps(write_page(page))))) == page


@pytest.mark.parametrize("written", [None, 5, [1], [["a"]], [["a", "b", "no kind", []]], [["a", "b", "counter", [1]]]])
def test_what_is_no_page_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match="no page"):
        read_page(written)
