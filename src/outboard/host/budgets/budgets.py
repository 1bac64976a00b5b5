"""Budgets: what is left of the quotas of each account.

An `AccountBudget` is what calls through one connection spend: the buckets of its connection, of its account and of the whole
platform, as each declared rate is counted. Methods without a rate are free, and counted, until the platform throttles them;
then they get a bucket that grows and goes away again (see `throttles`). Which bucket "slow down" slows: the method's own,
or the one of all methods where the platform declares only that.

An agent that never asks its budget cannot be slowed at the platform's methods, so its own calls are: a `Throttled` that leaves
such a call slows the next calls of that agent's method for the account.

Budgets live as long as somebody holds them, since tasks may name ever new accounts; the figures for metrics outlive them.
The part of the rates that is ours (`Budgets.share`) may change at any time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from weakref import WeakValueDictionary

from outboard.agent.error_map import ErrorMap
from outboard.agent.spending import STATUS_QUESTIONS, AgentCall, Rank, current_call
from outboard.domain.quotas import ANY_METHOD, Quotas, QuotaScope, Rate
from outboard.errors import BudgetSpent, OutboardError, Throttled
from outboard.host.budgets.buckets import Bucket
from outboard.host.budgets.metrics import BudgetSample, expose
from outboard.host.budgets.queues import Line, Queue, Tally, Ticket
from outboard.host.labels import AccountLabels
from outboard.host.logs import TaskLog

_MOST_METHODS: Final = 200
_OTHER_METHODS: Final = "other methods"


class Buckets:
    """What one connection, account or platform has in common: buckets by method, and what is known of their throttling."""

    __slots__ = ("__weakref__", "_by_method", "_log", "_share", "_throttled", "_throttled_since", "queue")  # fmt: skip

    def __init__(self, queue: Queue, share: Callable[[], float], log: TaskLog | None = None) -> None:
        self.queue = queue
        self._share = share
        self._log = log if log is not None else TaskLog()
        self._by_method: dict[str, Bucket] = {}
        self._throttled: set[Bucket] = set()
        self._throttled_since = 0.0

    def of(self, method: str, rates: Sequence[Rate]) -> Bucket:
        """Return the bucket of a method."""
        bucket = self._by_method.get(method)
        if bucket is None:
            bucket = self._by_method[method] = Bucket(rates, self._share(), time.monotonic())
            bucket.recovered = self._recovered
        return bucket

    def slow_down(self, method: str, bucket: Bucket, sent_at: float, retry_after_s: float) -> bool:
        """Slow one of these buckets, and tell whether it was news; one log line tells when the first of them is."""
        with self.queue.lock:
            now = time.monotonic()
            is_news = bucket.slow_down(now, sent_at, retry_after_s)
            is_first = not self._throttled
            self._throttled.add(bucket)
            self.queue.review()
        if is_first:
            self._throttled_since = now
            self._log.warning(
                "account is throttled; calls go slower",
                method=method,
                calls_per_second=round(bucket.per_second(now), 3),
                retry_after=round(retry_after_s, 1),
            )
        return is_news

    def rescale(self, share: float) -> None:
        """Take another part of all rates."""
        with self.queue.lock:
            now = time.monotonic()
            for bucket in self._by_method.values():
                bucket.rescale(share, now)
            self.queue.review()

    def _recovered(self, bucket: Bucket) -> None:
        self._throttled.discard(bucket)
        if not self._throttled:
            # As loud as what it takes back: whoever saw that must not miss this.
            self._log.warning("account is throttled no more", seconds=round(time.monotonic() - self._throttled_since))


class AccountBudget:
    """The budget of an account, for the calls of one connection; an `outboard.agent.spending.Budget`.

    Args:
        quotas: What the platform declares.
        errors: Tells which of the client's exceptions mean "slow down".
        buckets: By what they are counted; of this budget alone where left out.
        tallies: Where calls are counted, by method.
    """

    def __init__(
        self,
        quotas: Quotas,
        errors: ErrorMap | None = None,
        buckets: Mapping[QuotaScope, Buckets] | None = None,
        tallies: Callable[[str], Tally] | None = None,
    ) -> None:
        self._quotas = quotas
        self._errors = errors if errors is not None else ErrorMap()
        if buckets is None:
            queue = Queue()
            buckets = {scope: Buckets(queue, lambda: 1.0) for scope in QuotaScope}
        self._buckets = buckets
        self._queue = buckets[QuotaScope.ACCOUNT].queue
        self._tallies = tallies if tallies is not None else lambda _: Tally()
        self._lines: dict[str, Line] = {}
        self._slowed: dict[Line, Buckets] = {}
        self._status_lines: dict[str, dict[str, Line]] = {}
        self.guarded: set[str] = set()

    def ask(self, method: str) -> Ticket | None:
        """Take a call of a method; None when it may be made now, else its place in the queue."""
        line = self._lines.get(method)
        if line is None:
            line = self._open_line(method)
        call = current_call()
        if call is None:
            return self._queue.ask(line, Rank.STATUS)
        call.spent = method
        if call.method in STATUS_QUESTIONS:
            self._learn(call, line)
        return self._queue.ask(line, call.rank)

    def failed(self, method: str, error: BaseException, sent_at: float) -> None:
        """Take note of what a call raised that was made at `sent_at`."""
        if isinstance(error, BudgetSpent) or not isinstance(error, Exception):
            return
        classified = error if isinstance(error, OutboardError) else self._errors.classify(error)
        if isinstance(classified, Throttled):
            wait_s = classified.retry_after.total_seconds() if classified.retry_after else 0.0
            self.slow_down(method, sent_at, wait_s)

    def slow_down(self, method: str, sent_at: float, retry_after_s: float = 0.0) -> None:
        """Answer a platform's "slow down" to a call of a method that was made at `sent_at`, in monotonic seconds."""
        line = self._lines.get(method) or self._open_line(method)
        if self._slowed[line].slow_down(method, line.buckets[0], sent_at, retry_after_s):
            line.tally.throttled += 1

    def call_failed(self, call: AgentCall, error: Throttled) -> None:
        """Take note of a `Throttled` that left an agent's call.

        Where a platform call of it has shown the same already, the rate was cut after this call began, and is not cut again.
        """
        if isinstance(error, BudgetSpent):
            return
        method = call.spent or guard(call.method)
        wait_s = error.retry_after.total_seconds() if error.retry_after else 0.0
        self.slow_down(method, call.began_at, wait_s)
        if not call.spent:
            self.guarded.add(call.method)
            line = self._lines.get(method)
            if line is not None and call.method in STATUS_QUESTIONS:
                self._learn(call, line)

    def status_wait_s(self, agent: str = "") -> float:
        """Return about how long a status call that asked now would wait; 0 when it is free, or nothing is known of it.

        Learned from the methods that status calls have spent so far: of one agent, or of all where none is named.
        """
        if agent:
            found = self._status_lines.get(agent)
            if found is None:
                return 0.0
        else:
            found = {method: line for lines in list(self._status_lines.values()) for method, line in lines.items()}
        with self._queue.lock:
            now = time.monotonic()
            return max([line.wait_s(Rank.STATUS, now) for line in found.values()], default=0.0)

    def figures(self) -> Iterator[tuple[str, int, float]]:
        """Give each method with how many of its calls wait, and how many per second may go (infinite when free)."""
        with self._queue.lock:
            now = time.monotonic()
            found = [
                (
                    line.method,
                    sum(map(len, line.waiting)),
                    min(bucket.per_second(now) for bucket in line.buckets),
                )
                for line in self._lines.values()
            ]
        return iter(found)

    def _learn(self, call: AgentCall, line: Line) -> None:
        lines = self._status_lines.get(call.agent)
        if lines is None:
            lines = self._status_lines.setdefault(call.agent, {})
        if line.method not in lines:
            with self._queue.lock:
                lines[line.method] = line

    def _open_line(self, method: str) -> Line:
        with self._queue.lock:
            if len(self._lines) >= _MOST_METHODS and method not in self._lines:
                method = _OTHER_METHODS  # who makes names of ids must not fill the memory
            line = self._lines.get(method)
            if line is not None:
                return line
            found = [
                (name, buckets, rates)
                for name in (method, ANY_METHOD)
                for scope, buckets in self._buckets.items()
                if (rates := [rate for rate in self._quotas.of(name) if rate.scope is scope])
            ] or [(method, self._buckets[QuotaScope.ACCOUNT], [])]
            line = Line(method, [buckets.of(name, rates) for name, buckets, rates in found], self._tallies(method))
            self._slowed[line] = found[0][1]
            self._lines[method] = line
            return line


