"""Task types `databricks` and `spark`: Flyte's Databricks tasks as one-time runs of the Jobs API.

A run is started with an idempotency token, so a request that was lost may be sent again: the token of a run that exists
brings that run's id instead of another run. Databricks states no other end of a token than its run's, and removes runs after
60 days. By its name a run is found without starting one, which is what cancels and later attempts need.

Many runs are asked for by listing the active ones, 24 a page; a run that is not among them is asked for alone, and so is every
run where that costs less. What a run wrote lies in files at the output prefix; a notebook gives its exit value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from outboard.agent import (
    DEFERRED,
    FILES,
    INLINE,
    AccountContext,
    AsyncAgent,
    Context,
    JobRef,
    Key,
    LabelRules,
    Link,
    LogLine,
    LogPage,
    Missing,
    OutputSource,
    Platform,
    Status,
    Task,
    TaskType,
    Token,
)
from outboard.errors import AgentError, Forbidden, InvalidTask, Rejected, Unavailable
from outboard.platforms.databricks.client import RUNS_PER_PAGE, Json, Workspace
from outboard.platforms.databricks.config import RunConfig
from outboard.platforms.databricks.connections import DatabricksConnection, connection_of, connection_of_flytekit
from outboard.platforms.databricks.exits import Exit, exits_of, outputs_of
from outboard.platforms.databricks.run_specs import submission_of
from outboard.platforms.databricks.runs import (
    failed_tasks,
    has_ended,
    has_succeeded,
    is_notebook,
    state_of,
    status_of,
    tasks_of,
)
from outboard.platforms.databricks.settings import DatabricksSettings
from outboard.platforms.databricks.states import RUN_STATES

_RETENTION: Final = timedelta(days=60)
_CHEAPER_ALONE: Final = 4
_PAGES_OF_SEARCH: Final = 40
_ENDED_PAGES: Final = 4
_MOST_ERRORS: Final = 3


class DatabricksRun(JobRef):
    """A one-time run.

    Attributes:
        exits: The outputs that a notebook's exit value gives.
        is_notebook: There is no function that writes files.
    """

    exits: tuple[Exit, ...] = ()
    is_notebook: bool = False


class DatabricksAgent(AsyncAgent[RunConfig, DatabricksRun, Workspace]):
    """Runs Spark functions, notebooks, scripts and wheels.

    Args:
        platform: Whose agent it is.
        settings: The operator's.
    """

    name = "databricks"
    task_types = (TaskType("databricks"), TaskType("spark"))
    submission = Token(valid_for=_RETENTION)
    outputs = FILES
    states = RUN_STATES
    batch_size = 1_000

    def __init__(self, platform: Platform[Any, Any], settings: DatabricksSettings) -> None:
        super().__init__(platform)
        self._settings = settings

    def connection(self, task: Task[RunConfig]) -> DatabricksConnection:
        """Return the task's workspace and login."""
        if task.type == "spark" and not task.config.conf:
            raise InvalidTask(
                "custom.databricksConf is missing: this is a Spark task for Kubernetes; "
                "route it there, or give it a Databricks configuration",
                field="custom.databricksConf",
            )
        return connection_of(task, task.config, self._settings)

    async def create(self, task: Task[RunConfig], ctx: Context[Workspace]) -> DatabricksRun:
        """Start the run, or learn of the one that the key has started."""
        body = submission_of(task, ctx.key, ctx.labels.fit(LabelRules.DATABRICKS), self._settings)
        return _job(await ctx.client.submit(body), task, is_notebook=is_notebook(body))

    async def get_many(
        self, jobs: Sequence[DatabricksRun], ctx: AccountContext[Workspace]
    ) -> Mapping[str, Status | Missing | AgentError]:
        """Return where runs stand: the active ones from listings, all others one by one."""
        workspace = ctx.client
        answers: dict[str, Status | Missing | AgentError] = {}
        if len(jobs) > _CHEAPER_ALONE:
            listed = await _listed(workspace, {job.id for job in jobs})
            answers.update((run_id, status_of(run, {})) for run_id, run in listed.items())
        alone = [job for job in jobs if job.id not in answers]
        found = await workspace.one_by_one(self._status(workspace, job) for job in alone)
        answers.update(zip((job.id for job in alone), found, strict=True))
        return answers

    async def find(self, task: Task[RunConfig], key: Key, ctx: Context[Workspace]) -> Sequence[DatabricksRun]:
        """Return the runs whose name ends with the key: the active ones, or one of the latest that ended."""
        for filters, pages in (({"active_only": "true"}, _PAGES_OF_SEARCH), ({"completed_only": "true"}, _ENDED_PAGES)):
            found: list[DatabricksRun] = []
            seen = 0
            async for page in ctx.client.runs(**filters):
                found += [_found(run, task) for run in page if key.text in str(run.get("run_name", ""))]
                seen += 1
                if found or seen >= pages:
                    break
            if found:
                return found[::-1]
        return []

    async def cancel(self, job: DatabricksRun, ctx: Context[Workspace]) -> None:
        """Ask for the end of the run; a repair that is under way ends with it, since it is the same run."""
        await ctx.client.cancel_run(job.id)

    def links(self, job: DatabricksRun, connection: DatabricksConnection) -> Sequence[Link]:
        """Return the page of the run."""
        return [Link(name="Databricks run", url=f"https://{connection.host}/#job/runs/{job.id}")]

    def outputs_of(self, job: DatabricksRun, status: Status) -> OutputSource:
        """Return that a notebook's outputs come from its exit value, and all others' from files.

        A handle of flytekit's does not say that its run is a notebook; the run's status does, by bringing outputs.
        """
        return INLINE if job.is_notebook or status.outputs is not None else FILES

    async def fetch_outputs(self, job: DatabricksRun, ctx: Context[Workspace]) -> Mapping[str, Any]:
        """Return a notebook's exit value by the names of the task's outputs."""
        if not job.exits:
            return {}
        run = await ctx.client.run(job.id) or {}
        tasks = tasks_of(run)
        output = await ctx.client.output(str(tasks[0].get("run_id", job.id)) if tasks else job.id) or {}
        told = output.get("notebook_output")
        result: Any = told.get("result") if isinstance(told, dict) else None
        is_cut = isinstance(told, dict) and told.get("truncated") is True
        return outputs_of(job.exits, result if isinstance(result, str) else None, is_truncated=is_cut)

    async def logs(self, job: DatabricksRun, ctx: Context[Workspace], *, cursor: str | None, limit: int) -> LogPage:
        """Return what the run's tasks wrote, once they are over: Databricks gives the last 5 MB of each, and no times."""
        run = await ctx.client.run(job.id)
        if run is None or not has_ended(run):
            return LogPage(lines=(), next_cursor=cursor or "0", ended=run is None)
        found = await ctx.client.one_by_one(ctx.client.output(run_id) for run_id in _run_ids(tasks_of(run)))
        texts = [str(each.get("logs") or each.get("error_trace") or "") for each in found if isinstance(each, dict)]
        lines = [line for text in texts for line in text.splitlines()]
        begin = int(cursor) if cursor is not None and cursor.isascii() and cursor.isdigit() else 0
        end = begin + max(1, limit)
        page = [LogLine(message=line, originator="user") for line in lines[begin:end]]
        is_last = end >= len(lines)
        return LogPage(lines=page, next_cursor=None if is_last else str(end), ended=is_last)

    def read_flytekit(
        self,
        meta: Mapping[str, Any],
        task_type: TaskType,  # noqa: ARG002 - both types have one form
    ) -> tuple[DatabricksConnection, DatabricksRun] | None:
        """Return the run that flytekit's connector started; the token that its handle may hold is never used."""
        run_id = meta.get("run_id")
        if not isinstance(run_id, (str, int)) or isinstance(run_id, bool) or not str(run_id).isdigit():
            return None
        connection = connection_of_flytekit(meta, self._settings)
        return None if connection is None else (connection, DatabricksRun(id=str(run_id)))

    async def _status(self, workspace: Workspace, job: DatabricksRun) -> Status | Missing:
        run, price = await workspace.run(job.id), self._settings.price_per_node_hour
        if run is None:
            return Missing()
        if state_of(run) == ("TERMINATED", ""):
            raise Unavailable("Databricks says that the run ended, and not how")
        if has_succeeded(run) and (job.is_notebook or is_notebook(run)):
            return replace(status_of(run, {}, price), outputs=DEFERRED if job.exits else {})
        if not has_ended(run) or has_succeeded(run):
            return status_of(run, {}, price)
        run_ids = _run_ids(failed_tasks(run)[:_MOST_ERRORS] if tasks_of(run) else [run])
        found = await _outputs(workspace, run_ids)
        return status_of(run, found, price)


