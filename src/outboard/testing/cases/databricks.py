"""Cases of the Databricks agents, on a workspace of the test kit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from outboard.agent import Container, Sql, Task
from outboard.domain.tasks import RawTask
from outboard.domain.types import Interface, ListType, SimpleType
from outboard.platforms.databricks.agent import DatabricksAgent
from outboard.platforms.databricks.platform import Databricks
from outboard.platforms.databricks.settings import DatabricksSettings, WorkspaceSettings
from outboard.platforms.databricks.sql_agent import DatabricksSqlAgent
from outboard.testing.conformance.cases import Case, MakeStandIn, Site, StandIn, jobs_of
from outboard.testing.ledger import Course
from outboard.testing.platforms.databricks import COURSES, DatabricksServer
from outboard.testing.platforms.databricks_sql import DatabricksSqlServer

HOST: Final = "checks.cloud.databricks.com"
_CLUSTER: Final = {"spark_version": "15.4.x-scala2.12", "node_type_id": "m5.xlarge", "num_workers": 2.0}
_EXIT: Final = {"quick": Course(queued_s=5, running_s=10, outputs={"exit": "done"})}


def settings_for(url: str, **more: Any) -> DatabricksSettings:
    """Return settings by which `HOST` is reached at an address."""
    return DatabricksSettings(
        default_instance=HOST, workspaces={HOST: WorkspaceSettings(url=url, warehouse_id="w-1")}, **more
    )


def function_task(name: str) -> RawTask:
    """Return a task of flytekit's, as it arrives, whose run goes as `name` says."""
    arguments = ("pyflyte-execute", "--inputs", "s3://in/inputs.pb", "--", "task-module", "m", "task-name", "t")
    return Task(
        type="databricks",
        config={"databricksConf": {"run_name": name, "new_cluster": _CLUSTER}, "sparkConf": {"spark.a": "b"}},
        container=Container(image="img:1", args=arguments, env={"A": "1"}),
    )


def notebook_task(name: str) -> RawTask:
    """Return a notebook task with a text as its output."""
    return Task(
        type="databricks",
        config={"databricksConf": {"run_name": name, "existing_cluster_id": "c-1"}, "notebookPath": "/Shared/n"},
        container=Container(image="img:1"),
        interface=Interface(outputs={"o0": SimpleType.STRING}),
    )


def sql_task(statement: str) -> RawTask:
    """Return a SQL task that wants its rows."""
    rows = Interface(outputs={"rows": ListType(SimpleType.STRUCT)})
    return Task(type="databricks_sql", config={}, sql=Sql(statement=statement), interface=rows)


def _stand_in(tasks: Mapping[str, RawTask], courses: Mapping[str, Course] | None = None) -> MakeStandIn:
    def make(site: Site) -> AbstractAsyncContextManager[StandIn]:
        return _workspace(site, tasks, courses)

    return make


@asynccontextmanager
async def _workspace(
    site: Site, tasks: Mapping[str, RawTask], courses: Mapping[str, Course] | None
) -> AsyncIterator[StandIn]:
    is_sql = tasks["quick"].type == "databricks_sql"
    kind = DatabricksSqlServer if is_sql else DatabricksServer
    async with kind({**COURSES, **(courses or {})}, stores=site.stores) as server:
        server.access.prefix = "canary-"
        yield StandIn(
            platform=lambda: Databricks(settings_for(server.url)),
            jobs=lambda: jobs_of(server.ledger),
            quick=tasks["quick"],
            long=tasks["long"],
            failing=tasks["failing"],
            faults=server.faults,
            operations={"get_many": "get"},  # one job alone is asked for by its id
        )


_FUNCTIONS: Final = {name: function_task(name) for name in ("quick", "long", "failing")}
_NOTEBOOKS: Final = {name: notebook_task(name) for name in ("quick", "long", "failing")}
_STATEMENTS: Final = {
    "quick": sql_task("SELECT 1 AS one"),
    "long": sql_task("SELECT forever"),
    "failing": sql_task("SELECT * FROM nowhere"),
}

RUNS: Final = Case(DatabricksAgent, _stand_in(_FUNCTIONS))
"""Functions through an entrypoint script, on clusters of their own."""

NOTEBOOKS: Final = Case(DatabricksAgent, _stand_in(_NOTEBOOKS, _EXIT))
"""Notebooks with an exit value, on an existing cluster."""

STATEMENTS: Final = Case(DatabricksSqlAgent, _stand_in(_STATEMENTS))
"""SQL statements with rows as their result."""
