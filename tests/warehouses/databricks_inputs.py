"""What may be wrong with a run or a statement on Databricks, and what a user should see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from integration.platforms.databricks.databricks_hosts import TOKEN
from outboard.agent import Inputs, Retry, Sql, Task
from outboard.domain.tasks import RawTask
from outboard.testing.cases.databricks import function_task
from outboard.testing.faults import Fault, Refuse
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks_sql import Answer, DatabricksSqlServer
from warehouses.measures import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A task that is not as it should be.

    Attributes:
        task: The task.
        wanted: What a user should see.
        fault: What its submission meets.
        prepare: Does something to the workspace before.
        secrets: What the service has.
        settings: The operator's.
    """

    task: RawTask
    wanted: Wanted
    fault: Fault | None = None
    prepare: Callable[[DatabricksSqlServer], None] = lambda _: None
    secrets: Mapping[str, str] = field(default_factory=lambda: {TOKEN: "dapi-test"})
    settings: Mapping[str, Any] = field(default_factory=dict)


_RUN: Final = function_task("quick")
EVIL: Final = "x'; DROP TABLE t; --"
_BY_DAY: Final = "SELECT * FROM t WHERE day = :day"
_EXPIRED: Final = "Invalid access token"


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


def _refuse(status: int, code: str, words: str) -> Refuse:
    return Refuse(status=status, code=code, words=words)


BAD_RUNS: Final[Mapping[str, Bad]] = {
    "wrong workspace: not allowed": Bad(
        task=_custom(_RUN, databricksInstance="evil.example"),
        wanted=Wanted(retry=Retry.NEVER, words=["evil.example is no workspace", "allowed_hosts"], jobs=0),
    ),
    "wrong workspace: no credentials for it": Bad(
        task=_custom(_RUN, databricksInstance="other.cloud.databricks.com"),
        wanted=Wanted(retry=Retry.NEVER, words=["no credentials for other", "databricksTokenSecret"], jobs=0),
    ),
    "no permission": Bad(
        task=_RUN,
        fault=_refuse(403, "PERMISSION_DENIED", "user is not authorized to create clusters"),
        wanted=Wanted(retry=Retry.YES, words=["not authorized to create clusters"], jobs=0),
    ),
    "syntax error, in the user's code": Bad(
        task=_RUN,
        prepare=_breaks,
        wanted=Wanted(retry=Retry.YES, words=["SyntaxError: invalid syntax (job.py, line 3)"], jobs=1),
    ),
    "syntax error, in the configuration": Bad(
        task=_conf(new_cluster="big"),
        wanted=Wanted(retry=Retry.NEVER, words=["databricksConf", "new_cluster must be an object"], jobs=0),
    ),
    "expired token": Bad(
        task=_RUN,
        prepare=_no_tokens,
        wanted=Wanted(retry=Retry.YES, words=[_EXPIRED, TOKEN], not_words=["dapi-test"], jobs=0),
    ),
    "missing secret": Bad(
        task=_RUN,
        secrets={"another": "x"},
        wanted=Wanted(retry=Retry.NEVER, words=[TOKEN, "is not set"], jobs=0),
    ),
    "quota exceeded": Bad(
        task=_RUN,
        fault=_refuse(400, "INVALID_STATE", "There were already 10000 jobs created in past 3600 seconds, exceeding rate limit"),
        wanted=Wanted(retry=Retry.YES, words=["certainly not running", "already 10000 jobs"], jobs=0),
    ),
    "cluster of another workspace": Bad(
        task=_RUN,
        fault=_refuse(400, "INVALID_PARAMETER_VALUE", "Cluster 0101-1-x does not exist"),
        wanted=Wanted(retry=Retry.NEVER, words=["Cluster 0101-1-x does not exist"], jobs=0),
    ),
    "node type that the region lacks": Bad(
        task=_RUN,
        fault=_refuse(400, "INVALID_PARAMETER_VALUE", "Node type m5.huge is not supported in this region"),
        wanted=Wanted(retry=Retry.NEVER, words=["m5.huge is not supported"], jobs=0),
    ),
    "parameter of a wrong type": Bad(
        task=_conf(new_cluster={"spark_version": "15.4.x", "num_workers": "two"}),
        wanted=Wanted(retry=Retry.NEVER, words=["whole number"], jobs=0),
    ),
    "injection attempt: a secret's name": Bad(
        task=_custom(_RUN, databricksTokenSecret="snowflake_private_key"),
        wanted=Wanted(retry=Retry.NEVER, words=["databricksTokenSecret", "task_secrets"], jobs=0),
    ),
}  # fmt: skip
"""What may be wrong with a run."""


