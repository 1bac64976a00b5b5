"""A task from options: `outboard run TASK_TYPE --config k=v --input k=v ...`, as the specification a file would hold.

Values are read as YAML reads them (`3` is a number, `[1, 2]` a list), except for inputs that are declared as text. Options
over a file with one task replace what the file says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outboard.cli.type_spellings import parse_type
from outboard.domain.types import EnumType, SimpleType, ValueType
from outboard.errors import InvalidTask
from outboard.local.documents import parse_yaml, read_model

if TYPE_CHECKING:
    from outboard.cli.specs import TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What the options of `run` say about a task; None means that an option was not given; see `option_groups`."""

    config: Annotated[
        list[str] | None,
        typer.Option("--config", "-c", metavar="KEY=VALUE", help="A field of the task's configuration; a.b=1 nests."),
    ] = None
    sql: Annotated[str | None, typer.Option("--sql", metavar="TEXT", help="The task's SQL statement.")] = None
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input; the value is read as YAML."),
    ] = None
    input_types: Annotated[
        list[str] | None,
        typer.Option(
            "--input-type", metavar="NAME=TYPE", help="An input's type: int, list[str], dataset(parquet), ..."
        ),
    ] = None
    outputs: Annotated[
        list[str] | None, typer.Option("--output", "-o", metavar="NAME=TYPE", help="An output that the task declares.")
    ] = None
    version: Annotated[int | None, typer.Option("--task-version", metavar="N", help="The task type's version.")] = None
    name: Annotated[str | None, typer.Option("--name", metavar="ID", help="The task's id in the journal.")] = None
    retries: Annotated[int | None, typer.Option("--retries", min=0, metavar="N", help="Attempts after the first.")] = (
        None
    )
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="For one attempt: 1h30m, or seconds.")
    ] = None
    output_prefix: Annotated[
        str | None, typer.Option("--output-prefix", metavar="URI", help="Where the outputs of the first attempt go.")
    ] = None
    project: Annotated[str | None, typer.Option("--project", metavar="NAME", help="In whose name it runs.")] = None
    domain: Annotated[str | None, typer.Option("--domain", metavar="NAME", help="In which domain it runs.")] = None

    @property
    def is_empty(self) -> bool:
        """Whether no option was given."""
        return self == TaskOptions()

    def over(self, spec: TaskSpec) -> TaskSpec:
        """Return a specification with these options in the place of what it says.

        Raises:
            InvalidTask: An option makes no sense; the message names it.
        """
        given = {
            name: value
            for name in ("sql", "retries", "timeout", "output_prefix", "project", "domain", "name", "version")
            if (value := getattr(self, name)) is not None
        }
        document: dict[str, Any] = {**spec.model_dump(exclude_unset=True), **given}
        for text in self.config or ():
            path, value = _pair(text, "--config")
            document["config"] = _put(document.get("config", {}), path.split("."), _value(value, f"--config {path}"))
        types = dict(_pair(text, "--input-type") for text in self.input_types or ())
        if types:
            interface = document.get("interface", {})
            document["interface"] = {**interface, "inputs": {**interface.get("inputs", {}), **types}}
        declared = document.get("interface", {}).get("inputs", {})
        for text in self.inputs or ():
            name, value = _pair(text, "--input")
            document["inputs"] = {**document.get("inputs", {}), name: _input(name, value, declared.get(name))}
        if self.outputs:
            document["outputs"] = {
                **document.get("outputs", {}),
                **dict(_pair(text, "--output") for text in self.outputs),
            }
        return read_model(type(spec), document, InvalidTask, where="the command line")


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InvalidTask(f"{option} '{text}' gives no value: write {option} name=value", field=option)
    return name.strip(), value


def _value(text: str, where: str) -> object:
    return parse_yaml(text, where, InvalidTask) if text else ""


def _input(name: str, text: str, spelling: str | None) -> object:
    return text if spelling is not None and _is_text(_type(name, spelling)) else _value(text, f"--input {name}")


def _type(name: str, spelling: str) -> ValueType:
    try:
        return parse_type(spelling)
    except ValueError as error:
        raise InvalidTask(f"--input-type {name}: {error}", field=f"interface.inputs.{name}") from None


def _is_text(value_type: ValueType) -> bool:
    """Tell whether what stands on the command line is the value itself, and not YAML of it."""
    return isinstance(value_type, EnumType) or value_type in (SimpleType.STRING, SimpleType.DATETIME)


def _put(config: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    """Return a nested mapping with one more value at a path."""
    name, *rest = path
    if not rest:
        return {**config, name: value}
    inner = config.get(name, {})
    if not isinstance(inner, Mapping):
        raise InvalidTask(
            f"--config {'.'.join(path)}: '{name}' is a value already, so nothing can be in it", field="config"
        )
    return {**config, name: _put(inner, rest, value)}
