"""The types of query parameters: as the API writes them, as a task declares them, and by default for Flyte's types.

==========================  ==========================================================================
an input of the type        is, unless the task declares the parameter in its `QueryJobConfig`
==========================  ==========================================================================
int, float, bool, str       INT64, FLOAT64, BOOL, STRING
bytes                       BYTES
datetime                    DATETIME in UTC as flytekit's connector sends it, or TIMESTAMP by the operator's setting
dict, dataclass, dict[...]  JSON
an enum                     STRING
list[...]                   ARRAY of the element's type, empty ones too
Optional[...]               the other type; None is a NULL of it
==========================  ==========================================================================

A declared parameter (`ScalarQueryParameter("day", "DATE", None)`) decides for the input of its name, which is how a task says
DATE, TIME, TIMESTAMP, NUMERIC, BIGNUMERIC, JSON, GEOGRAPHY or STRUCT. BigQuery has no arrays of arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from outboard.domain.types import EnumType, ListType, MapType, SimpleType, UnionType, ValueType, describe
from outboard.errors import InvalidInputs, InvalidTask

_BY_SIMPLE_TYPE: Final[Mapping[SimpleType, str]] = {
    SimpleType.INTEGER: "INT64",
    SimpleType.FLOAT: "FLOAT64",
    SimpleType.BOOLEAN: "BOOL",
    SimpleType.STRING: "STRING",
    SimpleType.BINARY: "BYTES",
    SimpleType.STRUCT: "JSON",
    SimpleType.NONE: "STRING",
}
_SYNONYMS: Final[Mapping[str, str]] = {
    "INTEGER": "INT64",
    "FLOAT": "FLOAT64",
    "BOOLEAN": "BOOL",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
    "RECORD": "STRUCT",
}
SCALARS: Final = frozenset(
    {
        *("INT64", "FLOAT64", "BOOL", "STRING", "BYTES", "JSON", "GEOGRAPHY", "INTERVAL"),
        *("DATE", "DATETIME", "TIME", "TIMESTAMP", "NUMERIC", "BIGNUMERIC"),
    }
)
_DEEPEST: Final = 15  # STRUCTs nest no deeper in BigQuery


@dataclass(frozen=True, slots=True)
class ParameterType:
    """A type of GoogleSQL: a scalar by its name, `ARRAY` with an element, `STRUCT` with fields in their order."""

    name: str
    element: ParameterType | None = None
    fields: tuple[tuple[str, ParameterType], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the API's `QueryParameterType`."""
        if self.element is not None:
            return {"type": "ARRAY", "arrayType": self.element.to_json()}
        if self.name == "STRUCT":
            fields = [{"name": name, "type": field.to_json()} for name, field in self.fields]
            return {"type": "STRUCT", "structTypes": fields}
        return {"type": self.name}

    def __str__(self) -> str:
        if self.element is not None:
            return f"ARRAY<{self.element}>"
        if self.name == "STRUCT":
            return f"STRUCT<{', '.join(f'{name} {field}' for name, field in self.fields)}>"
        return self.name


def declared_type(written: object, where: str, depth: int = 0) -> ParameterType:
    """Return the type that a task declares as the API's `QueryParameterType`; `InvalidTask` names what is wrong."""
    name = written.get("type") if isinstance(written, Mapping) else None
    if not isinstance(written, Mapping) or not isinstance(name, str) or depth > _DEEPEST:
        raise InvalidTask(f"{where} is no parameter type; write it as google-cloud-bigquery does", field=where)
    name = _SYNONYMS.get(name.upper(), name.upper())
    if name == "ARRAY":
        element = declared_type(written.get("arrayType"), f"{where}.arrayType", depth + 1)
        return _array_of(element, where, InvalidTask)
    if name == "STRUCT":
        fields = written.get("structTypes")
        parts = [each for each in fields if isinstance(each, Mapping)] if isinstance(fields, (list, tuple)) else []
        named = [(str(each.get("name", "")), each.get("type")) for each in parts]
        return ParameterType(
            "STRUCT", fields=tuple((each, declared_type(kind, f"{where}.{each}", depth + 1)) for each, kind in named)
        )
    if name not in SCALARS:
        raise InvalidTask(f"{where} is {name}, which no input can be; bind it in the SQL instead", field=where)
    return ParameterType(name)


def default_type(value_type: ValueType, where: str, datetime_name: str) -> ParameterType | None:
    """Return what an input of a type is unless the task declares it; None where only its value can tell.

    Raises:
        InvalidInputs: BigQuery takes no parameter of it.
    """
    match value_type:
        case SimpleType.DATETIME:
            return ParameterType(datetime_name)
        case SimpleType() if value_type in _BY_SIMPLE_TYPE:
            return ParameterType(_BY_SIMPLE_TYPE[value_type])
        case EnumType():
            return ParameterType("STRING")
        case MapType():
            return ParameterType("JSON")
        case ListType(element):
            found = default_type(element, where, datetime_name)
            return None if found is None else _array_of(found, where, InvalidInputs)
        case UnionType(variants):
            others = [each.type for each in variants if each.type is not SimpleType.NONE]
            return default_type(others[0], where, datetime_name) if len(others) == 1 else None
    raise InvalidInputs(
        f"{where} is {describe(value_type)}, which is no BigQuery parameter; declare it in "
        "QueryJobConfig.query_parameters (STRING takes its address, FLOAT64 a duration's seconds)",
        field=where,
    )


def _array_of(element: ParameterType, where: str, error: type[InvalidInputs | InvalidTask]) -> ParameterType:
    if element.element is not None:
        raise error(
            f"{where} is a list of lists, and BigQuery has no arrays of arrays; declare it as JSON", field=where
        )
    return ParameterType("ARRAY", element=element)
