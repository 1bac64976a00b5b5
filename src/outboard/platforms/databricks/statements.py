"""The body that starts a SQL statement: text, typed parameters, tags, and how its result is to come.

Inputs are parameters that the text names as `:name`; they are sent beside the text and never become part of it. The key stands in
a comment at the end, where it moves no error position, and in a query tag: by either the query history finds the statement.

Source: https://docs.databricks.com/api/workspace/statementexecution/executestatement (read 2026-11-22).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from outboard.agent import Key, Task
from outboard.domain.types import EnumType, SimpleType, UnionType, ValueType, describe
from outboard.errors import InvalidInputs, InvalidTask
from outboard.platforms.databricks.config import StatementConfig
from outboard.platforms.databricks.results import MOST_ROWS, Wanted

KEY_TAG: Final = "outboard-key"
_MOST_TAGS: Final = 20
_TEMPLATE: Final = re.compile(r"\{\{\s*[.$]")
_SQL_TYPE: Final = re.compile(r"[A-Z][A-Z_ ]*(?:\(\s*\d{1,2}\s*(?:,\s*\d{1,2}\s*)?\))?", re.IGNORECASE)
_TYPES: Final[dict[ValueType, str]] = {
    SimpleType.INTEGER: "BIGINT",
    SimpleType.FLOAT: "DOUBLE",
    SimpleType.STRING: "STRING",
    SimpleType.BOOLEAN: "BOOLEAN",
    SimpleType.DATETIME: "TIMESTAMP",
    SimpleType.DURATION: "INTERVAL DAY TO SECOND",
}


def execution_of(
    task: Task[StatementConfig], key: Key, tags: Mapping[str, str], warehouse_id: str, wanted: Wanted
) -> dict[str, Any]:
    """Return the body that starts the statement of a task.

    Args:
        task: The task.
        key: By which the statement is found.
        tags: Its provenance.
        warehouse_id: Where tasks run that name no warehouse.
        wanted: What the task wants of the result.

    Raises:
        InvalidTask: There is no SQL, or no warehouse.
        InvalidInputs: An input is of a kind that no parameter has.
    """
    config = task.config
    warehouse = config.warehouse_id or warehouse_id
    if not warehouse:
        raise InvalidTask(
            "custom.warehouseId is missing: name a SQL warehouse, or the operator sets the workspace's warehouse_id",
            field="custom.warehouseId",
        )
    row_limit = config.row_limit or (MOST_ROWS + 1 if wanted.rows else None)
    body = {
        "statement": f"{_statement(task)}\n/* {KEY_TAG}: {key.text} */",
        "warehouse_id": warehouse,
        "wait_timeout": "0s",
        "parameters": parameters_of(task),
        "query_tags": _tags(tags, config.tags),
        "catalog": config.catalog or None,
        "schema": config.schema_name or None,
        "row_limit": row_limit,
        "byte_limit": config.byte_limit,
        # A result beyond 25 MiB aborts a statement with inline results, so only few rows are asked for so.
        "disposition": "INLINE" if wanted.rows else "EXTERNAL_LINKS",
        "format": "JSON_ARRAY" if wanted.rows else "ARROW_STREAM",
    }
    return {name: value for name, value in body.items() if value not in (None, [])}


def parameters_of(task: Task[StatementConfig]) -> list[dict[str, Any]]:
    """Return a task's inputs as parameters, each with its SQL type."""
    declared = task.interface.inputs
    for name, sql_type in task.config.parameter_types.items():
        if name not in task.inputs and name not in declared:
            raise InvalidTask(f"custom.parameterTypes names {name}, which is no input", field="custom.parameterTypes")
        if not _SQL_TYPE.fullmatch(sql_type):
            raise InvalidTask(
                f"custom.parameterTypes.{name} is no SQL type; write DATE, or DECIMAL(10,2)",
                field="custom.parameterTypes",
            )
    return [_parameter(name, task.inputs[name], declared.get(name), task.config) for name in task.inputs]


def carries(query: Mapping[str, Any], key: Key) -> bool:
    """Tell whether an entry of the query history is of the statement of a key."""
    text = query.get("query_text")
    if isinstance(text, str) and f"{KEY_TAG}: {key.text} */" in text:
        return True
    tags = query.get("query_tags")
    listed = tags if isinstance(tags, list) else []
    return any(isinstance(tag, dict) and (tag.get("key"), tag.get("value")) == (KEY_TAG, key.text) for tag in listed)


def _parameter(name: str, value: Any, declared: ValueType | None, config: StatementConfig) -> dict[str, Any]:
    sql_type = config.parameter_types.get(name) or _type_of(name, value, declared)
    parameter = {"name": name, "type": sql_type.upper()}
    return parameter if value is None else {**parameter, "value": _spell(name, value)}


def _type_of(name: str, value: Any, declared: ValueType | None) -> str:
    kind: ValueType | None = declared
    if isinstance(kind, UnionType):
        others = [each.type for each in kind.variants if each.type is not SimpleType.NONE]
        kind = others[0] if len(others) == 1 else None  # of several, the value tells which
    if isinstance(kind, EnumType):
        kind = SimpleType.STRING
    if kind is None or kind is SimpleType.NONE:
        kind = _kind_of(value)
    found = _TYPES.get(kind) if kind is not None else None
    if found is None:
        shown = describe(kind) if kind is not None else type(value).__name__
        raise InvalidInputs(
            f"inputs.{name} is of the type {shown}, which no SQL parameter has; "
            "give a number, text, bool, datetime or timedelta, or JSON as text",
            field=f"inputs.{name}",
        )
    return found


def _kind_of(value: Any) -> ValueType | None:
    kinds: tuple[tuple[type, ValueType], ...] = (
        (bool, SimpleType.BOOLEAN),
        (int, SimpleType.INTEGER),
        (float, SimpleType.FLOAT),
        (str, SimpleType.STRING),
        (datetime, SimpleType.DATETIME),
        (timedelta, SimpleType.DURATION),
    )
    if value is None:
        return SimpleType.STRING
    return next((kind for python, kind in kinds if isinstance(value, python)), None)


def _spell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc).isoformat()
    if isinstance(value, timedelta):
        sign, span = ("-", -value) if value < timedelta(0) else ("", value)
        minutes, seconds = divmod(span.seconds, 60)
        return f"{sign}{span.days} {minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{span.microseconds:06}"
    if isinstance(value, (int, float, str)):
        return str(value)
    raise InvalidInputs(f"inputs.{name} cannot be sent as a SQL parameter", field=f"inputs.{name}")


def _statement(task: Task[StatementConfig]) -> str:
    configured, templated = task.config.statement, task.sql.statement if task.sql is not None else ""
    if configured and templated and configured != templated:
        raise InvalidTask("custom.statement and the template's SQL differ; keep one", field="custom.statement")
    sql = (configured or templated).strip().rstrip(";").rstrip()
    if not sql:
        raise InvalidTask("the task has no SQL; give the template's SQL statement", field="custom.statement")
    if _TEMPLATE.search(sql):
        raise InvalidTask(
            "the SQL holds a template, which nobody renders; write :name for an input", field="custom.statement"
        )
    return sql


def _tags(provenance: Mapping[str, str], own: Mapping[str, str]) -> list[dict[str, str]]:
    tags = {**provenance, **{name: value for name, value in own.items() if name not in provenance}}
    return [{"key": name, "value": value} for name, value in list(tags.items())[:_MOST_TAGS]]
