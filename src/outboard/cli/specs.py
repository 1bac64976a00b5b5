"""Task files: what a person writes to have a task run (docs/cli.md, "Task files").

A file holds one task, a list of tasks with names, or `tasks:` with tasks by name. It is read in two steps: the models here
check its shape, then inputs and types become native values, so that everything that can be wrong is said before anything
is started, by its path in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from outboard.cli.type_spellings import parse_type
from outboard.domain.conformity import guess_type
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.places import Place
from outboard.domain.plain_values import read_plain
from outboard.domain.secret_refs import SecretRef
from outboard.domain.tasks import Container, Inputs, Pod, RawTask, Sql, Task
from outboard.domain.types import Interface, SimpleType, ValueType
from outboard.domain.values import Blob, Schema, StructuredDataset
from outboard.engine.propeller.go_durations import parse_go_duration
from outboard.errors import InvalidInputs, InvalidTask
from outboard.local.documents import STDIN, read_document, read_model


def _read_timeout(value: object) -> object:
    if not isinstance(value, str):
        return value
    is_number = value.replace(".", "", 1).isdecimal()
    return float(value) if is_number else parse_go_duration(value)


def _read_sql(value: object) -> object:
    return {"statement": value} if isinstance(value, str) else value


def _read_secret(value: object) -> object:
    return {"key": value} if isinstance(value, str) else value


def _texts(value: object) -> object:
    """Take numbers for texts, as people write them: `labels: {team: 7}`."""
    if isinstance(value, Mapping):
        return {key: _text(each) for key, each in value.items()}
    return [_text(each) for each in value] if isinstance(value, list) else value


def _text(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (int, float)) else value


_Texts = Annotated[dict[str, str], BeforeValidator(_texts)]
_TextList = Annotated[list[str], BeforeValidator(_texts)]


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class ContainerSpec(_Part):
    """The container part; `args` may hold FlytePropeller's templates."""

    image: str = ""
    command: _TextList = []
    args: _TextList = []
    env: _Texts = {}
    requests: _Texts = {}
    limits: _Texts = {}


class PodSpec(_Part):
    """The pod part: the pod's spec as Kubernetes has it."""

    spec: dict[str, Any] = {}
    labels: _Texts = {}
    annotations: _Texts = {}
    primary_container: str = ""


class SqlSpec(_Part):
    """The SQL part; a text alone is the statement."""

    statement: str
    dialect: str = ""


class SecretSpec(_Part):
    """A secret by name; a text alone is the key."""

    key: str
    group: str = ""
    version: str = ""


class InterfaceSpec(_Part):
    """Types by name, as `type_spellings` reads them."""

    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}


class TaskSpec(_Part):
    """One task as a file says it."""

    name: str = ""
    type: str = Field(min_length=1)
    version: int = 0
    config: dict[str, Any] = {}
    settings: _Texts = {}
    sql: Annotated[SqlSpec | None, BeforeValidator(_read_sql)] = None
    inputs: dict[str, Any] = {}
    interface: InterfaceSpec = InterfaceSpec()
    outputs: dict[str, str] = {}
    container: ContainerSpec | None = None
    pod: PodSpec | None = None
    retries: int = Field(default=0, ge=0)
    timeout: Annotated[timedelta | None, BeforeValidator(_read_timeout)] = None
    interruptible: bool = False
    project: str = ""
    domain: str = ""
    namespace: str = ""
    service_account: str = ""
    labels: _Texts = {}
    annotations: _Texts = {}
    environment: _Texts = {}
    secrets: list[Annotated[SecretSpec, BeforeValidator(_read_secret)]] = []
    output_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTask:
    """A task and its id; one that nobody named is called by its type."""

    name: str
    task: RawTask


_TASKS: Final = "tasks"


def read_specs(source: str) -> list[tuple[TaskSpec, str]]:
    """Return the specifications in a file, each with its path there; of several, each has a name of its own.

    Raises:
        InvalidTask: The file cannot be read, or a task in it is wrong; the message says where.
    """
    where = "standard input" if source == STDIN else source
    specs = _specs(read_document(source, InvalidTask), where)
    seen: set[str] = set()
    for number, (spec, _) in enumerate(specs):
        if len(specs) > 1 and not spec.name:
            raise InvalidTask(
                f"task {number + 1} of {where} has no name: give each of several tasks its own", field="name"
            )
        if spec.name in seen:
            raise InvalidTask(f"two tasks of {where} are called '{spec.name}': give each its own name", field="name")
        seen.add(spec.name)
    return specs