def _found(run: Json, task: Task[RunConfig]) -> DatabricksRun:
    has_notebook = bool(task.config.notebook_path) or "notebook_task" in task.config.conf
    return _job(str(run.get("run_id", "")), task, is_notebook=has_notebook)


def _job(run_id: str, task: Task[RunConfig], *, is_notebook: bool) -> DatabricksRun:
    exits = exits_of(task.interface.outputs) if is_notebook else ()
    return DatabricksRun(id=run_id, is_notebook=is_notebook, exits=exits)


async def _listed(workspace: Workspace, wanted: set[str]) -> dict[str, Json]:
    """Return the active runs among the wanted ones, for at most as many pages as asking for a fifth of them would cost calls."""
    found: dict[str, Json] = {}
    most = -(-len(wanted) // RUNS_PER_PAGE) + max(1, len(wanted) // 5)
    pages = 0
    try:
        async for page in workspace.runs(active_only="true"):
            for run in page:
                run_id = str(run.get("run_id", ""))
                if run_id in wanted and not has_ended(run):
                    found[run_id] = run
            pages += 1
            if len(found) == len(wanted) or pages >= most:
                break
    except (Forbidden, Rejected, Unavailable):
        return found  # a listing saves calls, and nothing hangs on it
    return found


async def _outputs(workspace: Workspace, run_ids: Sequence[str]) -> dict[str, Json | None]:
    """Return the outputs of failed tasks, as far as they can be had: they only add words, and the run is over all the same."""
    found: dict[str, Json | None] = {}
    for run_id in run_ids:
        try:
            found[run_id] = await workspace.output(run_id)
        except AgentError:
            break
    return found


def _run_ids(tasks: Sequence[Json]) -> list[str]:
    return [str(task["run_id"]) for task in tasks if task.get("run_id")]
