"""Who runs a task: our engine, where an agent serves its type; else flytekit, as if we were not installed.

Not ours are also tasks in a process that is itself a task on a cluster. What cannot be decided is an error rather than a silent
change of ways: a service that `OUTBOARD_ENDPOINT` names and that does not answer, settings that are wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flytekit.loggers import logger

from outboard.domain.tasks import TaskType
from outboard.errors import OutboardError
from outboard.flytekit.running.errands import Errand
from outboard.flytekit.running.failures import allow_function, failure_of, forbid_fallback, refusal_of
from outboard.flytekit.running.shared_engine import shared_engine
from outboard.flytekit.running.tasks import is_on_cluster, literal_map_of, node_name, task_of
from outboard.flytekit.running.waiting import wait_for

Original = Callable[..., Any]


def execute_task(entity: Any, inputs: Mapping[str, Any], original: Original) -> Any:
    """Execute a task of flytekit and return its outputs as a `LiteralMap`, as flytekit's own executor does.

    Args:
        entity: The task.
        inputs: Native values.
        original: flytekit's own executor.

    Raises:
        AgentTaskFailed: It failed, or could not be sent.
        Interrupted: Ctrl-C; the jobs were cancelled.
    """
    if is_on_cluster():
        return original(entity, **inputs)
    allow_function(entity)
    try:
        literals = _execute(entity, inputs)
    except OutboardError as error:
        failure = refusal_of(entity.name, error)
        forbid_fallback(entity, failure)
        raise failure from None
    except Exception as error:  # what cannot be serialised or uploaded is no reason to run it here either
        forbid_fallback(entity, error)
        raise
    return original(entity, **inputs) if literals is None else literals


def _execute(entity: Any, inputs: Mapping[str, Any]) -> Any:
    """Return a task's outputs; None where nobody serves it."""
    engine = shared_engine()
    task_type = TaskType(entity.task_type, entity.task_type_version)
    kind = (type(entity).__module__, type(entity).__name__)
    if not wait_for(Errand(lambda _: engine.is_served(task_type, kind)), engine):
        failed = "".join(f"; {each.source} could not be loaded: {each.reason}" for each in engine.failures)
        logger.debug(f"Outboard has no agent for task type {task_type}: flytekit executes '{entity.name}'{failed}")
        return None
    task = task_of(entity, inputs, keeps_base=engine.settings.has_own_base)
    outcome = wait_for(Errand(partial(engine.run, task, node_name(entity.name))), engine)
    if not outcome.is_success:
        raise failure_of(entity.name, outcome)
    return literal_map_of(outcome.outputs, task.interface.outputs)
