"""One page of metrics for a process and its children.

`prometheus_client` has a multiprocess mode, which keeps every number in memory-mapped files. It takes only metrics that are
made through its own classes; ours are mostly plain numbers that become samples when somebody scrapes (`service.metrics`,
`host.account_metrics`, `host.agent_time` ...), and every poll would pay for the files. So a page asks each child for its samples
(see `control`), all at once and with a limit, and adds up:

* Counters, histograms and summaries add up, over processes that ended too: what a process said last is kept, so a total never
  goes backwards. What it counted between the last scrape and its end is lost, as with any process that ends.
* Gauges of living processes add up, but for those that do not: how long something took or was silent is the greatest,
  whether something is up or reachable is the least, and so is when something expires.
* `process_*` are about one process, and so carry its name in the label `process`.

A child that does not answer in time counts with what it said last. Scrapes come by threads, one after the other here; those
that waited while another one asked share its answers, so that a child that hangs holds up a hundred scrapes no longer than one.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from outboard.service.supervision.control import METRICS, Unanswered, ask
from outboard.service.supervision.samples import Page, read_page

ANSWER_S: Final = 1.0
"""How long a scrape waits for children; Prometheus itself waits ten seconds by default."""
_CUMULATIVE: Final = ("counter", "histogram", "summary")
_GREATEST: Final = ("_seconds", "_timestamp", "_info")
_LEAST: Final = ("_up", "_reachable", "_created", "_expiry_timestamp_seconds")
_OF_ONE_PROCESS: Final = "process_"
_Key = tuple[str, tuple[tuple[str, str], ...]]
_Combine = Callable[[float, float], float]


class Source(Protocol):
    """A child, as its metrics see it."""

    @property
    def source(self) -> str:
        """What the label `process` says."""
        ...

    @property
    def life(self) -> int:
        """Which process it is by now: grows at every start."""
        ...

    @property
    def control(self) -> str | None:
        """Where it answers questions; None while it has no process."""
        ...


class _Account:
    """What is known of one child: its last page, and the sums of its earlier lives."""

    def __init__(self) -> None:
        self.life = 0
        self.page: Page = ()
        self.earlier = _Sums()

    def begin(self, life: int) -> None:
        """Note which life it is in; the last page of another one will not be replaced any more."""
        if life != self.life:
            self.earlier.add(self.page, is_living=False)
            self.life, self.page = life, ()


class Totals:
    """A Prometheus collector of this process and its children.

    Args:
        own: What collects this process's metrics.
        sources: Returns the children at present; called in threads.
        name: What the label `process` says of this process; None leaves its metrics as they are.
    """

    def __init__(self, own: Collector, sources: Callable[[], Iterable[Source]], name: str | None = None) -> None:
        self._own = own
        self._sources = sources
        self._name = name
        self._accounts: dict[str, _Account] = {}
        self._lock = threading.Lock()
        self._rounds = 0
        self._living: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        """Give the sums."""
        rounds = self._rounds
        with self._lock:
            sums = _Sums()
            sums.add(self._own.collect(), process=self._name)
            if self._rounds == rounds:  # otherwise all were asked after this scrape came
                self._rounds += 1
                self._living = self._ask()
            for name, account in self._accounts.items():
                sums.add(account.earlier.families(), is_living=False, process=name)
                sums.add(account.page, is_living=name in self._living, process=name)
        yield from sums.families()

    def restricted_registry(self, names: Iterable[str]) -> Collector:
        """Return what collects these samples only, for `/metrics?name[]=...`; the shape is `CollectorRegistry`'s."""
        return _Restricted(self, frozenset(names))

    def _ask(self) -> set[str]:
        """Ask all children at once and return who lives."""
        living = [(child.source, child.life, child.control) for child in self._sources()]
        asked = [(name, life, path) for name, life, path in living if path is not None]
        if not asked:
            return set()
        with ThreadPoolExecutor(len(asked), thread_name_prefix="outboard-scrape") as threads:
            pages = list(threads.map(_page, [path for _, _, path in asked]))
        for (name, life, _), page in zip(asked, pages, strict=True):
            account = self._accounts.setdefault(name, _Account())
            account.begin(life)
            if page is not None:
                account.page = page
        return {name for name, _, _ in asked}


class _Restricted:
    def __init__(self, totals: Totals, names: frozenset[str]) -> None:
        self._totals = totals
        self._names = names

    def collect(self) -> Iterator[Metric]:
        for family in self._totals.collect():
            family.samples = [sample for sample in family.samples if sample.name in self._names]
            if family.samples:
                yield family


class _Sums:
    """Samples of several pages, added up."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[Metric, dict[_Key, float]]] = {}

    def add(self, page: Iterable[Metric], *, is_living: bool = True, process: str | None = None) -> None:
        """Add a page; of a process that ended only what goes on counting."""
        for family in page:
            is_cumulative = family.type in _CUMULATIVE
            if not is_cumulative and not is_living:
                continue
            _, values = self._families.setdefault(
                family.name, (Metric(family.name, family.documentation, family.type), {})
            )
            for sample in family.samples:
                combine = _combination(sample.name, is_cumulative=is_cumulative)
                key = sample.name, tuple(sorted(_labels(sample, process).items()))
                known = values.get(key)
                values[key] = sample.value if known is None else combine(known, sample.value)

    def families(self) -> Iterator[Metric]:
        """Give the sums as metrics."""
        for family, values in self._families.values():
            summed = Metric(family.name, family.documentation, family.type)
            for (name, labels), value in values.items():
                summed.add_sample(name, dict(labels), value)
            yield summed


def _combination(name: str, *, is_cumulative: bool) -> _Combine:
    if name.endswith(_LEAST):
        return min
    if not is_cumulative and name.endswith(_GREATEST):
        return max
    return operator.add


def _labels(sample: Sample, process: str | None) -> Mapping[str, str]:
    """Return a sample's labels, with the path of processes to whose it is."""
    if process is None or not sample.name.startswith(_OF_ONE_PROCESS):
        return sample.labels
    inner = sample.labels.get("process")
    return {**sample.labels, "process": f"{process}/{inner}" if inner else process}


def _page(path: str) -> Page | None:
    try:
        return read_page(ask(path, METRICS, timeout_s=ANSWER_S))
    except (Unanswered, ValueError):
        return None
