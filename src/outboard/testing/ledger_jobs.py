"""Jobs of the ledger: how one goes, what is recorded of it, and what the platform shows of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from typing_extensions import Self

from outboard.agent import TaskConfig

QUEUED: Final = "QUEUED"
RUNNING: Final = "RUNNING"
CANCELLING: Final = "CANCELLING"
SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
LOST: Final = "LOST"
CANCELLED: Final = "CANCELLED"

ENDS: Final = frozenset({SUCCEEDED, FAILED, LOST, CANCELLED})
"""The states after which nothing follows."""
STATES: Final = ENDS | {QUEUED, RUNNING, CANCELLING}
"""What the platform documents; `LOST` is a job that its platform lost, so another attempt is worth it."""
KEY_LABEL: Final = "outboard-key"


class Course(TaskConfig):
    """How a job goes; also the configuration of tasks of the kit's agents, so a task says how its job goes.

    Attributes:
        queued_s: Seconds in QUEUED.
        running_s: Seconds in RUNNING; None is for ever.
        outcome: The state it ends in.
        outputs: What it gives when it succeeds; None when it gives nothing.
        message: The platform's words once it is over.
        writes_files: Whether it writes its outputs as files at its output prefix instead of keeping them for `fetch`.
        error: What such a job writes into `error.pb` instead, although its state says that it succeeded.
        cancelling_s: Seconds from the cancel to the end.
        deaf_to: How many accepted cancels come to nothing.
    """

    queued_s: float = 0.0
    running_s: float | None = 10.0
    outcome: str = SUCCEEDED
    outputs: Mapping[str, Any] | None = None
    message: str = ""
    writes_files: bool = False
    error: str = ""
    cancelling_s: float = 0.0
    deaf_to: int = 0

    def over(self, default: Course) -> Course:
        """Return this course where it says something, and `default` elsewhere."""
        said = {name: getattr(self, name) for name in self.model_fields_set & set(Course.model_fields)}
        return default.model_copy(update=said)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """What the platform answers about a job.

    Attributes:
        created_at: By the platform's own clock, which may be wrong.
        has_outputs: Whether `fetch` has something to give.
    """

    id: str
    state: str
    created_at: float
    name: str = ""
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    has_outputs: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the view as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the view that a platform sent; `KeyError` and `TypeError` when it is none."""
        return cls(
            id=_text(value["id"]),
            state=_text(value["state"]),
            created_at=float(value["created_at"]),
            name=_text(value["name"]),
            message=_text(value["message"]),
            labels=dict(value["labels"]),
            has_outputs=bool(value["has_outputs"]),
        )


@dataclass(slots=True, kw_only=True, eq=False)
class LedgerJob:
    """A job as it really is.

    Attributes:
        started_at: `time.time()` of its start.
        output_prefix: Where its caller wanted the outputs.
        is_second: It was started although its key had had a job, or while another job of its task went on.
        cancels: When cancels were accepted.
        late_cancels: Cancels that came when it was over; a host that keeps the promise sends none.
        fetches: How often its outputs were fetched.
        settled: The state that a test put it in, and when.
        disguise: The state that it shows instead of its own.
        is_forgotten: The platform lost the record.
        has_written: It wrote its output files.
    """

    id: str
    started_at: float
    course: Course
    token: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    output_prefix: str = ""
    is_second: bool = False
    cancels: list[float] = field(default_factory=list)
    late_cancels: int = 0
    fetches: int = 0
    settled: tuple[str, float] | None = None
    disguise: str | None = None
    is_forgotten: bool = False
    has_written: bool = False

    @property
    def key(self) -> str:
        """What its caller knows it by: its `outboard-key` label, else its name, else its token; empty without any."""
        return self.labels.get(KEY_LABEL) or self.name or self.token

    @property
    def task(self) -> str:
        """What all attempts of one task share: the output prefix without its attempt; the key where there is none."""
        return task_of_prefix(self.output_prefix) or self.key

    @property
    def has_outputs(self) -> bool:
        """Whether the platform keeps outputs of it once it succeeded."""
        return self.course.outputs is not None and not self.course.writes_files

    def state(self, now: float) -> str:
        """Return where the job really stands."""
        if self.settled is not None and self.settled[1] <= now:
            return self.settled[0]
        heeded = self._heeded()
        if heeded is not None and heeded <= now:
            return CANCELLED if now >= heeded + self.course.cancelling_s else CANCELLING
        age = now - self.started_at
        if age < self.course.queued_s:
            return QUEUED
        return self.course.outcome if now >= self._natural_end() else RUNNING

    def ended_at(self) -> float:
        """Return when it is over; infinity when that is not foreseen."""
        if self.settled is not None:
            return self.settled[1] if self.settled[0] in ENDS else math.inf
        heeded = self._heeded()
        if heeded is not None:
            return heeded + self.course.cancelling_s
        return self._natural_end() if self.course.outcome in ENDS else math.inf

    def view(self, now: float, skew_s: float = 0.0) -> JobView:
        """Return what the platform shows of it."""
        state = self.state(now)
        return JobView(
            id=self.id,
            state=self.disguise or state,
            created_at=self.started_at + skew_s,
            name=self.name,
            message=self.course.message if state in ENDS else "",
            labels=dict(self.labels),
            has_outputs=state == SUCCEEDED and self.has_outputs,
        )

    def log(self, now: float) -> list[tuple[float, str]]:
        """Return the lines that the job has logged until now: when, and what."""
        course = self.course
        lines = [(self.started_at, f"queued as {self.id}"), (self.started_at + course.queued_s, "running")]
        lines += [(at, "cancel accepted") for at in self.cancels]
        lines.append((self.ended_at(), f"ended as {self.state(now)}"))
        return sorted(line for line in lines if line[0] <= min(now, self.ended_at()))

    def _heeded(self) -> float | None:
        return self.cancels[self.course.deaf_to] if len(self.cancels) > self.course.deaf_to else None

    def _natural_end(self) -> float:
        running_s = math.inf if self.course.running_s is None else self.course.running_s
        return self.started_at + self.course.queued_s + running_s


def task_of_prefix(output_prefix: str) -> str:
    """Return an output prefix without its last part, which is the attempt.

    >>> task_of_prefix("s3://bucket/f1/n0/2/")
    's3://bucket/f1/n0'
    """
    return output_prefix.rstrip("/").rpartition("/")[0]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value
