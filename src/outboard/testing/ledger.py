"""The ledger: what a platform really has, apart from what it answers.

Tests of the promise count jobs, not calls. A `Ledger` is a whole small platform in memory without any network: it
starts jobs, knows where each stands, forgets tokens and records after a while, and shows jobs late in listings. The
clients and servers around it add latency and faults; whatever they lose on the way, the ledger has the truth.

A job's state is a pure function of its record and the time: nothing ticks, so jobs cost nothing in virtual time.
Its course is QUEUED, RUNNING, then its outcome; a cancel that is heeded makes it CANCELLING for a while and then
CANCELLED. The platform's methods (`create` to `logs`) are what agents reach; the rest is for tests. All of it may be
called from any thread.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from outboard.domain.keys import Key
from outboard.domain.tasks import RawTask, Task
from outboard.testing.ledger_jobs import ENDS, SUCCEEDED, Course, JobView, LedgerJob, task_of_prefix
from outboard.testing.platform_clock import platform_time
from outboard.testing.tallies import Tally

__all__ = ["Course", "JobView", "Ledger", "LedgerEvent", "LedgerJob", "LedgerRules", "NameTaken", "NoSuchJob"]

TOKEN_VALID_FOR: Final = timedelta(hours=24)
"""How long the ledger remembers tokens unless its rules say otherwise; what the kit's `Token` agents declare."""


class NoSuchJob(Exception):
    """The platform has no such job, or no record of it any more."""