def build_task(spec: TaskSpec, path: str = "") -> NamedTask:
    """Return the task that a specification says.

    Raises:
        InvalidTask: A type in it cannot be read; the message names the field, under `path`.
        InvalidInputs: An input does not fit its type.
    """
    interface = Interface(
        inputs=_types(spec.interface.inputs, _under(path, "interface.inputs")),
        outputs=_types(_outputs(spec, path), _under(path, "outputs" if spec.outputs else "interface.outputs")),
    )
    inputs, input_types = _inputs(spec.inputs, interface.inputs, _under(path, "inputs"))
    task: RawTask = Task(
        type=spec.type,
        version=spec.version,
        config=spec.config,
        settings=spec.settings,
        identity=ExecutionIdentity(project=spec.project, domain=spec.domain),
        output_prefix=spec.output_prefix,
        inputs=Inputs(inputs),
        interface=Interface(inputs=input_types, outputs=interface.outputs),
        container=None if spec.container is None else Container(**dict(spec.container)),
        pod=None if spec.pod is None else Pod(**dict(spec.pod)),
        sql=None if spec.sql is None else Sql(**dict(spec.sql)),
        retries=spec.retries,
        timeout=spec.timeout,
        interruptible=spec.interruptible,
        labels=spec.labels,
        annotations=spec.annotations,
        namespace=spec.namespace,
        service_account=spec.service_account,
        environment=spec.environment,
        secrets=[SecretRef(each.key, each.group, each.version) for each in spec.secrets],
    )
    return NamedTask(name=spec.name or spec.type, task=task)


def _specs(document: object, where: str) -> list[tuple[TaskSpec, str]]:
    """Return the specifications in a document, each with its path."""
    if isinstance(document, Mapping) and _TASKS in document:
        surplus = [str(key) for key in document if key != _TASKS]
        if surplus:
            raise InvalidTask(f"{where} has '{surplus[0]}' beside 'tasks': move it into each task", field=surplus[0])
        entries = document[_TASKS]
        if isinstance(entries, Mapping):
            return [_named(str(name), entry, where) for name, entry in entries.items()]
        document = entries
        prefix = _TASKS
    else:
        prefix = ""
    if isinstance(document, list):
        if not document:
            raise InvalidTask(f"{where} holds no task: add one")
        return [
            (read_model(TaskSpec, entry, InvalidTask, where=where, path=f"{prefix}[{number}]"), f"{prefix}[{number}]")
            for number, entry in enumerate(document)
        ]
    return [(read_model(TaskSpec, document, InvalidTask, where=where), "")]


def _named(name: str, entry: object, where: str) -> tuple[TaskSpec, str]:
    path = f"{_TASKS}.{name}"
    spec = read_model(TaskSpec, entry, InvalidTask, where=where, path=path)
    if spec.name and spec.name != name:
        raise InvalidTask(f"{path}.name says '{spec.name}': drop it, the task is called '{name}'", field=f"{path}.name")
    return spec.model_copy(update={"name": name}), path


def _outputs(spec: TaskSpec, path: str) -> Mapping[str, str]:
    if spec.outputs and spec.interface.outputs:
        field = _under(path, "outputs")
        raise InvalidTask(f"{field} and interface.outputs say the same twice: drop one of them", field=field)
    return spec.outputs or spec.interface.outputs


def _types(spellings: Mapping[str, str], path: str) -> dict[str, ValueType]:
    types = {}
    for name, spelling in spellings.items():
        try:
            types[name] = parse_type(spelling)
        except ValueError as error:
            raise InvalidTask(f"{path}.{name}: {error}", field=f"{path}.{name}") from None
    return types


def _inputs(
    values: Mapping[str, object], declared: Mapping[str, ValueType], path: str
) -> tuple[dict[str, object], dict[str, ValueType]]:
    """Return native inputs and their types; those without a declared type are what they look like."""
    for name, value_type in declared.items():
        if name not in values and not _takes_none(value_type):
            raise InvalidInputs(f"{path}.{name} is missing: give it a value", field=f"{path}.{name}")
    natives: dict[str, object] = {}
    types: dict[str, ValueType] = {}
    for name in [*declared, *(n for n in values if n not in declared)]:
        given = values.get(name)
        place = Place(f"{path}.{name}", InvalidInputs)
        if name in declared:
            types[name], natives[name] = declared[name], _absolute(read_plain(given, declared[name], place))
        else:
            types[name], natives[name] = guess_type(given, f"{path}.{name}"), given
    return natives, types


def _absolute(value: object) -> object:
    """Return a value whose references to local files mean the same to a service with another working directory."""
    if isinstance(value, (Blob, Schema, StructuredDataset)):
        is_local = value.uri and "://" not in value.uri
        return replace(value, uri=str(Path(value.uri).expanduser().absolute())) if is_local else value
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    if isinstance(value, dict):
        return {name: _absolute(each) for name, each in value.items()}
    return value


def _takes_none(value_type: ValueType) -> bool:
    variants = getattr(value_type, "variants", ())
    return value_type is SimpleType.NONE or any(each.type is SimpleType.NONE for each in variants)


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
