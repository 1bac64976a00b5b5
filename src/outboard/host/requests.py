"""Requests: a raw task made ready for its agent.

Everything that can be wrong with a task is found here, before anything is sent to a platform: unknown type,
configuration, unrendered templates, missing secrets, a handle that would grow too large. The result is a pure value,
the same on every replica.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import secrets as randomness
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from outboard.agent.agents import Agent, JobAgent
from outboard.agent.config import TaskConfig
from outboard.agent.jobs import Connection
from outboard.agent.registry import Registry
from outboard.domain.complaints import first_complaint
from outboard.domain.handles import Handle, HandleCodec
from outboard.domain.keys import Key, submission_key
from outboard.domain.labels import Labels
from outboard.domain.secret_refs import SecretRef
from outboard.domain.tasks import RawTask, Task
from outboard.domain.type_codes import encode_type_codes
from outboard.domain.values import restore_integers
from outboard.errors import AgentFault, HandleTooLarge, InvalidTask
from outboard.host.clients import ClientKey, client_key, secret_refs
from outboard.host.invocation import blamed
from outboard.host.logs import TaskLog, task_fields
from outboard.host.secrets import BoundSecrets, SecretSource
from outboard.host.words import Words
from outboard.wire.lazy_values import LazyValues

_JOB_BYTES: Final = 160
_TOLD_FIELDS: Final = 10
_TOLD_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A task that is ready for its agent.

    Attributes:
        raw: The task as it was sent.
        task: With the validated configuration.
        fingerprint: Of what is asked, apart from who asks; two requests of one key must agree on it.
    """

    agent: Agent
    raw: RawTask
    task: Task[Any]
    key: Key
    fingerprint: bytes
    connection: Connection
    client_key: ClientKey
    account: str
    secrets: BoundSecrets
    labels: Labels
    log: TaskLog

    def handle(self, *, created_at: int, job: dict[str, Any], job_version: int = 1, memo: bytes = b"") -> Handle:
        """Return the handle of this request's job."""
        return Handle(
            agent=self.agent.name,
            task_type=self.task.type,
            task_type_version=self.task.version,
            key=self.key,
            scope=self.task.scope,
            connection=self.connection.to_json(),
            account=self.account,
            output_prefix=self.task.output_prefix,
            created_at=created_at,
            job=job,
            job_version=job_version,
            output_types=encode_type_codes(self.task.interface.outputs),
            memo=memo,
        )


def prepare(
    task: RawTask, *, registry: Registry, source: SecretSource, words: Words, installation: str, codec: HandleCodec
) -> Request:
    """Return the request that a task stands for.

    Raises:
        TaskError: Unknown type, a field that does not fit, or a connection and output prefix that leave no room for the
            job in a handle; the message names the field.
        AgentFault: The agent's own code broke: its configuration's model, `connection`, or the platform's `account`.
        MissingSecret: A declared secret is nowhere, as far as can be told without asking a remote store.
    """
    agent = registry.for_type(task.task_type)
    source.learn(task.provided)  # before any agent's code sees it, which may fail and quote it
    _refuse_templates(task)
    log = TaskLog(words.text, **task_fields(task), agent=agent.name)
    configured = task.with_config(_configure(agent, task, log))
    connection = _connection(agent, configured)
    key = _key(task, installation)
    secrets = source.bind((*agent.secrets, *secret_refs(connection)), task.scope, task.provided, task.type)
    secrets.check()
    request = Request(
        agent=agent,
        raw=task,
        task=configured,
        key=key,
        fingerprint=_fingerprint(task),
        connection=connection,
        client_key=client_key(agent.platform, connection, task.scope, task.provided, secrets.tenant),
        account=_account(agent, connection),
        secrets=secrets,
        labels=_labels(task, key),
        log=TaskLog(words.text, **task_fields(task), agent=agent.name, key=key.text),
    )
    if isinstance(agent, JobAgent):
        _check_room(request, codec)
    return request


def declared_secrets(registry: Registry) -> list[SecretRef]:
    """Return the secrets that agents and their callbacks declare; connections name more, task by task."""
    found = [ref for agent in registry for ref in agent.secrets]
    callbacks = [each.callbacks for each in registry if isinstance(each, JobAgent) and each.callbacks is not None]
    return list(dict.fromkeys((*found, *(ref for each in callbacks for ref in each.keys))))


