"""The body that starts a statement: text, bind variables, where it runs, its tag.

The query tag is a JSON object with the task's provenance, first of all its submission key, by which the query history finds the
statement again. A tag of the task's own stands in it as `tag`. Snowflake allows 2,000 characters; what does not fit is left out
from the end, and the key never is.

Sources: https://docs.snowflake.com/en/developer-guide/sql-api/reference#body-of-the-post-request-to-api-v2-statements and
https://docs.snowflake.com/en/sql-reference/parameters#query-tag (read 2026-11-22).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from outboard.agent import Key, Task
from outboard.domain.types import StructuredDatasetType
from outboard.errors import InvalidTask
from outboard.platforms.snowflake.config import SnowflakeConfig
from outboard.platforms.snowflake.settings import SnowflakeSettings
from outboard.platforms.snowflake.templates import bind

KEY_TAG: Final = "outboard-key"
_TAG: Final = "QUERY_TAG"
_COUNT: Final = "MULTI_STATEMENT_COUNT"
_LONGEST_TAG: Final = 2_000
_LONGEST_PLACE: Final = 200
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")


def body_of(
    task: Task[SnowflakeConfig], key: Key, labels: Mapping[str, str], settings: SnowflakeSettings
) -> dict[str, Any]:
    """Return the body that starts the statement of a task.

    Raises:
        InvalidTask: There is no SQL, an input stands where none can be bound, or several statements have inputs.
        InvalidInputs: An input cannot be bound.
    """
    config = task.config
    if task.sql is None or not task.sql.statement.strip():
        raise InvalidTask("the task has no SQL; give it a query_template", field="sql.statement")
    bound = bind(task.sql.statement.strip(), dict(task.inputs), task.interface.inputs, is_batch=config.batch)
    parameters = {**settings.session_parameters, **config.parameters}
    if config.statement_count is not None:
        parameters[_COUNT] = str(config.statement_count)
    if parameters.get(_COUNT, "1") != "1" and bound.bindings:
        raise InvalidTask(
            "Snowflake binds no inputs in several statements at once; make a task of each, or a Snowflake Scripting block",
            field="statement_count",
        )
    parameters[_TAG] = query_tag(key, labels, parameters.pop(_TAG, ""))
    body = {
        "statement": bound.text,
        "timeout": _timeout_s(task, settings),
        "database": name_of(config.database),
        "schema": name_of(config.schema_name),
        "warehouse": name_of(config.warehouse),
        "role": name_of(config.role_name or settings.of(config.account or settings.account).role),
        "bindings": {str(position): each for position, each in enumerate(bound.bindings, 1)},
        "parameters": parameters,
    }
    return {name: value for name, value in body.items() if value not in (None, "", {})}


def name_of(text: str) -> str:
    """Return a name as the SQL API wants it: exactly, as `SHOW` tells it, where SQL and the connectors fold plain ones.

    >>> name_of("compute_wh"), name_of('"My warehouse"'), name_of("my-warehouse")
    ('COMPUTE_WH', 'My warehouse', 'my-warehouse')
    """
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text.upper() if _PLAIN.fullmatch(text) else text


def output_of(task: Task[SnowflakeConfig]) -> str:
    """Return the name of the output that the result is; empty where the task has none.

    Raises:
        InvalidTask: It declares something that no statement gives.
    """
    config, declared = task.config, task.interface.outputs
    if len(declared) > 1:
        raise InvalidTask(f"outputs: a statement has one result, not {len(declared)}", field="outputs")
    for name, kind in declared.items():
        if not isinstance(kind, StructuredDatasetType):
            raise InvalidTask(
                f"outputs.{name} must be a structured dataset: the result stays in Snowflake", field=f"outputs.{name}"
            )
        if len(config.warehouse + config.database + config.schema_name) > _LONGEST_PLACE:
            raise InvalidTask(
                f"warehouse, database and schema together have more than {_LONGEST_PLACE} characters, the most a handle can hold",
                field="database",
            )
        return name
    return ""


def query_tag(key: Key, labels: Mapping[str, str], own: str) -> str:
    """Return a statement's query tag.

    Args:
        key: Never left out.
        labels: The task's provenance, the most important first.
        own: The task's own tag.
    """
    tag = {KEY_TAG: key.text}
    wanted = {**({"tag": own} if own else {}), **labels}
    for name, value in wanted.items():
        longer = {**tag, name: value}
        if name not in tag and len(_json(longer)) <= _LONGEST_TAG:
            tag = longer
    return _json(tag)


def _json(value: Mapping[str, str]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _timeout_s(task: Task[SnowflakeConfig], settings: SnowflakeSettings) -> int | None:
    own = int(task.timeout.total_seconds()) if task.timeout else None
    told = [each for each in (task.config.statement_timeout_s, own, settings.longest_statement_s) if each]
    return min(told) if told else None
