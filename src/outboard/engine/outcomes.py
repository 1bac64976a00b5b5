"""What an engine tells: events while a task is under way, and its outcome."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from outboard.domain.handles import HandleCodec
from outboard.domain.phases import Phase
from outboard.domain.statuses import Failure, Link
from outboard.errors import HandleError, TaskFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvent:
    """Something about a task has changed.

    Attributes:
        phase: Where it stands; None until its service answered a first status.
        message: One sentence: the status's, or why nothing can be asked at present.
        attempt: Counted from 0.
        elapsed_s: Since this engine took it up.
        problem: Why nothing can be asked at present; the message says so too.
        unreachable: The name of the service that gives no answer at all at present.
        is_final: Nothing follows.
    """

    run_id: str
    task_id: str
    task_type: str
    phase: Phase | None
    message: str
    attempt: int
    elapsed_s: float
    problem: str = ""
    unreachable: str = ""
    links: Sequence[Link] = ()
    custom_info: Mapping[str, Any] | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftRunning:
    """What may go on running after its engine stopped waiting.

    Attributes:
        handle: The handle; None where CreateTask was not answered.
        reason: Why it is not known to be over.
    """

    task_id: str
    task_type: str
    endpoint: str
    handle: bytes | None
    reason: str

    @property
    def handle_text(self) -> str:
        """The handle in base64, as `outboard cancel` takes it; empty without one."""
        return "" if self.handle is None else base64.b64encode(self.handle).decode()

    @property
    def job(self) -> str:
        """The platform's id of the job, where the handle is readable; else empty."""
        try:
            return "" if self.handle is None else str(HandleCodec().decode(self.handle).job.get("id", ""))
        except HandleError:
            return ""

    def __str__(self) -> str:
        job = f" job {self.job}" if self.job else ""
        handle = f", handle {self.handle_text}" if self.handle else ""
        return f"{self.task_id} ({self.task_type} at {self.endpoint or 'no endpoint yet'}){job}: {self.reason}{handle}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome:
    """How a task ended, as far as its engine can tell.

    Attributes:
        phase: SUCCEEDED, FAILED (also when the retries are used up) or ABORTED.
        outputs: Native values by name, typed by the interface; None unless it succeeded.
        error: Why it failed.
        attempts: How many were made.
        handle: Of the last attempt.
        is_final: False when resuming the run would take the task up again.
        left_running: What may still run; None when nothing does.
    """

    run_id: str
    task_id: str
    task_type: str
    phase: Phase
    outputs: Mapping[str, Any] | None = None
    error: Failure | None = None
    message: str = ""
    attempts: int = 0
    links: Sequence[Link] = ()
    custom_info: Mapping[str, Any] | None = None
    endpoint: str = ""
    handle: bytes | None = None
    output_prefix: str = ""
    elapsed_s: float = 0.0
    is_final: bool = True
    left_running: LeftRunning | None = field(default=None)

    @property
    def is_success(self) -> bool:
        """Whether the task succeeded."""
        return self.phase is Phase.SUCCEEDED

    def require(self) -> Mapping[str, Any]:
        """Return the outputs; `TaskFailed` says why there are none."""
        if self.is_success:
            return self.outputs or {}
        words = f"{self.error.code}: {self.error.message}" if self.error else self.message or self.phase.value
        raise TaskFailed(f"task '{self.task_id}' ended as {self.phase.value} after {self.attempts} attempts; {words}")
