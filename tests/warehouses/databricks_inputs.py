"""What may be wrong with a run or a statement on Databricks, and what a user should see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from integration.platforms.databricks.databricks_hosts import TOKEN
from outboard.agent import Inputs, Retry, Sql, Task
from outboard.domain.tasks import RawTask
from outboard.testing.cases.databricks import function_task
from outboard.testing.faults import Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks_sql import Answer, DatabricksSqlServer
from warehouses.bad_inputs import Bad, no_job, one_job

_RUN: Final = function_task("quick")
EVIL: Final = "x'; DROP TABLE t; --"
_BY_DAY: Final = "SELECT * FROM t WHERE day = :day"


def _conf(**fields: Any) -> RawTask:
    return replace(_RUN, config={**_RUN.config, "databricksConf": {**_RUN.config["databricksConf"], **fields}})


def _custom(task: RawTask, **fields: Any) -> RawTask:
    return replace(task, config={**task.config, **fields})


def _no_tokens(server: DatabricksSqlServer) -> None:
    server.access.tokens = set()


def _breaks(server: DatabricksSqlServer) -> None:
    server.courses["quick"] = Course(
        running_s=1, outcome="FAILED", message="Workload failed, see run output for details"
    )
    server.outputs[1001] = {"error": "SyntaxError: invalid syntax (job.py, line 3)", "error_trace": ""}


def _refuses(status: int, code: str, words: str) -> Callable[[DatabricksSqlServer], None]:
    return lambda server: server.faults.add(Refuse(status=status, code=code, words=words), "create")


def _without_credentials(task: RawTask) -> dict[str, Bad[DatabricksSqlServer]]:
    """Return what is the same whatever is asked of a workspace."""
    return {
        "expired token": Bad(
            task=task,
            prepare=_no_tokens,
            wanted=no_job(Retry.YES, "Invalid access token", TOKEN, not_words=["dapi-test"]),
        ),
        "missing secret": Bad(task=task, secrets={"another": "x"}, wanted=no_job(Retry.NEVER, TOKEN, "is not set")),
    }


BAD_RUNS: Final[Mapping[str, Bad[DatabricksSqlServer]]] = {
    "wrong workspace: not allowed": Bad(
        task=_custom(_RUN, databricksInstance="evil.example"),
        wanted=no_job(Retry.NEVER, "evil.example is no workspace", "allowed_hosts"),
    ),
    "wrong workspace: no credentials for it": Bad(
        task=_custom(_RUN, databricksInstance="other.cloud.databricks.com"),
        wanted=no_job(Retry.NEVER, "no credentials for other", "databricksTokenSecret"),
    ),
    "no permission": Bad(
        task=_RUN,
        prepare=_refuses(403, "PERMISSION_DENIED", "user is not authorized to create clusters"),
        wanted=no_job(Retry.YES, "not authorized to create clusters"),
    ),
    "syntax error, in the user's code": Bad(
        task=_RUN,
        prepare=_breaks,
        wanted=one_job(Retry.YES, "SyntaxError: invalid syntax (job.py, line 3)"),
    ),
    "syntax error, in the configuration": Bad(
        task=_conf(new_cluster="big"),
        wanted=no_job(Retry.NEVER, "databricksConf", "new_cluster must be an object"),
    ),
    **_without_credentials(_RUN),
    "quota exceeded": Bad(
        task=_RUN,
        prepare=_refuses(
            400, "INVALID_STATE", "There were already 10000 jobs created in past 3600 seconds, exceeding rate limit"
        ),
        wanted=no_job(Retry.YES, "certainly not running", "already 10000 jobs"),
    ),
    "cluster of another workspace": Bad(
        task=_RUN,
        prepare=_refuses(400, "INVALID_PARAMETER_VALUE", "Cluster 0101-1-x does not exist"),
        wanted=no_job(Retry.NEVER, "Cluster 0101-1-x does not exist"),
    ),
    "node type that the region lacks": Bad(
        task=_RUN,
        prepare=_refuses(400, "INVALID_PARAMETER_VALUE", "Node type m5.huge is not supported in this region"),
        wanted=no_job(Retry.NEVER, "m5.huge is not supported"),
    ),
    "parameter of a wrong type": Bad(
        task=_conf(new_cluster={"spark_version": "15.4.x", "num_workers": "two"}),
        wanted=no_job(Retry.NEVER, "whole number"),
    ),
    "injection attempt: a secret's name": Bad(
        task=_custom(_RUN, databricksTokenSecret="snowflake_private_key"),
        wanted=no_job(Retry.NEVER, "databricksTokenSecret", "task_secrets"),
    ),
}
"""What may be wrong with a run."""


def _asking(sql: str, parameter_types: Mapping[str, str] | None = None, **inputs: Any) -> RawTask:
    config = {"parameterTypes": dict(parameter_types)} if parameter_types else {}
    return Task(type="databricks_sql", config=config, sql=Sql(statement=sql), inputs=Inputs(inputs))


def _knows_the_day(server: DatabricksSqlServer) -> None:
    server.answers[_BY_DAY] = Answer(columns=[("id", "INT")], rows=[["1"]])


def _keeps_the_table(server: DatabricksSqlServer) -> None:
    words = "[INSUFFICIENT_PERMISSIONS] User does not have SELECT on table 'private'."
    server.answers["SELECT * FROM private"] = Answer(
        course=Course(outcome="FAILED"), error=("PERMISSION_DENIED", words)
    )


_SELECT: Final = _asking("SELECT 1 AS one")
BAD_STATEMENTS: Final[Mapping[str, Bad[DatabricksSqlServer]]] = {
    "wrong workspace": Bad(
        task=_custom(_SELECT, databricksInstance="evil.example"),
        wanted=no_job(Retry.NEVER, "evil.example is no workspace"),
    ),
    "no permission on the warehouse": Bad(
        task=_SELECT,
        prepare=_refuses(403, "PERMISSION_DENIED", "You do not have permission to use the SQL Warehouse w-1"),
        wanted=no_job(Retry.YES, "permission to use the SQL Warehouse"),
    ),
    "no permission on a table": Bad(
        task=_asking("SELECT * FROM private"),
        prepare=_keeps_the_table,
        wanted=one_job(Retry.NEVER, "INSUFFICIENT_PERMISSIONS"),
    ),
    "syntax error": Bad(
        task=_asking("SELEC 'a secret word'"),
        wanted=one_job(Retry.NEVER, "PARSE_SYNTAX_ERROR", not_words=["a secret word"]),
    ),
    **_without_credentials(_SELECT),
    "quota exceeded": Bad(
        task=_SELECT,
        prepare=_refuses(429, "QUOTA_EXCEEDED", "The limit of 1000 queued queries of the warehouse is reached"),
        wanted=no_job(Retry.YES, "certainly not running", "queued queries"),
    ),
    "warehouse of another workspace": Bad(
        task=_custom(_SELECT, warehouseId="w-9"),
        prepare=_refuses(404, "NOT_FOUND", "SQL warehouse w-9 does not exist"),
        wanted=no_job(Retry.NEVER, "SQL warehouse w-9 does not exist"),
    ),
    "parameter of a type that there is not": Bad(
        task=_asking(_BY_DAY, day=[1]),
        prepare=_knows_the_day,
        wanted=no_job(Retry.NEVER, "inputs.day", "no SQL parameter"),
    ),
    "parameter of a wrong type": Bad(
        task=_asking(_BY_DAY, {"day": "DATE"}, day="soon"),
        prepare=_knows_the_day,
        wanted=one_job(Retry.NEVER, "CAST_INVALID_INPUT"),
    ),
    "parameter that no input gives": Bad(
        task=_asking(_BY_DAY),
        prepare=_knows_the_day,
        wanted=one_job(Retry.NEVER, "UNBOUND_SQL_PARAMETER"),
    ),
    "injection attempt in an input": Bad(
        task=_asking(_BY_DAY, day=EVIL),
        prepare=_knows_the_day,
        wanted=one_job(Retry.NEVER, "1 row"),
    ),
    "injection attempt in a parameter's type": Bad(
        task=_asking(_BY_DAY, {"day": "DATE) --"}, day="2026-01-01"),
        wanted=no_job(Retry.NEVER, "custom.parameterTypes.day is no SQL type"),
    ),
    "injection by a template in the SQL": Bad(
        task=_asking("SELECT '{{ .inputs.day }}'"),
        wanted=no_job(Retry.NEVER, "nobody renders", ":name"),
    ),
}
"""What may be wrong with a statement."""
