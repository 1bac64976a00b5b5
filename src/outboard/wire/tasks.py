"""Flyte 1 tasks to ours and back: template, inputs, output prefix and execution metadata (flyteidl/admin/agent.proto).

A task arrives in two shapes that hold the same: one `CreateTaskRequest`, or for sync agents a stream of `CreateRequestHeader`
and inputs. Reading is total over well-formed messages: what is absent is empty, and what cannot be understood is
`InvalidTask` with the field's name. Inputs are decoded when they are read.

What nobody here reads (caching, runtime, ports, descriptions, mounts of secrets ...) stays with the task as it came (`Sent`) and
goes out again with it: writing starts from what was sent, and overwrites only what was changed since. So a connector of
flytekit that is hosted here, or another replica that takes a submission over, gets the engine's very template. The
execution identity is taken from the metadata; without metadata (older engines) the task's name comes from the template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final, TypeVar

from flyteidl.admin import agent_pb2
from flyteidl.core import identifier_pb2, literals_pb2, security_pb2, tasks_pb2
from google.protobuf.message import DecodeError

from outboard.domain.identity import ExecutionIdentity, TaskId
from outboard.domain.places import Place
from outboard.domain.secret_refs import SecretRef
from outboard.domain.tasks import Container, Inputs, Pod, RawTask, RunAs, Sql, Task
from outboard.domain.types import Interface
from outboard.domain.values import restore_integers
from outboard.errors import InvalidInputs, InvalidTask
from outboard.wire.lazy_values import LazyValues
from outboard.wire.literals import decode_interface, encode_interface, encode_values
from outboard.wire.structs import decode_struct, encode_struct

_RESOURCE_NAMES: Final = {
    number: name.lower().replace("_", "-")
    for name, number in tasks_pb2.Resources.ResourceName.items()
    if name != "UNKNOWN"
}
_RESOURCE_NUMBERS: Final = {name: number for number, name in _RESOURCE_NAMES.items()}
_DIALECTS: Final = {
    number: "" if name == "UNDEFINED" else name.lower() for name, number in tasks_pb2.Sql.Dialect.items()
}
_DIALECT_NUMBERS: Final = {name: number for number, name in _DIALECTS.items()}
_LONGEST_TIMEOUT: Final = timedelta(days=3650)
MessageT = TypeVar("MessageT", tasks_pb2.TaskTemplate, agent_pb2.TaskExecutionMetadata)
_Writers = Mapping[str, Callable[[MessageT, RawTask], None]]

MOST_BYTES: Final = 1024 * 1024
"""Of a template and its metadata together. Flyte 1 keeps the templates of a whole workflow in one object of etcd, of 1.5 MiB."""


class Sent:
    """What a task was read from; kept with it as `Task.sent`.

    Attributes:
        template: As it came. Nobody changes it.
        metadata: As it came.
        task: The task as it was read, by which one can tell what was changed since.
    """

    __slots__ = ("metadata", "task", "template")

    def __init__(
        self, template: tasks_pb2.TaskTemplate, metadata: agent_pb2.TaskExecutionMetadata, task: RawTask
    ) -> None:
        self.template = template
        self.metadata = metadata
        self.task = task


def decode_create_request(request: agent_pb2.CreateTaskRequest) -> RawTask:
    """Return the task of a CreateTask request; `InvalidTask` names the field that cannot be understood."""
    return decode_task(
        request.template, request.inputs, request.output_prefix, request.task_execution_metadata, where="template"
    )


def decode_sync_request(header: agent_pb2.CreateRequestHeader, inputs: literals_pb2.LiteralMap) -> RawTask:
    """Return the task of an ExecuteTaskSync stream: its header and its inputs."""
    return decode_task(
        header.template, inputs, header.output_prefix, header.task_execution_metadata, where="header.template"
    )


def decode_task(
    template: tasks_pb2.TaskTemplate,
    inputs: literals_pb2.LiteralMap,
    output_prefix: str,
    metadata: agent_pb2.TaskExecutionMetadata,
    *,
    where: str = "template",
) -> RawTask:
    """Return the task that a template, its inputs and an execution's metadata describe."""
    if not template.type:
        raise InvalidTask(f"{where}.type is empty; name the task type", field=f"{where}.type")
    _require_bounded(template, metadata, where)
    interface = decode_interface(template.interface) if template.HasField("interface") else Interface()
    run_as = metadata.identity if metadata.HasField("identity") else template.security_context.run_as
    task: RawTask = Task(
        type=template.type,
        version=template.task_type_version,
        config=decode_struct(template.custom),
        settings=dict(template.config),
        identity=_decode_identity(metadata, template.id),
        output_prefix=output_prefix,
        inputs=Inputs(LazyValues(inputs.literals, interface.inputs)),
        interface=interface,
        container=_decode_container(template.container) if template.HasField("container") else None,
        pod=_decode_pod(template.k8s_pod) if template.HasField("k8s_pod") else None,
        sql=_decode_sql(template.sql) if template.HasField("sql") else None,
        retries=template.metadata.retries.retries,
        timeout=_decode_timeout(template.metadata, where),
        interruptible=metadata.interruptible or template.metadata.interruptible,
        labels=dict(metadata.labels),
        annotations=dict(metadata.annotations),
        namespace=metadata.namespace,
        service_account=metadata.k8s_service_account,
        environment=dict(metadata.environment_variables),
        run_as=RunAs(
            iam_role=run_as.iam_role,
            k8s_service_account=run_as.k8s_service_account,
            execution_identity=run_as.execution_identity,
        ),
        secrets=tuple(
            SecretRef(secret.key, secret.group, secret.group_version) for secret in template.security_context.secrets
        ),
        max_attempts=max(0, metadata.max_attempts),
    )
    return replace(task, sent=Sent(template, metadata, task))


