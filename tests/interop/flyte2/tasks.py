"""Tasks as users of the SDK write them, and what the SDK makes of them: templates, inputs, outputs.

A `ConnectorTask` is what the SDK's plugins derive their task classes like: the connector mixin, a type, a configuration.
Everything that goes over the wire is serialised and read by the SDK itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import flyte
from flyte._internal.runtime import convert, io
from flyte._internal.runtime.task_serde import get_proto_task
from flyte.connectors import AsyncConnectorExecutorMixin
from flyte.extend import TaskTemplate
from flyte.models import NativeInterface, SerializationContext
from flyteidl2.core import tasks_pb2

PROJECT: Final = "flytesnacks"
DOMAIN: Final = "development"


class ConnectorTask(AsyncConnectorExecutorMixin, TaskTemplate[Any, Any, Any]):
    """A task of some task type.

    Args:
        name: Its name.
        task_type: Which agent runs it.
        config: The agent's configuration.
        inputs: Types by name, in order.
        outputs: Types by name, in order.
        secrets_by_name: Names of secrets by the name under which the agent gets the value.
        configs: Settings that travel beside the secrets.
        retries: Further attempts after the first.
    """

    def __init__(
        self,
        name: str,
        task_type: str,
        config: Mapping[str, Any] | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        secrets_by_name: Mapping[str, str] | None = None,
        configs: Mapping[str, str] | None = None,
        retries: int = 0,
    ) -> None:
        taken = {key: (kind, inspect.Parameter.empty) for key, kind in (inputs or {}).items()}
        interface = NativeInterface(taken, dict(outputs or {}))
        super().__init__(name=name, interface=interface, task_type=task_type, image=None, retries=retries)
        self.plugin_config = dict(config or {})
        self.connection = {"secrets": secrets_by_name, "configs": configs}
        # The SDK asks an environment of every task that it serialises.
        flyte.TaskEnvironment.from_task(f"{name}_environment", self)

    def custom_config(self, sctx: SerializationContext) -> dict[str, Any]:
        """Return the configuration with what the engine reads as a connection."""
        return {**self.plugin_config, **{key: dict(values) for key, values in self.connection.items() if values}}


def template_of(
    task: TaskTemplate[Any, Any, Any], *, project: str = PROJECT, domain: str = DOMAIN
) -> tasks_pb2.TaskTemplate:
    """Return a task as the SDK registers it."""
    context = SerializationContext(version="v1", org="flyte", project=project, domain=domain)
    return get_proto_task(task, context)


async def inputs_of(task: TaskTemplate[Any, Any, Any], **values: Any) -> Any:
    """Return a task's inputs (`flyteidl2.task.Inputs`) as the SDK writes them."""
    return (await convert.convert_from_native_to_inputs(task.native_interface, **values)).proto_inputs


async def natives_of(task: TaskTemplate[Any, Any, Any], outputs: Any) -> dict[str, Any]:
    """Return outputs (`flyteidl2.task.Outputs`) by name as the SDK reads them for whoever uses them."""
    read = await convert.convert_outputs_to_native(task.interface, convert.Outputs(proto_outputs=outputs))
    names = list(task.interface.outputs)
    if not names:
        return {}
    return {names[0]: read} if len(names) == 1 else dict(zip(names, read, strict=True))


async def outputs_of(resource: Any, prefix: str) -> Any:
    """Return a resource's outputs as whoever follows it gets them: the answer's own, else those of `outputs.pb`."""
    if resource.HasField("outputs"):
        return resource.outputs
    return (await io.load_outputs(io.outputs_path(prefix))).proto_outputs
