"""What Databricks' own SDK sees, sends and knows; run by the interpreter of its own environment, asked and answering in JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

KIT_TOKEN: Final = "dapi-test"  # noqa: S105 - made up


def client_of(asked: dict[str, Any]) -> Any:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config

    return WorkspaceClient(config=Config(host=asked["url"], token=KIT_TOKEN, auth_type="pat", retry_timeout_seconds=2))


def a_run(asked: dict[str, Any]) -> Any:
    """Start a run twice under one token, follow it, list it, cancel it."""
    from databricks.sdk.service import jobs

    api = client_of(asked).jobs
    task = jobs.SubmitTask(
        task_key="t", existing_cluster_id="c", spark_python_task=jobs.SparkPythonTask(python_file="dbfs:/x.py")
    )
    ids = [
        api.submit(run_name="long x", tasks=[task], idempotency_token=asked["token"]).response.run_id for _ in range(2)
    ]
    run = api.get_run(ids[0])
    listed = [each.run_id for each in api.list_runs(active_only=True)]
    api.cancel_run(ids[0])
    ended = api.get_run(ids[0])
    return {
        "ids": ids,
        "listed": listed,
        "live": [run.state.life_cycle_state, run.status.state],
        "ended": [ended.state.result_state, ended.status.termination_details.code],
        "logs": api.get_run_output(ended.tasks[0].run_id).logs,
        "active": [each.run_id for each in api.list_runs(active_only=True)],
    }


def refusals(asked: dict[str, Any]) -> Any:
    """Ask for what there is not, and for what cannot be."""
    client = client_of(asked)
    calls = (
        lambda: client.jobs.get_run(404),
        lambda: client.jobs.submit(run_name="x", tasks=[]),
        lambda: client.statement_execution.get_statement("01f0a1b2-0000"),
    )
    return [refusal_of(call) for call in calls]


def refusal_of(call: Callable[[], Any]) -> list[str]:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one it is, is the answer
        return [each.__name__ for each in type(error).__mro__ if each.__module__.startswith("databricks")]
    return []


def as_classes(asked: dict[str, Any]) -> Any:
    """Read the tasks of bodies into the SDK's classes, and write them again."""
    from databricks.sdk.service import jobs

    def again(body: dict[str, Any]) -> dict[str, Any]:
        source = body.get("git_source")
        return {
            "tasks": [jobs.SubmitTask.from_dict(each).as_dict() for each in body["tasks"]],
            "git_source": jobs.GitSource.from_dict(source).as_dict() if source else None,
        }

    return [again(body) for body in asked["bodies"]]


def a_statement(asked: dict[str, Any]) -> Any:
    """Start a statement, find it in the history, cancel it."""
    from databricks.sdk.service import sql

    client = client_of(asked)
    api = client.statement_execution
    tags = [sql.QueryTag(key="a", value="b")]
    started = api.execute_statement(statement="SELECT forever", warehouse_id="w", wait_timeout="0s", query_tags=tags)
    running = api.get_statement(started.statement_id)
    (entry,) = client.query_history.list(filter_by=sql.QueryFilter(statement_ids=[started.statement_id])).res
    api.cancel_execution(started.statement_id)
    return {
        "states": [each.status.state for each in (started, running, api.get_statement(started.statement_id))],
        "history": [entry.query_id == started.statement_id, entry.status, entry.query_tags[0].as_dict()],
    }


def rows(asked: dict[str, Any]) -> Any:
    """Run a query; return its rows as texts, with names and Arrow types of the columns. The SDK hands out the links."""
    from urllib.request import urlopen

    import pyarrow as pa
    from databricks.sdk.service import sql

    answer = client_of(asked).statement_execution.execute_statement(
        statement=asked["sql"],
        warehouse_id=asked["warehouse"],
        wait_timeout="30s",
        disposition=sql.Disposition.EXTERNAL_LINKS,
        format=sql.Format.ARROW_STREAM,
    )
    links = [each.external_link for each in answer.result.external_links]
    parts = [pa.ipc.open_stream(urlopen(link).read()) for link in links]  # noqa: S310 - the emulator's own
    table = pa.concat_tables([part.read_all() for part in parts])
    columns = [[field.name, str(field.type)] for field in table.schema]
    return {"columns": columns, "rows": [[str(value) for value in row.values()] for row in table.to_pylist()]}


def words(asked: dict[str, Any]) -> Any:
    """Return the words of every enum that says where something stands, and the error codes."""
    from databricks.sdk.errors import platform
    from databricks.sdk.service import jobs, sql

    enums: dict[str, type[Enum]] = {
        "life": jobs.RunLifeCycleState,
        "newer life": jobs.RunLifecycleStateV2State,
        "results": jobs.RunResultState,
        "terminations": jobs.TerminationCodeCode,
        "statements": sql.StatementState,
        "service errors": sql.ServiceErrorCode,
        "history": sql.QueryStatus,
    }
    known = {name: sorted(each.value for each in enum) for name, enum in enums.items()}
    return {**known, "error codes": sorted(platform.ERROR_CODE_MAPPING)}


QUESTIONS: Final = {each.__name__: each for each in (a_run, refusals, as_classes, a_statement, rows, words)}

if __name__ == "__main__":
    question = json.load(sys.stdin)
    json.dump(QUESTIONS[question["what"]](question), sys.stdout, default=lambda each: each.value)