def _require_bounded(template: tasks_pb2.TaskTemplate, metadata: agent_pb2.TaskExecutionMetadata, where: str) -> None:
    """Refuse a task that is too much to be read at once: each key of a configuration costs all other calls microseconds."""
    size = template.ByteSize() + metadata.ByteSize()
    if size > MOST_BYTES:
        raise InvalidTask(
            f"the template and its metadata take {size:,} bytes of at most {MOST_BYTES:,}; hand data over as inputs",
            field=where,
        )


def encode_create_request(task: RawTask) -> agent_pb2.CreateTaskRequest:
    """Return the CreateTask request that says what `task` says.

    Raises:
        InvalidTask: The configuration, a type or a text cannot be sent; the message names it.
        InvalidInputs: An input does not fit its declared type.
    """
    try:
        return agent_pb2.CreateTaskRequest(
            template=encode_template(task),
            inputs=encode_inputs(task),
            output_prefix=task.output_prefix,
            task_execution_metadata=encode_metadata(task),
        )
    except (ValueError, TypeError) as error:
        raise _unsendable(error) from None


def encode_create_bytes(task: RawTask) -> bytes:
    """Return the bytes of `encode_create_request`, for another process that may have to make the same request."""
    encoded: bytes = encode_create_request(task).SerializeToString(deterministic=True)
    return encoded


def decode_create_bytes(data: bytes) -> RawTask:
    """Return the task in the bytes of a CreateTask request; `InvalidTask` when they are none."""
    try:
        return decode_create_request(agent_pb2.CreateTaskRequest.FromString(data))
    except DecodeError:
        raise InvalidTask("these bytes are not a CreateTask request; send the task again") from None


def encode_header(task: RawTask) -> agent_pb2.CreateRequestHeader:
    """Return the first message of an ExecuteTaskSync stream; the second holds `encode_inputs`."""
    try:
        return agent_pb2.CreateRequestHeader(
            template=encode_template(task),
            output_prefix=task.output_prefix,
            task_execution_metadata=encode_metadata(task),
        )
    except (ValueError, TypeError) as error:
        raise _unsendable(error) from None


def encode_inputs(task: RawTask) -> literals_pb2.LiteralMap:
    """Return a task's inputs as literals; those that came off the wire go out as they came."""
    return encode_values(task.inputs, task.interface.inputs, "inputs", error=InvalidInputs)


def encode_template(task: RawTask) -> tasks_pb2.TaskTemplate:
    """Return a task's template; of one that came off the wire, with all that was sent and not changed since."""
    sent = task.sent if isinstance(task.sent, Sent) else None
    template = tasks_pb2.TaskTemplate()
    if sent is not None:
        template.CopyFrom(sent.template)
    _write(template, task, sent, _TEMPLATE_PARTS)
    template.interface.inputs.SetInParent()  # Go clients of old read absent maps as errors
    template.interface.outputs.SetInParent()
    return template


def encode_metadata(task: RawTask) -> agent_pb2.TaskExecutionMetadata:
    """Return the execution metadata of one attempt, with what FlytePropeller sends in it."""
    sent = task.sent if isinstance(task.sent, Sent) else None
    metadata = agent_pb2.TaskExecutionMetadata()
    if sent is not None:
        metadata.CopyFrom(sent.metadata)
    _write(metadata, task, sent, _METADATA_PARTS)
    return metadata


