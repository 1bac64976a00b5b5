"""Groups of options: several options of a command that are one value to it.

typer reads an option from each parameter of a command. A parameter whose type is a dataclass stands for the dataclass's fields,
in its place and in their order. Each field is declared as a parameter would be (`Annotated[type, typer.Option(...)] = default`),
and the command is called with the value that they make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


def spread(command: Callable[..., int]) -> Callable[..., int]:
    """Return a command as typer reads it: with every option as a parameter of its own."""
    types = get_type_hints(command, include_extras=True)
    groups = {name: found for name, found in types.items() if isinstance(found, type) and is_dataclass(found)}
    parameters = [
        each
        for name, parameter in signature(command).parameters.items()
        for each in (_options(groups[name]) if name in groups else [parameter.replace(annotation=types[name])])
    ]

    @wraps(command)
    def spread_command(**given: Any) -> int:
        made = {
            name: group(**{each.name: given.pop(each.name) for each in fields(group)}) for name, group in groups.items()
        }
        return command(**given, **made)

    spread_command.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]  # what `inspect` asks for
    spread_command.__annotations__ = {each.name: each.annotation for each in parameters}
    return spread_command


def _options(group: type[Any]) -> Iterator[Parameter]:
    types = get_type_hints(group, include_extras=True)
    for each in fields(group):
        default = Parameter.empty if each.default is MISSING else each.default
        yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=default, annotation=types[each.name])
