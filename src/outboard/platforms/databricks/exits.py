"""A notebook's exit value as outputs: `dbutils.notebook.exit(value)` is one text of up to 5 MB.

One declared output gets it whole: as it is where the output is a text, read as JSON otherwise. Several outputs get the members
of a JSON object by their names. Which outputs there are, and which are texts, travels in the handle: later requests bring
no interface.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from outboard.domain.types import EnumType, SimpleType, ValueType
from outboard.errors import InvalidOutputs

Exit = tuple[str, bool]
"""The name of an output, and whether it is a text."""


def exits_of(declared: Mapping[str, ValueType]) -> tuple[Exit, ...]:
    """Return what is to be remembered of a notebook task's outputs."""
    return tuple((name, kind is SimpleType.STRING or isinstance(kind, EnumType)) for name, kind in declared.items())


def outputs_of(exits: Sequence[Exit], value: str | None, *, is_truncated: bool = False) -> dict[str, Any]:
    """Return the outputs in an exit value.

    Raises:
        InvalidOutputs: There is no exit value, it is cut, or it is none of these.
    """
    names = ", ".join(name for name, _ in exits)
    if value is None:
        raise InvalidOutputs(
            f"the notebook gave no exit value, and the task declares {names}; call dbutils.notebook.exit"
        )
    if is_truncated:
        raise InvalidOutputs(
            "the notebook's exit value is longer than the 5 MB that Databricks keeps; store it and exit with its address"
        )
    if len(exits) == 1:
        name, is_text = exits[0]
        return {name: value if is_text else _json(value, name)}
    members = _json(value, names)
    if not isinstance(members, dict) or not all(name in members for name, _ in exits):
        raise InvalidOutputs(f"the notebook's exit value is no JSON object with {names}")
    return {name: members[name] for name, _ in exits}


def _json(value: str, names: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        raise InvalidOutputs(f"the notebook's exit value is no JSON, which {names} needs") from None
