"""Tasks: what an engine asks for.

A `Task` is everything a CreateTask request says, as native values. It is built with the raw configuration (`custom`
as a dictionary); the host validates that by the agent's model and hands the agent a `Task` whose `config` is the
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from outboard.domain.complaints import complaints
from outboard.domain.identity import ExecutionIdentity, Scope
from outboard.domain.provided import NOTHING, Provided
from outboard.domain.secret_refs import SecretRef
from outboard.domain.types import Interface
from outboard.errors import InvalidInputs

_TOLD: Final = 10
ConfigT = TypeVar("ConfigT")
OtherT = TypeVar("OtherT")
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class TaskType:
    """A task type and its version, as the wire routes them; and the configuration model of that version.

    Attributes:
        config: The `TaskConfig` of this version where it differs from the agent's own.
    """

    name: str
    version: int = 0
    config: type[BaseModel] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.name} (version {self.version})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The container part of a task; `args` are rendered before an agent sees them."""

    image: str = ""
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The Kubernetes pod part of a task: the pod spec as JSON."""

    spec: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    primary_container: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql:
    """The SQL part of a task; the statement is not rendered by any engine."""

    statement: str
    dialect: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAs:
    """As whom the task asks to run: Flyte's `core.Identity`."""

    iam_role: str = ""
    k8s_service_account: str = ""
    execution_identity: str = ""


class _MissingInput(InvalidInputs, KeyError):
    """The caller's `InvalidInputs`, and what a mapping raises (`get` and `except KeyError` go by it)."""

    @property
    def code(self) -> str:
        return InvalidInputs.__name__

    def __str__(self) -> str:
        return self.message


class Inputs(Mapping[str, Any]):
    """A task's inputs by name, decoded when they are read.

    An input that cannot be decoded fails the task only when somebody reads it; so does one that is missing, with an
    `InvalidInputs` that is a `KeyError` too.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = values if values is not None else {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise _MissingInput(f"inputs.{name} is missing; give it a value", field=f"inputs.{name}")
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Inputs({', '.join(self._values)})"

    @property
    def source(self) -> Mapping[str, Any]:
        """The mapping behind these inputs, as the wire or the engine made it."""
        return self._values

    def parse(self, model: type[ModelT]) -> ModelT:
        """Return the inputs as an instance of a pydantic model; `InvalidInputs` names what does not fit."""
        try:
            return model.model_validate({name: self._values[name] for name in self._values})
        except ValidationError as error:
            places = "; ".join(f"{'.'.join(each.path)}: {each.text}" for each in complaints(error)[:_TOLD])
            raise InvalidInputs(f"the inputs do not fit: {places}") from None


@dataclass(frozen=True, kw_only=True)  # no slots: `Task[Config](...)` cannot be called on a frozen class with slots
class Task(Generic[ConfigT]):
    """One attempt of one task.

    Attributes:
        type: The task type's name.
        version: The task type's version.
        config: The task's `custom`: a raw dictionary as it arrives, the agent's model once the host validated it.
        settings: The template's own string map (`TaskTemplate.config`); some tasks carry their configuration there.
        output_prefix: Where this attempt's outputs go: a URI or a path.
        input_uri: Where the inputs lie as a file, where the engine wrote one.
        retries: Further attempts after the first that the user allows.
        timeout: For one attempt; None is no limit.
        labels, annotations, namespace, service_account, environment: The execution's, as Flyte sends them.
        secrets: What the task itself asks for (its security context).
        provided: Values of secrets and settings that came with the request; never compared, encoded or kept.
        sent: What the task was read from, for whoever passes it on unchanged; only `wire` looks into it.
    """

    type: str
    version: int = 0
    config: ConfigT
    settings: Mapping[str, str] = field(default_factory=dict)
    identity: ExecutionIdentity = field(default_factory=ExecutionIdentity)
    output_prefix: str = ""
    input_uri: str = ""
    inputs: Inputs = field(default_factory=Inputs)
    interface: Interface = field(default_factory=Interface)
    container: Container | None = None
    pod: Pod | None = None
    sql: Sql | None = None
    retries: int = 0
    timeout: timedelta | None = None
    interruptible: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    service_account: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    run_as: RunAs = field(default_factory=RunAs)
    secrets: Sequence[SecretRef] = ()
    max_attempts: int = 0
    provided: Provided = field(default=NOTHING, compare=False)
    sent: object | None = field(default=None, compare=False, repr=False)

    @property
    def task_type(self) -> TaskType:
        """The type and version that route this task."""
        return TaskType(self.type, self.version)

    @property
    def scope(self) -> Scope:
        """On whose behalf it runs."""
        return self.identity.scope(self.namespace)

    def with_config(self, config: OtherT) -> Task[OtherT]:
        """Return the same task with another configuration."""
        return replace(self, config=config)  # type: ignore[arg-type, return-value]  # `replace` cannot change a type argument


RawTask = Task[Mapping[str, Any]]
"""A task as it arrives: its configuration is not validated yet."""