def sent_template(task: RawTask) -> tasks_pb2.TaskTemplate | None:
    """Return the template that a task was read from, exactly as it came; None for a task that came off no wire."""
    return task.sent.template if isinstance(task.sent, Sent) else None


def _write(message: MessageT, task: RawTask, sent: Sent | None, parts: _Writers[MessageT]) -> None:
    """Write the parts of a task that are not in the message as they are."""
    for name, write in parts.items():
        value = getattr(task, name)
        was = getattr(sent.task, name) if sent is not None else None
        if sent is None or (value is not was and value != was):
            write(message, task)


def _write_type(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.type = task.type


def _write_version(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.task_type_version = task.version


def _write_task_id(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.id.CopyFrom(_encode_task_id(task.identity.task))


def _write_interface(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.interface.CopyFrom(encode_interface(task.interface))


def _write_config(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.custom.CopyFrom(encode_struct(task.config, Place("custom", InvalidTask)))


def _write_settings(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.ClearField("config")
    template.config.update(task.settings)


def _write_retries(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.metadata.retries.retries = task.retries


def _write_wish_for_interruption(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.metadata.interruptible = task.interruptible


def _write_timeout(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    template.metadata.ClearField("timeout")
    if task.timeout is not None:
        template.metadata.timeout.FromTimedelta(task.timeout)


def _write_secrets(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    if task.secrets or template.security_context.secrets:
        template.security_context.ClearField("secrets")
        template.security_context.secrets.extend(
            security_pb2.Secret(key=ref.key, group=ref.group, group_version=ref.version) for ref in task.secrets
        )


def _write_target(template: tasks_pb2.TaskTemplate, task: RawTask) -> None:
    """Write container, pod or statement, of which a template holds one; of a container that was sent its other parts stay."""
    if task.container is not None:
        _write_container(template.container, task.container)
    elif task.pod is not None:
        template.k8s_pod.CopyFrom(_encode_pod(task.pod))
    elif task.sql is not None:
        template.sql.statement = task.sql.statement
        template.sql.dialect = _DIALECT_NUMBERS.get(task.sql.dialect.lower(), tasks_pb2.Sql.OTHER)
    else:
        for target in ("container", "k8s_pod", "sql"):
            template.ClearField(target)


def _write_attempt(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    identity = task.identity
    metadata.task_execution_id.CopyFrom(
        identifier_pb2.TaskExecutionIdentifier(
            task_id=_encode_task_id(identity.task),
            node_execution_id=identifier_pb2.NodeExecutionIdentifier(
                node_id=identity.node,
                execution_id=identifier_pb2.WorkflowExecutionIdentifier(
                    project=identity.project, domain=identity.domain, name=identity.execution, org=identity.org
                ),
            ),
            retry_attempt=identity.attempt,
        )
    )


def _write_namespace(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    metadata.namespace = task.namespace


def _write_labels(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    metadata.ClearField("labels")
    metadata.labels.update(task.labels)


def _write_annotations(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    metadata.ClearField("annotations")
    metadata.annotations.update(task.annotations)


def _write_service_account(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    metadata.k8s_service_account = task.service_account


def _write_environment(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    metadata.ClearField("environment_variables")
    metadata.environment_variables.update(task.environment)


def _write_max_attempts(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    metadata.max_attempts = task.max_attempts


def _write_interruptible(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    metadata.interruptible = task.interruptible


def _write_run_as(metadata: agent_pb2.TaskExecutionMetadata, task: RawTask) -> None:
    if task.run_as != RunAs():
        metadata.identity.iam_role = task.run_as.iam_role
        metadata.identity.k8s_service_account = task.run_as.k8s_service_account
        metadata.identity.execution_identity = task.run_as.execution_identity


_TEMPLATE_PARTS: Final[_Writers[tasks_pb2.TaskTemplate]] = {
    "type": _write_type,
    "version": _write_version,
    "identity": _write_task_id,
    "interface": _write_interface,
    "config": _write_config,
    "settings": _write_settings,
    "retries": _write_retries,
    "interruptible": _write_wish_for_interruption,
    "timeout": _write_timeout,
    "secrets": _write_secrets,
    "container": _write_target,
    "pod": _write_target,
    "sql": _write_target,
}
_METADATA_PARTS: Final[_Writers[agent_pb2.TaskExecutionMetadata]] = {
    "identity": _write_attempt,
    "namespace": _write_namespace,
    "labels": _write_labels,
    "annotations": _write_annotations,
    "service_account": _write_service_account,
    "environment": _write_environment,
    "max_attempts": _write_max_attempts,
    "interruptible": _write_interruptible,
    "run_as": _write_run_as,
}


def _decode_identity(
    metadata: agent_pb2.TaskExecutionMetadata, template_id: identifier_pb2.Identifier
) -> ExecutionIdentity:
    attempt_id = metadata.task_execution_id
    execution = attempt_id.node_execution_id.execution_id
    task_id = attempt_id.task_id if attempt_id.HasField("task_id") else template_id
    return ExecutionIdentity(
        project=execution.project,
        domain=execution.domain,
        org=execution.org,
        execution=execution.name,
        node=attempt_id.node_execution_id.node_id,
        attempt=attempt_id.retry_attempt,
        task=TaskId(
            project=task_id.project,
            domain=task_id.domain,
            name=task_id.name,
            version=task_id.version,
            org=task_id.org,
        ),
    )


def _encode_task_id(task: TaskId) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.TASK,
        project=task.project,
        domain=task.domain,
        name=task.name,
        version=task.version,
        org=task.org,
    )


def _decode_timeout(metadata: tasks_pb2.TaskMetadata, where: str) -> timedelta | None:
    """Return a task's time limit; zero means none, as for FlytePropeller."""
    if not metadata.HasField("timeout"):
        return None
    try:
        timeout = metadata.timeout.ToTimedelta()
    except (ValueError, OverflowError):
        timeout = timedelta(-1)
    if not timedelta(0) <= timeout <= _LONGEST_TIMEOUT:
        field = f"{where}.metadata.timeout"
        raise InvalidTask(f"{field} is no duration between 0 and ten years; correct it", field=field)
    return timeout or None


def _decode_container(container: tasks_pb2.Container) -> Container:
    return Container(
        image=container.image,
        command=tuple(container.command),
        args=tuple(container.args),
        env={pair.key: pair.value for pair in container.env},
        requests=_decode_resources(container.resources.requests),
        limits=_decode_resources(container.resources.limits),
    )


def _write_container(message: tasks_pb2.Container, container: Container) -> None:
    message.image = container.image
    for field in ("command", "args", "env"):
        message.ClearField(field)
    message.command.extend(container.command)
    message.args.extend(container.args)
    message.env.extend(literals_pb2.KeyValuePair(key=key, value=value) for key, value in container.env.items())
    if container.requests or container.limits or message.HasField("resources"):
        message.resources.CopyFrom(
            tasks_pb2.Resources(
                requests=_encode_resources(container.requests), limits=_encode_resources(container.limits)
            )
        )


def _decode_resources(entries: Iterable[tasks_pb2.Resources.ResourceEntry]) -> dict[str, str]:
    """Return amounts by the names that Kubernetes uses (`cpu`, `ephemeral-storage`)."""
    return {_RESOURCE_NAMES[entry.name]: entry.value for entry in entries if entry.name in _RESOURCE_NAMES}


def _encode_resources(amounts: Mapping[str, str]) -> list[tasks_pb2.Resources.ResourceEntry]:
    unknown = sorted(set(amounts) - set(_RESOURCE_NUMBERS))
    if unknown:
        known = ", ".join(sorted(_RESOURCE_NUMBERS))
        raise InvalidTask(
            f"container resource {unknown[0]!r} is unknown; use one of {known}", field="container.resources"
        )
    return [
        tasks_pb2.Resources.ResourceEntry(name=_RESOURCE_NUMBERS[name], value=value) for name, value in amounts.items()
    ]


def _decode_pod(pod: tasks_pb2.K8sPod) -> Pod:
    return Pod(
        spec=restore_integers(decode_struct(pod.pod_spec)),
        labels=dict(pod.metadata.labels),
        annotations=dict(pod.metadata.annotations),
        primary_container=pod.primary_container_name,
    )


def _encode_pod(pod: Pod) -> tasks_pb2.K8sPod:
    return tasks_pb2.K8sPod(
        metadata=tasks_pb2.K8sObjectMetadata(labels=dict(pod.labels), annotations=dict(pod.annotations)),
        pod_spec=encode_struct(pod.spec, Place("pod.spec", InvalidTask)),
        primary_container_name=pod.primary_container,
    )


def _decode_sql(sql: tasks_pb2.Sql) -> Sql:
    return Sql(statement=sql.statement, dialect=_DIALECTS.get(sql.dialect, "other"))


def _unsendable(error: Exception) -> InvalidTask:
    """Name what protobuf refused (a number out of range, text that is not Unicode) without repeating the value."""
    reason = "text that is not valid Unicode" if isinstance(error, UnicodeError) else "a value out of its field's range"
    return InvalidTask(f"the task cannot be sent: it holds {reason}; correct its settings, labels or limits")