class NameTaken(Exception):
    """The platform has a job of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRules:
    """How the platform behaves towards everybody.

    Attributes:
        course: How jobs go that do not say it themselves.
        visible_after: After which time a job is found by its labels.
        readable_after: After which time it is known by its id.
        retained_for: How long the record of a job that is over is kept; its name is free again then. None is for ever.
        valid_for: How long tokens are remembered.
        clock_skew: How far the platform's clock is ahead of ours.
    """

    course: Course = field(default_factory=Course)
    visible_after: timedelta = timedelta(0)
    readable_after: timedelta = timedelta(0)
    retained_for: timedelta | None = None
    valid_for: timedelta = TOKEN_VALID_FOR
    clock_skew: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEvent:
    """Something that really happened: `started`, `repeated` (a create that found the first job), `cancelled`, `fetched`.

    Attributes:
        at: `time.time()`.
        key: The job's key.
    """

    at: float
    word: str
    job: str
    key: str


class Ledger:
    """A platform's jobs, and the questions that tests ask about them.

    Args:
        rules: How the platform behaves; may be replaced at any time.

    Attributes:
        jobs: All jobs that were ever started, by id, in the order of their start.
        effects: How often something happened, by the words of `LedgerEvent`; `await effects.reaches("started", 3)`.
        events: What happened, in order.

    >>> ledger = Ledger()
    >>> first = ledger.create(token="t")
    >>> ledger.create(token="t").id == first.id, ledger.started("t"), len(ledger.live())
    (True, 1, 1)
    """

    def __init__(self, rules: LedgerRules | None = None) -> None:
        self.rules = rules if rules is not None else LedgerRules()
        self.jobs: dict[str, LedgerJob] = {}
        self.effects = Tally()
        self.events: list[LedgerEvent] = []
        self._numbers = itertools.count(1)
        self._by_token: dict[str, LedgerJob] = {}
        self._by_label: dict[tuple[str, str], list[LedgerJob]] = {}
        self._by_key: dict[str, list[LedgerJob]] = {}
        self._by_task: dict[str, list[LedgerJob]] = {}
        self._lock = threading.RLock()

    def create(
        self,
        *,
        token: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
        course: Course | None = None,
        output_prefix: str = "",
    ) -> JobView:
        """Start a job, or return the first one of a token that is still remembered.

        A named job's id is its name. A token and a name may both be left out: then every call starts another job.

        Raises:
            NameTaken: There is a record of a job of this name.
        """
        with self._lock:
            now = platform_time()
            first = self._by_token.get(token) if token else None
            if first is not None and now < first.started_at + self.rules.valid_for.total_seconds():
                self._note("repeated", first, now)
                return self._view(first, now)
            if name and self._record(name, now) is not None:
                raise NameTaken(f"there is a job named {name}")
            job = LedgerJob(
                id=name or f"job-{next(self._numbers)}",
                started_at=now,
                course=course.over(self.rules.course) if course is not None else self.rules.course,
                token=token,
                name=name,
                labels=dict(labels or {}),
                output_prefix=output_prefix,
            )
            self._enter(job, now)
            return self._view(job, now)

    def get(self, job_id: str) -> JobView | None:
        """Return a job by its id; None when there is no record of it, or it is not readable yet."""
        with self._lock:
            now = platform_time()
            job = self._readable(job_id, now)
            return None if job is None else self._view(job, now)

    def get_many(self, job_ids: Iterable[str]) -> list[JobView]:
        """Return those of the jobs that are known by their ids."""
        return [view for view in map(self.get, job_ids) if view is not None]

    def find(self, label: str, value: str) -> list[JobView]:
        """Return the jobs that carry a label and are visible by now, oldest first."""
        with self._lock:
            now = platform_time()
            visible_after_s = self.rules.visible_after.total_seconds()
            return [
                self._view(job, now)
                for job in self._by_label.get((label, value), ())
                if job.started_at + visible_after_s <= now and not self._is_gone(job, now)
            ]

    def cancel(self, job_id: str) -> None:
        """Accept a cancel; it does nothing to a job that is over.

        Raises:
            NoSuchJob: There is no record of it.
        """
        with self._lock:
            now = platform_time()
            job = self._required(job_id, now)
            if job.state(now) in ENDS:
                job.late_cancels += 1
                return
            job.cancels.append(now)
            self._note("cancelled", job, now)

    def fetch(self, job_id: str) -> Mapping[str, Any]:
        """Return the outputs of a job that succeeded.

        Raises:
            NoSuchJob: There is no record of it, or it has no outputs.
        """
        with self._lock:
            now = platform_time()
            job = self._required(job_id, now)
            if job.state(now) != SUCCEEDED or not job.has_outputs:
                raise NoSuchJob(f"job {job_id} has no outputs")
            job.fetches += 1
            self._note("fetched", job, now)
            return job.course.outputs or {}

    def logs(self, job_id: str) -> list[tuple[float, str]]:
        """Return the lines that a job has logged: when, by the platform's clock, and what.

        Raises:
            NoSuchJob: There is no record of it.
        """
        with self._lock:
            now = platform_time()
            skew_s = self.rules.clock_skew.total_seconds()
            return [(at + skew_s, line) for at, line in self._required(job_id, now).log(now)]

    @property
    def now(self) -> float:
        """What the platform's own clock shows."""
        return platform_time() + self.rules.clock_skew.total_seconds()

    def live(self) -> list[LedgerJob]:
        """Return the jobs that are not over, however well the platform hides them."""
        with self._lock:
            now = platform_time()
            return [job for job in self.jobs.values() if job.state(now) not in ENDS]

    def started(self, key: Key | str) -> int:
        """Return how many jobs were ever started under a key (or name, or token)."""
        return len(self._by_key.get(str(key), ()))

    def jobs_of(self, task: RawTask | str) -> list[LedgerJob]:
        """Return the jobs of all attempts of a task, oldest first.

        Args:
            task: The task, of which the output prefix without its attempt counts; or a key, or such a prefix.
        """
        name = task_of_prefix(task.output_prefix) if isinstance(task, Task) else task
        with self._lock:
            return list(self._by_task.get(name) or self._by_key.get(name) or ())

    def second_jobs(self) -> list[LedgerJob]:
        """Return the jobs that should not be: started under a key that had had one, or beside a living job of their task.

        A job whose cancel was asked for does not count as living here.
        """
        with self._lock:
            return [job for job in self.jobs.values() if job.is_second]

    def late_cancels(self) -> int:
        """Return how many cancels came for jobs that were over."""
        with self._lock:
            return sum(job.late_cancels for job in self.jobs.values())

    def settle(self, job_id: str, state: str) -> None:
        """Put a job into a state now, for good: the platform's own doing, or somebody's at its console."""
        with self._lock:
            self.jobs[job_id].settled = (state, platform_time())

    def disguise(self, job_id: str, word: str | None) -> None:
        """Let a job show this state instead of its own, whatever happens to it; None shows its own again."""
        with self._lock:
            self.jobs[job_id].disguise = word

    def forget(self, job_id: str) -> None:
        """Let the platform lose the record of a job, which goes on nevertheless."""
        with self._lock:
            self.jobs[job_id].is_forgotten = True

    def _enter(self, job: LedgerJob, now: float) -> None:
        if job.id in self.jobs:
            # A name that is free again; what was known of the older job stays under a name of its own.
            older = self.jobs.pop(job.id)
            self.jobs[f"{job.id}@{older.started_at}"] = older
        siblings = self._by_task.setdefault(job.task, []) if job.task else []
        mates = self._by_key.setdefault(job.key, []) if job.key else []
        job.is_second = bool(mates) or any(each.state(now) not in ENDS and not each.cancels for each in siblings)
        siblings.append(job)
        mates.append(job)
        self.jobs[job.id] = job
        if job.token:
            self._by_token[job.token] = job
        for label in job.labels.items():
            self._by_label.setdefault(label, []).append(job)
        self._note("started", job, now)

    def _record(self, job_id: str, now: float) -> LedgerJob | None:
        job = self.jobs.get(job_id)
        return None if job is None or self._is_gone(job, now) else job

    def _readable(self, job_id: str, now: float) -> LedgerJob | None:
        job = self._record(job_id, now)
        is_known = job is not None and job.started_at + self.rules.readable_after.total_seconds() <= now
        return job if is_known else None

    def _required(self, job_id: str, now: float) -> LedgerJob:
        job = self._readable(job_id, now)
        if job is None:
            raise NoSuchJob(f"there is no job {job_id}")
        return job

    def _is_gone(self, job: LedgerJob, now: float) -> bool:
        retained_for = self.rules.retained_for
        kept_s = math.inf if retained_for is None else retained_for.total_seconds()
        return job.is_forgotten or now >= job.ended_at() + kept_s

    def _view(self, job: LedgerJob, now: float) -> JobView:
        return job.view(now, self.rules.clock_skew.total_seconds())

    def _note(self, word: str, job: LedgerJob, now: float) -> None:
        self.events.append(LedgerEvent(at=now, word=word, job=job.id, key=job.key))
        self.effects.add(word)
