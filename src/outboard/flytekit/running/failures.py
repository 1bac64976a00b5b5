"""What a user of flytekit gets to see: the platform's words, no frames of ours, and flytekit's own error class.

A workflow may catch it (`on_failure`, `try` in an eager workflow) as it catches what flytekit's own executor raises.
"""

from __future__ import annotations

from typing import Any, Final

from flytekit.core.python_function_task import PythonFunctionTask
from flytekit.exceptions.user import FlyteUserException

from outboard.domain.phases import Phase
from outboard.engine.outcomes import TaskOutcome
from outboard.errors import OutboardError
from outboard.flytekit.running.hook import is_ours

_FUNCTION: Final = "_task_function"
_KEPT: Final = "_outboard_task_function"


class AgentTaskFailed(FlyteUserException):  # type: ignore[misc]  # flytekit has no types that mypy follows
    """A task did not succeed.

    Attributes:
        outcome: How it ended; None where nothing could be sent at all.
        error: Why nothing could be sent.
    """

    _ERROR_CODE = "USER:AgentTaskFailed"

    def __init__(self, message: str, *, outcome: TaskOutcome | None = None, error: OutboardError | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.error = error

    def __str__(self) -> str:
        # flytekit wraps the text of what it passes on; its own classes would put a prefix into each layer.
        return str(self.args[0]) if self.args else ""


def failure_of(name: str, outcome: TaskOutcome) -> AgentTaskFailed:
    """Return what to raise for a task that did not succeed."""
    attempts = f" after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
    if outcome.phase is Phase.ABORTED and outcome.error is None:
        words = outcome.message or "it was cancelled"
    elif outcome.error is not None:
        words = f"{outcome.error.message} ({outcome.error.code})"
    else:
        words = outcome.message or "no reason given"
    if outcome.left_running is not None:
        words += f"; it may still be running: `outboard cancel {outcome.run_id}/{outcome.task_id}`"
    return AgentTaskFailed(f"task '{name}' failed{attempts}: {words}", outcome=outcome)


def refusal_of(name: str, error: OutboardError) -> AgentTaskFailed:
    """Return what to raise where a task could not be sent: no service, no journal, wrong settings."""
    return AgentTaskFailed(f"task '{name}' was not started: {error.message} ({error.code})", error=error)


def forbid_fallback(entity: Any, failure: AgentTaskFailed) -> None:
    """See that a failure is not swallowed by a plugin that would then run the function here.

    flytekit's Databricks task calls the executor within `try` and, whatever is raised, runs the user's function in this process
    instead: a job that failed on the platform would count as a success of another one. So the function of such a task raises
    the failure in turn, until `allow_function` puts it back.
    """
    if not isinstance(entity, PythonFunctionTask) or is_ours(type(entity).execute) or hasattr(entity, _KEPT):
        return

    def fail(*_: Any, **__: Any) -> None:
        allow_function(entity)
        raise failure.with_traceback(None) from None

    setattr(entity, _KEPT, getattr(entity, _FUNCTION))
    setattr(entity, _FUNCTION, fail)


def allow_function(entity: Any) -> None:
    """Undo `forbid_fallback`."""
    kept = entity.__dict__.pop(_KEPT, None)
    if kept is not None:
        setattr(entity, _FUNCTION, kept)
