"""What is told about a task: its event, its outcome, and the one sentence in both."""

from __future__ import annotations

import time
from typing import Final

from outboard.domain.phases import Phase
from outboard.engine.courses import Course, Reason, Stage
from outboard.engine.live_tasks import LiveTask
from outboard.engine.outcomes import LeftRunning, TaskEvent, TaskOutcome
from outboard.engine.verdicts import CANCELLED

_IN_VAIN: Final = {
    Stage.SENDING: "not started yet",
    Stage.POLLING: "cannot be asked at present",
    Stage.COLLECTING: "its outputs cannot be read at present",
}


def message_of(course: Course) -> str:
    """Return one sentence about where a task stands."""
    if course.is_over:
        return course.failure.message if course.failure else course.status.message if course.status else ""
    if course.stop is not None:
        doing = "cancelling" if course.stop.reason is Reason.CANCEL else "stopping"
        return f"{doing}, not confirmed yet: {course.problem}" if course.problem else doing
    if course.problem:
        return f"{_IN_VAIN[course.stage]}: {course.problem}"
    if course.status is not None:
        return course.status.message
    failure = course.failure
    return f"trying again after {failure.code}: {failure.message}" if failure and failure is not CANCELLED else ""


def is_news(known: TaskEvent, live: LiveTask) -> bool:
    """Tell whether a task has changed since an event about it."""
    course, status = live.course, live.course.status
    if (
        known.attempt != course.attempt
        or known.is_final != live.finished.done()
        or known.phase is not _phase_of(course)
        or known.unreachable != course.unreachable
    ):
        return True
    return known.message != message_of(course) or (status is not None and known.links != status.links)


def event_of(live: LiveTask, run_id: str) -> TaskEvent:
    """Return the event that says where a task stands."""
    course, status = live.course, live.course.status
    return TaskEvent(
        run_id=run_id,
        task_id=live.task_id,
        task_type=live.spec.task.type,
        phase=_phase_of(course),
        message=message_of(course),
        attempt=course.attempt,
        elapsed_s=time.monotonic() - live.started_at,
        problem="" if course.is_over else course.problem,
        unreachable=course.unreachable,
        links=status.links if status else (),
        custom_info=status.custom_info if status else None,
        is_final=live.finished.done(),
    )


def outcome_of(live: LiveTask, run_id: str) -> TaskOutcome:
    """Return the outcome of a task that is over."""
    course, spec, status = live.course, live.spec, live.course.status
    was_sent = course.began_at is not None or live.dispatch.recorded is not None
    return TaskOutcome(
        run_id=run_id,
        task_id=live.task_id,
        task_type=spec.task.type,
        phase=course.phase or Phase.FAILED,
        outputs=course.outputs,
        error=course.failure,
        message=message_of(course),
        attempts=course.attempt - spec.first_attempt + 1 if was_sent else 0,
        links=status.links if status else (),
        custom_info=status.custom_info if status else None,
        endpoint=live.dispatch.endpoint,
        handle=course.handle,
        output_prefix=spec.output_prefix(course.attempt),
        elapsed_s=time.monotonic() - live.started_at,
        is_final=course.stage is Stage.ENDED,
        left_running=_left_running(live),
    )


def _left_running(live: LiveTask) -> LeftRunning | None:
    course = live.course
    is_known_over = course.status is not None and course.status.phase.is_terminal
    if not course.left or is_known_over or (course.handle is None and not course.may_exist):
        return None
    return LeftRunning(
        task_id=live.task_id,
        task_type=live.spec.task.type,
        endpoint=live.dispatch.endpoint,
        handle=course.handle,
        reason=course.left,
    )


def _phase_of(course: Course) -> Phase | None:
    if course.is_over:
        return course.phase
    return course.status.phase if course.status else None
