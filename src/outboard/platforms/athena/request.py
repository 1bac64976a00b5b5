"""From a task to the body of StartQueryExecution; and where its rows go.

A task that declares a table gets one that flytekit reads: a SELECT is sent within `UNLOAD (...) TO 's3://...' WITH
(format = 'PARQUET')`, so its rows lie as Parquet files in a folder of their own. With `csv` it is sent as it is, and the result
is Athena's own CSV file, which is what FlytePropeller's Athena plugin hands on. Other statements are never changed.

Result files lie below the task's output prefix, or below the place that the task or the operator names; there in a folder by
the submission key. A function of its arguments alone, so the same task makes the same request again, which the token needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from outboard.agent import Key, LabelRules, Labels, Task
from outboard.domain.templates import TemplateValues
from outboard.domain.types import SchemaType, StructuredDatasetType, UnionType, ValueType
from outboard.errors import InvalidTask
from outboard.platforms.athena.config import AthenaConfig
from outboard.platforms.athena.parameters import execution_parameters
from outboard.platforms.athena.settings import AthenaSettings, ResultFormat
from outboard.platforms.athena.statement import Statement, is_single, kind_of, statement_of

LONGEST_SQL: Final = 262_144
"""Bytes in UTF-8: https://docs.aws.amazon.com/athena/latest/ug/service-limits.html, read 2026-11-22."""
_SELECTS: Final = ("SELECT", "WITH", "VALUES", "TABLE")
_COMMENTED: Final = (*_SELECTS, "UNLOAD", "INSERT", "MERGE", "UPDATE", "DELETE")
"""Statements of the Trino engine, whose comments do not matter; DDL goes through Hive's parser."""
_SHORTEST_TOKEN: Final = 32


@dataclass(frozen=True, slots=True)
class Result:
    """What a task declares as its result.

    Attributes:
        name: By which name it is handed over; empty where there is none.
        is_schema: It is a Flyte schema rather than a structured dataset.
        format: The declared format of the structured dataset; empty is any.
    """

    name: str = ""
    is_schema: bool = False
    format: str = ""


def request_token(key: Key) -> str:
    """Return the idempotency token of a submission: 32 to 128 characters."""
    return key.text if len(key.text) >= _SHORTEST_TOKEN else key.token(min_len=_SHORTEST_TOKEN)


def start_request(
    task: Task[AthenaConfig], settings: AthenaSettings, *, key: Key, labels: Labels, workgroup: str
) -> dict[str, Any]:
    """Return the body of StartQueryExecution.

    Args:
        task: The task.
        settings: The operator's.
        key: The submission's.
        labels: The execution's.
        workgroup: Where the query runs.

    Raises:
        InvalidTask: There is no SQL, or it cannot be sent; a result is declared that cannot be.
        InvalidInputs: An input cannot be bound.
    """
    folder = _folder(task, settings, key)
    statement = sql_of(task, key, folder)
    sql = statement.sql
    if _unloads(task, settings, sql):
        sql = _unloaded(sql, folder)
    reuse = _reuse_minutes(task, settings)
    if not reuse and kind_of(sql) in _COMMENTED:
        sql = f"{sql}\n{_comment(settings, labels)}"
    body: dict[str, Any] = {
        "ClientRequestToken": request_token(key),
        "QueryString": _checked(sql),
        "QueryExecutionContext": _context(task, settings),
        "WorkGroup": workgroup,
    }
    parameters = execution_parameters(statement.places, task.inputs)
    if parameters:
        body["ExecutionParameters"] = parameters
    configuration = _result_configuration(settings, folder)
    if configuration:
        body["ResultConfiguration"] = configuration
    if reuse:
        body["ResultReuseConfiguration"] = {
            "ResultReuseByAgeConfiguration": {"Enabled": True, "MaxAgeInMinutes": reuse}
        }
    return body


def sql_of(task: Task[AthenaConfig], key: Key, folder: str) -> Statement:
    """Return a task's statement, from its configuration or its template, with `?` for its inputs."""
    config, templated = task.config, task.sql.statement if task.sql is not None else ""
    if config.query_collection:
        raise InvalidTask(
            "Athena runs one statement; write it as `query`, not as a collection", field="custom.queryCollection"
        )
    if templated and config.statement and templated != config.statement:
        raise InvalidTask(
            "custom.statement and the template's SQL statement differ; keep one", field="custom.statement"
        )
    sql = (config.statement or templated).strip().rstrip(";").rstrip()
    if not kind_of(sql):
        raise InvalidTask("the task has no SQL; give it a query_template", field="custom.statement")
    if not is_single(sql):
        raise InvalidTask(
            "the SQL holds several statements, and Athena runs one; make them tasks of their own "
            "(flytekit's HiveSelectTask is for Hive itself: write the SELECT alone, its rows are stored as Parquet here too)",
            field="custom.statement",
        )
    engine = TemplateValues(
        input_uri=task.input_uri,
        input_prefix=task.input_uri.rpartition("/")[0],
        output_prefix=task.output_prefix,
        raw_output_data_prefix=folder,
        generated_name=key.text,
        namespace=task.namespace,
    )
    return statement_of(sql, config.parameters, tuple(task.inputs), engine)