def _asking(sql: str, parameter_types: Mapping[str, str] | None = None, **inputs: Any) -> RawTask:
    config = {"parameterTypes": dict(parameter_types)} if parameter_types else {}
    return Task(type="databricks_sql", config=config, sql=Sql(statement=sql), inputs=Inputs(inputs))


def _knows_the_day(server: DatabricksSqlServer) -> None:
    server.answers[_BY_DAY] = Answer(columns=[("id", "INT")], rows=[["1"]])


_SELECT: Final = _asking("SELECT 1 AS one")
BAD_STATEMENTS: Final[Mapping[str, Bad]] = {
    "wrong workspace": Bad(
        task=_custom(_SELECT, databricksInstance="evil.example"),
        wanted=Wanted(retry=Retry.NEVER, words=["evil.example is no workspace"], jobs=0),
    ),
    "no permission on the warehouse": Bad(
        task=_SELECT,
        fault=_refuse(403, "PERMISSION_DENIED", "You do not have permission to use the SQL Warehouse w-1"),
        wanted=Wanted(retry=Retry.YES, words=["permission to use the SQL Warehouse"], jobs=0),
    ),
    "no permission on a table": Bad(
        task=_asking("SELECT * FROM private"),
        prepare=lambda server: server.answers.update({"SELECT * FROM private": Answer(
            course=Course(outcome="FAILED"),
            error=("PERMISSION_DENIED", "[INSUFFICIENT_PERMISSIONS] User does not have SELECT on table 'private'."))}),
        wanted=Wanted(retry=Retry.NEVER, words=["INSUFFICIENT_PERMISSIONS"], jobs=1),
    ),
    "syntax error": Bad(
        task=_asking("SELEC 'a secret word'"),
        wanted=Wanted(retry=Retry.NEVER, words=["PARSE_SYNTAX_ERROR"], not_words=["a secret word"], jobs=1),
    ),
    "expired token": Bad(
        task=_SELECT,
        prepare=_no_tokens,
        wanted=Wanted(retry=Retry.YES, words=[_EXPIRED, TOKEN], not_words=["dapi-test"], jobs=0),
    ),
    "missing secret": Bad(
        task=_SELECT,
        secrets={"another": "x"},
        wanted=Wanted(retry=Retry.NEVER, words=[TOKEN, "is not set"], jobs=0),
    ),
    "quota exceeded": Bad(
        task=_SELECT,
        fault=_refuse(429, "QUOTA_EXCEEDED", "The limit of 1000 queued queries of the warehouse is reached"),
        wanted=Wanted(retry=Retry.YES, words=["certainly not running", "queued queries"], jobs=0),
    ),
    "warehouse of another workspace": Bad(
        task=_custom(_SELECT, warehouseId="w-9"),
        fault=_refuse(404, "NOT_FOUND", "SQL warehouse w-9 does not exist"),
        wanted=Wanted(retry=Retry.NEVER, words=["SQL warehouse w-9 does not exist"], jobs=0),
    ),
    "parameter of a type that there is not": Bad(
        task=_asking(_BY_DAY, day=[1]),
        prepare=_knows_the_day,
        wanted=Wanted(retry=Retry.NEVER, words=["inputs.day", "no SQL parameter"], jobs=0),
    ),
    "parameter of a wrong type": Bad(
        task=_asking(_BY_DAY, {"day": "DATE"}, day="soon"),
        prepare=_knows_the_day,
        wanted=Wanted(retry=Retry.NEVER, words=["CAST_INVALID_INPUT"], jobs=1),
    ),
    "parameter that no input gives": Bad(
        task=_asking(_BY_DAY),
        prepare=_knows_the_day,
        wanted=Wanted(retry=Retry.NEVER, words=["UNBOUND_SQL_PARAMETER"], jobs=1),
    ),
    "injection attempt in an input": Bad(
        task=_asking(_BY_DAY, day=EVIL),
        prepare=_knows_the_day,
        wanted=Wanted(retry=Retry.NEVER, words=["1 row"], jobs=1),
    ),
    "injection attempt in a parameter's type": Bad(
        task=_asking(_BY_DAY, {"day": "DATE) --"}, day="2026-01-01"),
        wanted=Wanted(retry=Retry.NEVER, words=["custom.parameterTypes.day is no SQL type"], jobs=0),
    ),
    "injection by a template in the SQL": Bad(
        task=_asking("SELECT '{{ .inputs.day }}'"),
        wanted=Wanted(retry=Retry.NEVER, words=["nobody renders", ":name"], jobs=0),
    ),
}  # fmt: skip
"""What may be wrong with a statement."""