def guard(method: str) -> str:
    """Return the name under which an agent's own method is slowed, which no platform's method has.

    >>> guard("get_many")
    'agent get_many'
    """
    return f"agent {method}"


class Budgets:
    """One budget per platform, account and connection, for as long as anybody holds it.

    Args:
        overrides: By platform, the operator's quotas in place of the declared ones.
        labels: Which accounts metrics may name.
        redact: Keeps secrets out of log lines.
    """

    def __init__(
        self,
        overrides: Mapping[str, Quotas] | None = None,
        labels: AccountLabels | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self.share = 1.0
        self._overrides = overrides or {}
        self._labels = labels if labels is not None else AccountLabels()
        self._redact = redact
        self._buckets: WeakValueDictionary[tuple[str, ...], Buckets] = WeakValueDictionary()
        self._accounts: WeakValueDictionary[tuple[str, str, str], AccountBudget] = WeakValueDictionary()
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        expose(self)

    def of(
        self, platform: str, account: str, quotas: Quotas, *, connection: str = "", errors: ErrorMap | None = None
    ) -> AccountBudget:
        """Return the budget that calls of an account through a connection spend.

        Args:
            platform: The platform's name.
            account: What it counts quota by.
            quotas: What it declares.
            connection: What tells its connections apart.
            errors: The platform's error map.
        """
        key = (platform, account, connection)
        budget = self._accounts.get(key)
        if budget is None:
            quotas = self._overrides.get(platform, quotas)
            label = self._labels.label(platform, account)

            def tally(method: str) -> Tally:
                return self._tallies.setdefault((platform, label, method), Tally())

            budget = AccountBudget(quotas, errors, self._scopes(platform, account, connection, quotas), tally)
            self._accounts[key] = budget
        return budget

    def rescale(self, share: float) -> None:
        """Take another part of all rates from now on, for calls that wait already too."""
        self.share = share
        for buckets in list(self._buckets.values()):
            buckets.rescale(share)

    def samples(self) -> Sequence[BudgetSample]:
        """Return what the metrics say; called from the scraper's thread."""
        samples = [
            BudgetSample(
                platform=platform,
                account=label,
                method=method,
                spent=tally.spent,
                throttled=tally.throttled,
                waited_s=tally.waited_s,
            )
            for (platform, label, method), tally in self._tallies.copy().items()
        ]
        # Iterating a weak dictionary would fail when the loop's thread adds to it meanwhile, or somebody lets go.
        for found in self._accounts.valuerefs():
            budget = found()
            if budget is None:
                continue
            platform, account, _ = found.key
            label = self._labels.label(platform, account)
            for method, waiting, rate in budget.figures():
                per_second = None if math.isinf(rate) else rate
                samples.append(
                    BudgetSample(
                        platform=platform, account=label, method=method, waiting=waiting, per_second=per_second
                    )
                )
        return samples

    def _scopes(self, platform: str, account: str, connection: str, quotas: Quotas) -> Mapping[QuotaScope, Buckets]:
        whole = self._shared((platform,), None, TaskLog(self._redact, platform=platform))
        # One server for everybody makes one queue for everybody; otherwise accounts do not even share a lock.
        is_whole = any(rate.scope is QuotaScope.PLATFORM for _, rate in quotas)
        log = TaskLog(self._redact, platform=platform, account=account)
        ours = self._shared((platform, account), whole.queue if is_whole else None, log)
        own = self._shared((platform, account, connection), ours.queue, log)
        return {QuotaScope.ACCOUNT: ours, QuotaScope.CONNECTION: own, QuotaScope.PLATFORM: whole}

    def _shared(self, key: tuple[str, ...], queue: Queue | None, log: TaskLog) -> Buckets:
        buckets = self._buckets.get(key)
        if buckets is None:
            buckets = Buckets(queue if queue is not None else Queue(), lambda: self.share, log)
            self._buckets[key] = buckets
        return buckets