def _configure(agent: Agent, task: RawTask, log: TaskLog) -> BaseModel:
    model = agent.model_for(task.version)
    with blamed(agent, "config model"):
        try:
            config = model.model_validate({**task.settings, **restore_integers(dict(task.config))})
        except ValidationError as error:
            raise _config_error(model, error) from None
    if isinstance(config, TaskConfig):
        for name, meant in config.unknown_fields(limit=_TOLD_FIELDS).items():
            log.warning("unknown configuration key", field=name[:_TOLD_CHARACTERS], meant=meant)
    return config


def _config_error(model: type[BaseModel], error: ValidationError) -> InvalidTask:
    first = first_complaint(error)
    field = ".".join(("custom", *first.path))
    remedy = "add it to the task's configuration" if first.is_missing else "correct the task's configuration"
    if first.is_missing:
        near = difflib.get_close_matches(first.path[-1], model.model_fields, n=1)
        remedy += f" (field {near[0]!r} of {model.__name__})" if near else ""
    return InvalidTask(f"{field}: {first.text}; {remedy}", field=field)


def _connection(agent: Agent, task: Task[Any]) -> Connection:
    with blamed(agent, "connection"):
        try:
            connection = agent.connection(task)
        except ValidationError as error:
            raise _config_error(agent.platform.connection_model, error) from None
    if not isinstance(connection, agent.platform.connection_model):
        expected = agent.platform.connection_model.__name__
        raise AgentFault(
            f"{agent.name}.connection returned {type(connection).__name__}, which cannot travel; return a {expected}"
        )
    return connection


def _account(agent: Agent, connection: Connection) -> str:
    with blamed(agent, "platform's account"):
        return str(agent.platform.account(connection))


def _refuse_templates(task: RawTask) -> None:
    if task.container is None:
        return
    for index, argument in enumerate(task.container.args):
        if "{{" in argument:
            raise InvalidTask(
                f"container.args[{index}] still holds a template; the engine must render it before it creates the task",
                field=f"container.args[{index}]",
            )


def _key(task: RawTask, installation: str) -> Key:
    if not task.identity.execution and not task.output_prefix:
        # Nothing says which task this is, so nothing may be taken for it.
        return submission_key(installation, replace(task.identity, node=randomness.token_hex(16)), "")
    return submission_key(installation, task.identity, task.output_prefix)


def _fingerprint(task: RawTask) -> bytes:
    container = task.container
    asked = [
        task.type,
        task.version,
        task.config,
        task.settings,
        task.sql.statement if task.sql else None,
        [container.image, container.command, container.args, container.env] if container else None,
        task.pod.spec if task.pod else None,
        _readable_inputs(task),
    ]
    packed = json.dumps(_ordered(asked), separators=(",", ":"))
    return hashlib.sha256(packed.encode(errors="surrogatepass")).digest()


def _readable_inputs(task: RawTask) -> Mapping[str, Any]:
    values = task.inputs.source
    return values.serialized() if isinstance(values, LazyValues) else values


def _ordered(value: Any) -> Any:
    """Return a value in which equal ones are written equally: protobuf maps come in another order when sent again."""
    if isinstance(value, Mapping):
        return {"": sorted([repr(name), _ordered(each)] for name, each in value.items())} if value else {}
    if isinstance(value, (list, tuple)):
        return [_ordered(each) for each in value]
    return value if value is None or isinstance(value, (str, int)) else repr(value)


def _labels(task: RawTask, key: Key) -> Labels:
    identity = task.identity
    provenance = {
        "outboard-key": key.text,
        "flyte-project": identity.project,
        "flyte-domain": identity.domain,
        "flyte-execution": identity.execution,
        "flyte-node": identity.node,
        "flyte-attempt": str(identity.attempt),
        "flyte-task": identity.task.name,
    }
    return Labels(provenance={name: value for name, value in provenance.items() if value}, user=task.labels)


def _check_room(request: Request, codec: HandleCodec) -> None:
    try:
        codec.check_room(request.handle(created_at=2**31, job={}), _JOB_BYTES)
    except HandleTooLarge as error:
        raise InvalidTask(error.message, field="output_prefix") from None