def result_of(task: Task[AthenaConfig]) -> Result:
    """Return the one output that is the query's result.

    Raises:
        InvalidTask: The task declares several, or something that is no table.
    """
    declared = task.interface.outputs
    if not declared:
        return Result()
    name = next(iter(declared))
    found = _table(name, declared[name]) if len(declared) == 1 else None
    if found is None:
        raise InvalidTask(
            "an Athena task gives one output, a schema or a structured dataset; declare just that",
            field=f"interface.outputs.{name}",
        )
    return found


def _table(name: str, value_type: ValueType) -> Result | None:
    if isinstance(value_type, UnionType):
        return next((found for each in value_type.variants if (found := _table(name, each.type))), None)
    if isinstance(value_type, SchemaType):
        return Result(name, is_schema=True)
    return Result(name, format=value_type.format) if isinstance(value_type, StructuredDatasetType) else None


def _unloads(task: Task[AthenaConfig], settings: AthenaSettings, sql: str) -> bool:
    result = result_of(task)
    if not result.name or kind_of(sql) not in _SELECTS:
        return False
    if result.format.lower() in ("csv", "parquet"):
        return result.format.lower() == "parquet"
    return (task.config.result_format or settings.result_format) is ResultFormat.PARQUET


def _unloaded(sql: str, folder: str) -> str:
    if not folder:
        raise InvalidTask(
            "rows are stored as Parquet, and there is no place on S3 for them: the operator sets "
            "platforms.athena.output_location (or result_format: csv), or the task names outputLocation",
            field="custom.outputLocation",
        )
    return f"UNLOAD (\n{sql}\n) TO '{folder}/rows/' WITH (format = 'PARQUET', compression = 'SNAPPY')"


def _folder(task: Task[AthenaConfig], settings: AthenaSettings, key: Key) -> str:
    """Return where result files go, without a slash at the end; empty leaves it to the workgroup."""
    told = task.config.output_location or settings.output_location
    if told:
        return f"{told.rstrip('/')}/{key.name()}"
    prefix = task.output_prefix.rstrip("/")
    if not prefix.startswith("s3://"):
        return ""
    if "'" in prefix:
        raise InvalidTask("the output prefix holds a quote, which Athena takes in no address", field="output_prefix")
    return f"{prefix}/athena"


def _result_configuration(settings: AthenaSettings, folder: str) -> dict[str, Any]:
    configuration: dict[str, Any] = {}
    if folder and not settings.uses_workgroup_location:
        configuration["OutputLocation"] = f"{folder}/"
    if settings.bucket_owner:
        configuration["ExpectedBucketOwner"] = settings.bucket_owner
    if settings.encryption:
        encryption: dict[str, str] = {"EncryptionOption": settings.encryption}
        if settings.kms_key:
            encryption["KmsKey"] = settings.kms_key
        configuration["EncryptionConfiguration"] = encryption
    return configuration


def _context(task: Task[AthenaConfig], settings: AthenaSettings) -> dict[str, str]:
    told = {
        "Catalog": task.config.catalog or settings.catalog,
        "Database": task.config.database or settings.database,
    }
    for name, value in told.items():
        if "{{" in value:
            raise InvalidTask(
                f"custom.{name.lower()} holds a template; inputs are values and never names",
                field=f"custom.{name.lower()}",
            )
    return {name: value for name, value in told.items() if value}


def _reuse_minutes(task: Task[AthenaConfig], settings: AthenaSettings) -> int:
    told = task.config.result_reuse_minutes
    return settings.result_reuse_minutes if told is None else told


def _comment(settings: AthenaSettings, labels: Labels) -> str:
    """Return who the query belongs to: Athena has no labels of queries, and its history shows their text."""
    told = Labels(provenance=labels.provenance, user={**labels.user, **settings.labels}).fit(LabelRules.DATABRICKS)
    return f"/* {', '.join(f'{name}={value}' for name, value in told.items())} */"


def _checked(sql: str) -> str:
    if len(sql.encode(errors="replace")) > LONGEST_SQL:
        raise InvalidTask("the SQL is longer than Athena's limit of 256 KiB; make it a view", field="custom.statement")
    return sql
