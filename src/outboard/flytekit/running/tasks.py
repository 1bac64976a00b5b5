"""flytekit's task and native inputs to ours, and our outputs to flytekit's.

What a task is, is what flytekit would register: its template, serialised under the context's settings. Inputs are literals as
flytekit's type engine makes them under the task's own Python types, so an agent reads what it would read on Flyte. A template's
placeholders stay; the engine renders them for every attempt, as FlytePropeller does.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flyteidl.admin import agent_pb2
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.context_manager import ExecutionState, FlyteContext, FlyteContextManager
from flytekit.core.python_function_task import PythonFunctionTask
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekit.tools.translator import get_serializable

from outboard.domain.tasks import RawTask
from outboard.domain.types import ValueType
from outboard.wire.literals import encode_values
from outboard.wire.tasks import decode_task

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 60
_CLUSTER: Final = frozenset(
    {
        ExecutionState.Mode.TASK_EXECUTION,
        ExecutionState.Mode.DYNAMIC_TASK_EXECUTION,
        ExecutionState.Mode.EAGER_EXECUTION,
    }
)


def is_on_cluster() -> bool:
    """Tell whether this process is itself a task on a cluster, where Flyte's own engine is at work."""
    state = FlyteContextManager.current_context().execution_state
    return state is not None and state.mode in _CLUSTER


def task_of(entity: Any, inputs: Mapping[str, Any], *, keeps_base: bool) -> RawTask:
    """Return the task that flytekit would send for one of its entities.

    Args:
        entity: A task of flytekit.
        inputs: Native values.
        keeps_base: Whether the engine's own place for outputs was chosen by somebody; else a remote data prefix of the
            context (`pyflyte run --raw-output-data-prefix`) counts.

    Raises:
        InvalidTask: The template holds what cannot be understood.
    """
    ctx = FlyteContextManager.current_context()
    settings = ctx.serialization_settings or SerializationSettings(ImageConfig())
    template = get_serializable(OrderedDict(), settings, entity).template.to_flyte_idl()
    literals = _literals_of(entity, inputs, ctx).to_flyte_idl()
    task = decode_task(template, literals, "" if keeps_base else _remote_prefix(ctx), agent_pb2.TaskExecutionMetadata())
    project, domain = _project_of(ctx, settings)
    return replace(task, identity=replace(task.identity, project=project, domain=domain))


def literal_map_of(outputs: Mapping[str, Any] | None, types: Mapping[str, ValueType]) -> LiteralMap:
    """Return outputs as flytekit hands them on, which for a task without any is an empty map."""
    return LiteralMap.from_flyte_idl(encode_values(outputs or {}, types))


def node_name(name: str) -> str:
    """Return a task's name as the beginning of a node's, which is part of paths and labels.

    >>> node_name("flows.etl.top ten")
    'flows.etl.top-ten'
    """
    return _NOT_IN_IDS.sub("-", name).strip("-.")[-_LONGEST_NAME:] or "task"


def _literals_of(entity: Any, inputs: Mapping[str, Any], ctx: FlyteContext) -> LiteralMap:
    """Return inputs as literals; those of a function are read elsewhere, so files of theirs are uploaded."""
    values, types = dict(inputs), entity.get_input_types()
    if not isinstance(entity, PythonFunctionTask):
        return TypeEngine.dict_to_literal_map(ctx, values, types)
    state = ctx.new_execution_state().with_params(mode=ExecutionState.Mode.TASK_EXECUTION)
    with FlyteContextManager.with_context(ctx.new_builder().with_execution_state(state)) as remote:
        return TypeEngine.dict_to_literal_map(remote, values, types)


def _remote_prefix(ctx: FlyteContext) -> str:
    """Return an output prefix for a first attempt under the context's remote prefix; empty where that is a local folder."""
    access = ctx.file_access
    if not access.is_remote(access.raw_output_prefix):
        return ""
    return f"{access.get_random_remote_directory().rstrip('/')}/0"


def _project_of(ctx: FlyteContext, settings: SerializationSettings) -> tuple[str, str]:
    params = ctx.user_space_params
    execution = params.execution_id if params is not None else None
    project = settings.project or (execution.project if execution is not None else "")
    domain = settings.domain or (execution.domain if execution is not None else "")
    return project or "", domain or ""
