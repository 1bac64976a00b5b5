"""The two SDKs' ways to speak with a connector; everything else about hosting is the same for both.

A dialect makes the arguments of a call as the SDK's own service makes them, and reads what comes back. Answers of both are
read as Flyte 1's messages, since those of Flyte 2 have the same bytes wherever they say the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2, tasks_pb2

from outboard.domain.provided import Provided
from outboard.domain.tasks import RawTask, Task
from outboard.wire.lazy_values import LazyValues
from outboard.wire.tasks import encode_inputs, encode_metadata, encode_template, sent_template


class Dialect(ABC):
    """How an SDK's service calls its connectors.

    Attributes:
        plain_meta: The SDK's base class of resource metas.
    """

    plain_meta: type

    @abstractmethod
    async def arguments(self, task: Task[Any], provided: Provided) -> dict[str, Any]:
        """Return the keyword arguments of `create`, and of a sync connector's `do` once the metadata is taken out."""

    @abstractmethod
    def provided_arguments(self, provided: Provided) -> dict[str, Any]:
        """Return the keyword arguments that calls about a job get beside its resource meta."""

    @abstractmethod
    def log_arguments(self, token: str) -> dict[str, Any]:
        """Return the keyword arguments that `get_logs` gets beside the resource meta."""

    @abstractmethod
    async def literals(self, outputs: Any) -> literals_pb2.LiteralMap | None:
        """Return a resource's outputs as literals, by the SDK's own conversion; None where it sends none."""

    async def outputs(self, outputs: Any) -> Mapping[str, Any] | None:
        """Return a resource's outputs as they go out: literals that nobody reads on the way."""
        literals = None if outputs is None else await self.literals(outputs)
        return None if literals is None else LazyValues(literals.literals, None, "outputs")


class Flytekit(Dialect):
    """flytekit's: models made of the messages."""

    def __init__(self) -> None:
        from flytekit.extend.backend.base_connector import ResourceMeta  # noqa: PLC0415 - where flytekit is hosted

        self.plain_meta = ResourceMeta

    async def arguments(self, task: Task[Any], provided: Provided) -> dict[str, Any]:  # noqa: ARG002 - Flyte 2's
        """See `Dialect.arguments`."""
        from flytekit.models.literals import LiteralMap  # noqa: PLC0415 - where flytekit is hosted
        from flytekit.models.task import TaskExecutionMetadata, TaskTemplate  # noqa: PLC0415 - same

        raw = _raw(task)
        return {
            "task_template": TaskTemplate.from_flyte_idl(_template(raw)),
            "inputs": LiteralMap.from_flyte_idl(encode_inputs(raw)),
            "output_prefix": task.output_prefix,
            "task_execution_metadata": TaskExecutionMetadata.from_flyte_idl(encode_metadata(raw)),
        }

    def provided_arguments(self, provided: Provided) -> dict[str, Any]:  # noqa: ARG002 - its connectors know none
        """See `Dialect.provided_arguments`."""
        return {}

    def log_arguments(self, token: str) -> dict[str, Any]:  # noqa: ARG002 - its connectors know none
        """See `Dialect.log_arguments`."""
        return {}

    async def literals(self, outputs: Any) -> literals_pb2.LiteralMap | None:
        """See `Dialect.literals`."""
        from flytekit import FlyteContext  # noqa: PLC0415 - where flytekit is hosted
        from flytekit.core.type_engine import TypeEngine  # noqa: PLC0415 - same
        from flytekit.models.literals import LiteralMap  # noqa: PLC0415 - same

        if isinstance(outputs, LiteralMap):
            return outputs.to_flyte_idl()
        return await TypeEngine.dict_to_literal_map_pb(FlyteContext.current_context(), outputs)


class Flyte2(Dialect):
    """Flyte 2's SDK: messages of flyteidl2, native inputs, secrets and settings as keyword arguments."""

    def __init__(self) -> None:
        from flyte.connectors._connector import ResourceMeta  # noqa: PLC0415 - where Flyte 2's SDK is hosted

        self.plain_meta = ResourceMeta

    async def arguments(self, task: Task[Any], provided: Provided) -> dict[str, Any]:
        """See `Dialect.arguments`."""
        from flyteidl2.connector import connector_pb2  # noqa: PLC0415 - where Flyte 2's SDK is hosted
        from flyteidl2.core import tasks_pb2 as tasks2_pb2  # noqa: PLC0415 - same

        raw = _raw(task)
        template = tasks2_pb2.TaskTemplate.FromString(_template(raw).SerializeToString())
        metadata = connector_pb2.TaskExecutionMetadata.FromString(encode_metadata(raw).SerializeToString())
        return {
            **self.provided_arguments(provided),
            "task_template": template,
            "inputs": await _native_inputs(raw, template),
            "output_prefix": task.output_prefix,
            "task_execution_metadata": metadata,
        }

    def provided_arguments(self, provided: Provided) -> dict[str, Any]:
        """See `Dialect.provided_arguments`; settings win over secrets of the same name, as with the SDK."""
        return {**provided.secrets, **provided.configs}

    def log_arguments(self, token: str) -> dict[str, Any]:
        """See `Dialect.log_arguments`."""
        return {"token": token}

    async def literals(self, outputs: Any) -> literals_pb2.LiteralMap | None:
        """See `Dialect.literals`."""
        from flyte.connectors._connector import Resource, get_resource_proto  # noqa: PLC0415 - where the SDK is hosted

        resource = await get_resource_proto(Resource(phase=0, outputs=outputs))
        read = agent_pb2.Resource.FromString(resource.SerializeToString())
        return read.outputs if read.HasField("outputs") else None


async def _native_inputs(task: RawTask, template: Any) -> dict[str, Any]:
    """Return the inputs as Python values, by the types that the SDK guesses of the interface."""
    import inspect  # noqa: PLC0415 - with what follows

    from flyte._internal.runtime.convert import Inputs, convert_from_inputs_to_native  # noqa: PLC0415 - where it is hosted
    from flyte.models import NativeInterface  # noqa: PLC0415 - same
    from flyte.types import TypeEngine  # noqa: PLC0415 - same
    from flyteidl2.task import common_pb2  # noqa: PLC0415 - same

    literals = common_pb2.Inputs.FromString(encode_inputs(task).SerializeToString())
    types: dict[str, Any] = {
        entry.key: (TypeEngine.guess_python_type(entry.value.type), inspect.Parameter.empty)
        for entry in template.interface.inputs.variables
    }
    interface = NativeInterface.from_types(inputs=types, outputs={})
    native: dict[str, Any] = await convert_from_inputs_to_native(interface, Inputs(proto_inputs=literals))
    return native


def _raw(task: Task[Any]) -> RawTask:
    """Return the task with the configuration as it was sent; the host had joined the template's own settings with it."""
    settings = task.settings
    merged = task.config.to_custom()
    return replace(task, config={name: each for name, each in merged.items() if settings.get(name) != each})


def _template(task: RawTask) -> tasks_pb2.TaskTemplate:
    return sent_template(task) or encode_template(task)
