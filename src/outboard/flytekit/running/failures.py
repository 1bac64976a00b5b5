"""What a user of flytekit gets to see: the platform's words, no frames of ours, and flytekit's own error class.

A workflow may catch it (`on_failure`, `try` in an eager workflow) as it catches what flytekit's own executor raises.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Final

from flytekit.core.python_function_task import PythonFunctionTask
from flytekit.exceptions.user import FlyteUserException

from outboard.domain.phases import Phase
from outboard.engine.outcomes import TaskOutcome
from outboard.errors import OutboardError
from outboard.flytekit.running.hook import is_ours

_FUNCTION: Final = "_task_function"
_KEPT: Final = "_outboard_task_function"
_FAILURES: Final = "_outboard_failures"
_lock: Final = threading.Lock()


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


def forbid_fallback(entity: Any, failure: Exception) -> None:
    """See that a failure is not swallowed by a plugin that would then run the function here.

    flytekit's Databricks task calls the executor within `try` and, whatever is raised, runs the user's function in this process
    instead: a job that failed on the platform would count as a success of another one. So the function of such a task raises
    the failure in turn, in the thread that failed, until `allow_function` puts it back. Other threads may be on their way to run
    the same task; theirs are failures of their own.
    """
    if not isinstance(entity, PythonFunctionTask) or is_ours(type(entity).execute):
        return
    with _lock:
        entity.__dict__.setdefault(_FAILURES, {})[threading.get_ident()] = failure
        if not hasattr(entity, _KEPT):
            setattr(entity, _KEPT, getattr(entity, _FUNCTION))
            setattr(entity, _FUNCTION, _failing(entity, getattr(entity, _KEPT)))


def allow_function(entity: Any) -> Exception | None:
    """Undo `forbid_fallback` for this thread; return its failure, if there was one."""
    with _lock:
        failures = entity.__dict__.get(_FAILURES, {})
        failure: Exception | None = failures.pop(threading.get_ident(), None)
        if not failures and hasattr(entity, _KEPT):
            setattr(entity, _FUNCTION, entity.__dict__.pop(_KEPT))
        return failure


def _failing(entity: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def fail(*args: Any, **kwargs: Any) -> Any:
        failure = allow_function(entity)
        if failure is None:
            return function(*args, **kwargs)
        raise failure.with_traceback(None) from None

    return fail
