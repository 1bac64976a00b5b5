"""From a task to the body of `jobs.insert`.

The SQL goes out as the task has it; inputs are bound as query parameters and never put into it. A function of its
arguments alone, so the same task makes the same request again.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

from outboard.agent import LabelRules, Labels, Task
from outboard.domain.types import StructuredDatasetType, UnionType, ValueType
from outboard.errors import InvalidTask
from outboard.platforms.bigquery.config import BigQueryConfig
from outboard.platforms.bigquery.parameters import query_parameters
from outboard.platforms.bigquery.settings import BigQuerySettings

KEY_LABEL: Final = "outboard-key"
_TEMPLATE: Final = re.compile(r"\{\{\s*[.$]", re.IGNORECASE)
_LONGEST_SQL: Final = 1024 * 1024  # "Maximum unresolved GoogleSQL query length", bigquery/quotas#query_jobs


def job_body(
    task: Task[BigQueryConfig], settings: BigQuerySettings, *, job_id: str, location: str, labels: Labels
) -> dict[str, Any]:
    """Return the job that a task asks for, as the API writes one.

    Args:
        task: The task.
        settings: The operator's.
        job_id: The job's id, which is ours to choose.
        location: Where it is pinned to; empty lets BigQuery choose.
        labels: The execution's.

    Raises:
        InvalidTask, InvalidInputs: As `configuration_of`.
    """
    reference = {"projectId": task.config.project, "jobId": job_id, **({"location": location} if location else {})}
    configuration = {**configuration_of(task, settings), "labels": _fit(task, settings, labels)}
    return {"jobReference": reference, "configuration": configuration}


def dry_run_body(task: Task[BigQueryConfig], settings: BigQuerySettings, *, location: str) -> dict[str, Any]:
    """Return the same query as a dry run, which costs nothing, has no id and leaves no job.

    The limit is left out: a dry run tells how much would be read, and it is compared here.
    """
    configuration = configuration_of(task, settings)
    configuration["query"].pop("maximumBytesBilled", None)
    reference = {"projectId": task.config.project, **({"location": location} if location else {})}
    return {"jobReference": reference, "configuration": {**configuration, "dryRun": True}}


def configuration_of(task: Task[BigQueryConfig], settings: BigQuerySettings) -> dict[str, Any]:
    """Return the API's `JobConfiguration` without labels.

    Raises:
        InvalidTask: There is no SQL, or it cannot be sent as it is; a parameter is declared wrongly.
        InvalidInputs: An input cannot be bound.
    """
    config = task.config
    query: dict[str, Any] = {
        **config.query_fields(),
        "query": statement_of(task),
        "useLegacySql": config.use_legacy_sql,
    }
    parameters = query_parameters(config.query_parameters, task.inputs, task.interface, settings.datetime_parameter)
    if parameters:
        query["queryParameters"] = parameters
        query["parameterMode"] = "NAMED" if all(each.get("name") for each in parameters) else "POSITIONAL"
    limit = byte_limit(config, settings)
    if limit is not None:
        query["maximumBytesBilled"] = str(limit)
    configuration: dict[str, Any] = {"query": query}
    timeout_ms = _timeout_ms(config, task.timeout)
    if timeout_ms is not None:
        configuration["jobTimeoutMs"] = str(timeout_ms)
    if config.reservation:
        configuration["reservation"] = config.reservation
    return configuration


def statement_of(task: Task[BigQueryConfig]) -> str:
    """Return a task's SQL, from its template or its configuration; `InvalidTask` where it cannot be sent as it is."""
    templated, configured = task.sql.statement if task.sql is not None else "", task.config.query or ""
    if templated and configured and templated != configured:
        raise InvalidTask("custom.query and the template's SQL statement differ; keep one", field="custom.query")
    sql = templated or configured
    if not sql.strip():
        raise InvalidTask("the task has no SQL; give it a query_template", field="sql.statement")
    if _TEMPLATE.search(sql):
        raise InvalidTask(
            "the SQL holds a template, which nobody renders; write @name for an input", field="sql.statement"
        )
    if len(sql.encode(errors="replace")) > _LONGEST_SQL:
        raise InvalidTask("the SQL is longer than BigQuery's limit of 1 MB; make it a procedure", field="sql.statement")
    if task.config.use_legacy_sql and len(task.inputs):
        raise InvalidTask(
            "legacy SQL takes no parameters; set use_legacy_sql to False, or take the inputs away",
            field="custom.useLegacySql",
        )
    return sql


def byte_limit(config: BigQueryConfig, settings: BigQuerySettings) -> int | None:
    """Return the most that a job may be billed for: the smaller of the task's and the operator's."""
    limits = [limit for limit in (config.maximum_bytes_billed, settings.maximum_bytes_billed) if limit is not None]
    return min(limits) if limits else None


def result_name(task: Task[BigQueryConfig]) -> str:
    """Return the one output that is the query's result; empty where the task declares none.

    Raises:
        InvalidTask: It declares several, or something that is no table.
    """
    declared = task.interface.outputs
    if not declared:
        return ""
    name = next(iter(declared))
    if len(declared) > 1 or not _is_table(declared[name]):
        raise InvalidTask(
            "a BigQuery task gives one output, a structured dataset (a DataFrame in Flyte 2); declare just that",
            field=f"interface.outputs.{name}",
        )
    return name


def _is_table(value_type: ValueType) -> bool:
    if isinstance(value_type, UnionType):
        return any(_is_table(each.type) for each in value_type.variants)
    return isinstance(value_type, StructuredDatasetType)


def _timeout_ms(config: BigQueryConfig, timeout: timedelta | None) -> int | None:
    told = [config.job_timeout_ms] if config.job_timeout_ms else []
    if timeout is not None and timeout > timedelta(0):
        told.append(max(1, round(timeout.total_seconds() * 1000)))
    return min(told) if told else None


def _fit(task: Task[BigQueryConfig], settings: BigQuerySettings, labels: Labels) -> dict[str, str]:
    user = {**labels.user, **settings.labels, **task.config.labels}
    return Labels(provenance=labels.provenance, user=user).fit(LabelRules.GCP)
