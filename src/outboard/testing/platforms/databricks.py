"""A Databricks workspace to test against: the Jobs API 2.2 and OAuth's token endpoint, over a ledger.

Written from Databricks' API reference, apart from the agent: bodies are judged as the reference describes them (a list of
tasks, each with one thing to do and one place to do it; whole numbers where numbers of machines are meant; a token of at most 64
characters).
How a run goes is said by the first word of its name, through `courses`. `databricks_sql` adds the SQL API.

Runs have numbers, their tasks have numbers of their own. A run's output files are written at the place that its script's
arguments name (`--output-prefix`, or `--outputs-path` of Flyte 2), as its course says.
"""

from __future__ import annotations

import base64
import itertools
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from aiohttp import web

from outboard.testing.faults import FaultPlan
from outboard.testing.ledger import Course, Ledger, LedgerRules, NoSuchJob
from outboard.testing.ledger_files import Writes
from outboard.testing.ledger_jobs import KEY_LABEL, LedgerJob
from outboard.testing.meters import Window
from outboard.testing.platform_clock import platform_time
from outboard.testing.platform_server import PlatformServer, Refusal, operation
from outboard.testing.platforms.databricks_runs import Ending, run_view, task_run_id

COURSES: Final[Mapping[str, Course]] = {
    "quick": Course(queued_s=5, running_s=10),
    "long": Course(running_s=None),
    "failing": Course(outcome="FAILED", message="Workload failed, see run output for details"),
}
RULES: Final = LedgerRules(retained_for=timedelta(days=60), valid_for=timedelta(days=60))
_KEY: Final = re.compile(r"\bob(?:-[a-z0-9]+)*-[a-z2-7]{26}")
_PREFIX_OPTIONS: Final = ("--output-prefix", "--outputs-path")
_COMPUTE: Final = ("existing_cluster_id", "new_cluster", "environment_key", "job_cluster_key")
_WORK: Final = ("spark_python_task", "python_wheel_task", "notebook_task", "spark_jar_task", "sql_task")
_LONGEST_TOKEN: Final = 64
_PAGE: Final = 20
_LONGEST_PAGE: Final = 25


def refusal(status: int, code: str | int, words: str, headers: Mapping[str, str] | None = None) -> Refusal:
    """Return an error as Databricks writes it."""
    return Refusal(web.json_response({"error_code": code, "message": words}, status=status, headers=headers))


@dataclass(slots=True)
class Access:
    """Who may call.

    Attributes:
        tokens: Access tokens that are good now.
        prefix: Tokens that begin so are good too; empty is none.
        principals: Secrets of service principals by client id.
        lifetime_s: How long a token that was had in exchange lasts.
        exchanged: How many were had.
        seen: Every Authorization header that came, in order.
    """

    tokens: set[str] = field(default_factory=lambda: {"dapi-test"})
    prefix: str = ""
    principals: dict[str, str] = field(default_factory=dict)
    lifetime_s: float = 3600.0
    exchanged: int = 0
    seen: list[str] = field(default_factory=list)
    _until: dict[str, float] = field(default_factory=dict)

    def check(self, request: web.Request) -> None:
        """Refuse a request without a good token."""
        header = request.headers.get("Authorization", "")
        self.seen.append(header)
        token = header.removeprefix("Bearer ")
        if token in self.tokens or (self.prefix and token.startswith(self.prefix)):
            return
        if token in self._until and platform_time() < self._until[token]:
            return
        if token in self._until:
            raise refusal(
                401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type: token is expired"
            )
        raise refusal(403, 403, "Invalid access token.")

    def exchange(self, form: Mapping[str, Any], header: str) -> dict[str, Any]:
        """Return a token for a service principal's secret, or a workload's own token."""
        if form.get("grant_type") == "client_credentials":
            pair = base64.b64decode(header.removeprefix("Basic ")).decode() if header.startswith("Basic ") else ":"
            client_id, _, secret = pair.partition(":")
        else:
            client_id, secret = str(form.get("client_id", "")), str(form.get("subject_token", ""))
        if form.get("scope") != "all-apis" or not secret or self.principals.get(client_id) != secret:
            words = {"error": "invalid_client", "error_description": "Client authentication failed"}
            raise Refusal(web.json_response(words, status=401))
        token = f"oauth-{secrets.token_hex(16)}"
        self._until[token] = platform_time() + self.lifetime_s
        self.exchanged += 1
        return {"access_token": token, "token_type": "Bearer", "scope": "all-apis", "expires_in": int(self.lifetime_s)}


class DatabricksServer(PlatformServer):
    """A workspace.

    Args:
        courses: How runs go, by the first word of their names; others succeed at once.
        faults: Which call meets which fault. Operations: `create`, `get`, `get_many`, `output`, `cancel`, `login`.
        stores: Where runs write files.
        rates: Calls per second that are allowed, by method (`create`, `get`, `get_many`, `output`, `cancel`); more are answered
            429.
        rules: The ledger's.

    Attributes:
        access: Who may call.
        bodies: What was submitted, by run id.
        endings: How runs ended, where a test says so.
        outputs: What `runs/get-output` tells, by task run id, beside its metadata.
    """

    def __init__(
        self,
        courses: Mapping[str, Course] | None = None,
        faults: FaultPlan | None = None,
        *,
        stores: Writes | None = None,
        rates: Mapping[str, int] | None = None,
        rules: LedgerRules = RULES,
    ) -> None:
        super().__init__(Ledger(rules), faults, stores=stores, meter=Window(rates or {}))
        self.courses = dict(COURSES if courses is None else courses)
        self.access = Access()
        self.bodies: dict[int, Mapping[str, Any]] = {}
        self.endings: dict[int, Ending] = {}
        self.outputs: dict[int, dict[str, Any]] = {}
        self.repairs: dict[int, int] = {}

    def routes(self) -> Iterable[web.RouteDef]:
        """Return the Jobs API and the token endpoint."""
        jobs = "/api/2.2/jobs/runs"
        return (
            web.post("/oidc/v1/token", self.login),
            web.post(f"{jobs}/submit", self.submit),
            web.get(f"{jobs}/get", self.show),
            web.get(f"{jobs}/list", self.list_runs),
            web.get(f"{jobs}/get-output", self.output),
            web.post(f"{jobs}/cancel", self.cancel),
        )

    def end(self, run_id: int, **ending: str) -> None:
        """Let a run be over as the fields of `Ending` say."""
        self.endings[run_id] = Ending(**ending)
        self.ledger.settle(f"job-{run_id}", "FAILED")

    def repair(self, run_id: int) -> None:
        """Run the failed tasks of a run that is over again, as somebody does in the workspace's pages."""
        self.endings.pop(run_id, None)
        self.repairs[run_id] = self.repairs.get(run_id, 0) + 1
        self.ledger.settle(f"job-{run_id}", "RUNNING")

    def admit(self, request: web.Request, method: str) -> None:
        """Ask who it is, but for logins, and whether there is room."""
        if method == "login":
            return
        self.access.check(request)
        if not self.has_room(method):
            raise refusal(429, "REQUEST_LIMIT_EXCEEDED", "Rate limit exceeded.", {"Retry-After": "1"})

    @operation("login")
    async def login(self, request: web.Request) -> web.Response:
        """OAuth's token endpoint."""
        return web.json_response(self.access.exchange(await request.post(), request.headers.get("Authorization", "")))

    @operation("create")
    async def submit(self, request: web.Request) -> web.Response:
        """runs/submit."""
        body = await _json(request)
        check_submission(body)
        name = str(body.get("run_name", "Untitled"))
        key = _KEY.search(name)
        view = self.ledger.create(
            token=str(body.get("idempotency_token", "")),
            labels={KEY_LABEL: key.group()} if key else {},
            course=self.courses.get(name.partition(" ")[0], Course(running_s=0)),
            output_prefix=_output_prefix(body),
        )
        run_id = number_of(view.id)
        self.bodies.setdefault(run_id, body)
        return web.json_response({"run_id": run_id})

    @operation("get")
    async def show(self, request: web.Request) -> web.Response:
        """runs/get."""
        run_id = _run_number(request)
        if self._files is not None:
            await self._files.write(f"job-{run_id}")
        if self.ledger.get(f"job-{run_id}") is None:
            # The real Jobs API says so with this code and status 400 (databricks-sdk has an exception for it).
            raise refusal(400, "INVALID_PARAMETER_VALUE", f"Run {run_id} does not exist.")
        return web.json_response(self._view(run_id))

    @operation(lambda request: "find" if "completed_only" in request.query else "get_many", method="get_many")
    async def list_runs(self, request: web.Request) -> web.Response:
        """runs/list."""
        query = request.query
        limit = int(query.get("limit", _PAGE)) or _LONGEST_PAGE - 1
        if not 0 < limit < _LONGEST_PAGE:
            raise refusal(400, "INVALID_PARAMETER_VALUE", f"limit must be less than {_LONGEST_PAGE}")
        begin = int(query.get("page_token", "0"))
        views = [self.ledger.get(job_id) for job_id in reversed(self.ledger.jobs)]
        runs = [self._view(number_of(view.id)) for view in views if view is not None]
        ended = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
        if query.get("active_only") == "true":
            runs = [run for run in runs if run["state"]["life_cycle_state"] not in ended]
        if query.get("completed_only") == "true":
            runs = [run for run in runs if run["state"]["life_cycle_state"] in ended]
        page = [{name: value for name, value in run.items() if name != "tasks"} for run in runs[begin : begin + limit]]
        answer: dict[str, Any] = {"runs": page} if page else {}
        if begin + limit < len(runs):
            answer.update(next_page_token=str(begin + limit), has_more=True)
        return web.json_response(answer)

    @operation("output")
    async def output(self, request: web.Request) -> web.Response:
        """runs/get-output."""
        asked = _run_number(request)
        for job in self.ledger.jobs.values():
            run = self._view(number_of(job.id))
            task = next((each for each in run["tasks"] if each["run_id"] == asked), None)
            if task is not None:
                return web.json_response({"metadata": task, **self._result(job, task), **self.outputs.get(asked, {})})
        raise refusal(400, "INVALID_PARAMETER_VALUE", f"Run {asked} does not exist.")

    def _result(self, job: LedgerJob, task: Mapping[str, Any]) -> dict[str, Any]:
        state = job.state(platform_time())
        if state == "FAILED":
            return {"error": "Exception: it broke", "error_trace": "Traceback ...\nException: it broke"}
        if state == "SUCCEEDED" and "notebook_task" in task:
            value = (job.course.outputs or {}).get("exit")
            return {"notebook_output": {} if value is None else {"result": value, "truncated": False}}
        lines = [text for _, text in self.ledger.logs(job.id)]
        return {"logs": "\n".join(lines), "logs_truncated": False}

    @operation("cancel")
    async def cancel(self, request: web.Request) -> web.Response:
        """runs/cancel."""
        body = await _json(request)
        run_id = body.get("run_id")
        if not isinstance(run_id, int):
            raise refusal(400, "MALFORMED_REQUEST", "run_id must be a number")
        try:
            self.ledger.cancel(f"job-{run_id}")
        except NoSuchJob:
            raise refusal(400, "INVALID_PARAMETER_VALUE", f"Run {run_id} does not exist.") from None
        if run_id in self.repairs:
            self.ledger.settle(f"job-{run_id}", "CANCELLED")
        return web.json_response({})

    def _view(self, run_id: int) -> dict[str, Any]:
        job = self.ledger.jobs[f"job-{run_id}"]
        view = self.ledger.get(job.id)
        state = view.state if view is not None else job.state(platform_time())
        return run_view(
            run_id, job, state, self.bodies[run_id], self.endings.get(run_id), self.repairs.get(run_id, 0), self.url
        )


def check_submission(body: Mapping[str, Any]) -> None:
    """Refuse a body that the Jobs API would refuse."""
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not tasks:
        raise refusal(
            400,
            "INVALID_PARAMETER_VALUE",
            "One of job_cluster_key, new_cluster, or existing_cluster_id and a task must be specified.",
        )
    if len(str(body.get("idempotency_token", ""))) > _LONGEST_TOKEN:
        raise refusal(400, "INVALID_PARAMETER_VALUE", "idempotency_token must have at most 64 characters.")
    environments = {each.get("environment_key") for each in body.get("environments", [])}
    for task in tasks:
        work = [name for name in _WORK if name in task]
        compute = [name for name in _COMPUTE if name in task]
        if not task.get("task_key") or len(work) != 1:
            raise refusal(400, "INVALID_PARAMETER_VALUE", "Each task needs a task_key and exactly one kind of task.")
        if len(compute) > 1 or not (compute or work[0] == "notebook_task"):
            raise refusal(400, "INVALID_PARAMETER_VALUE", "Each task needs exactly one kind of compute.")
        if "environment_key" in task and task["environment_key"] not in environments:
            raise refusal(400, "INVALID_PARAMETER_VALUE", f"Environment {task['environment_key']} is not defined.")
        if task[work[0]].get("source") == "GIT" and "git_source" not in body:
            raise refusal(400, "INVALID_PARAMETER_VALUE", "git_source must be set for tasks with source GIT.")
        check_cluster(task.get("new_cluster"))


def check_cluster(cluster: Any) -> None:
    """Refuse a cluster that the Clusters API would refuse."""
    if cluster is None:
        return
    if not isinstance(cluster, dict) or not cluster.get("spark_version"):
        raise refusal(
            400, "INVALID_PARAMETER_VALUE", "Missing required field: settings.cluster_spec.new_cluster.spark_version"
        )
    scale = cluster.get("autoscale") or {}
    for value in (cluster.get("num_workers"), scale.get("min_workers"), scale.get("max_workers")):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise refusal(
                400, "MALFORMED_REQUEST", "Could not parse request object: Expected 'START_OBJECT' or a whole number"
            )


def number_of(job_id: str) -> int:
    """Return the run id of a job of the ledger."""
    return int(job_id.removeprefix("job-"))


def _run_number(request: web.Request) -> int:
    text = request.query.get("run_id", "")
    if not text.isdigit():
        raise refusal(400, "INVALID_PARAMETER_VALUE", "run_id must be a number")
    return int(text)


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise refusal(400, "MALFORMED_REQUEST", "Invalid JSON given in the body of the request")
    return body


def _output_prefix(body: Mapping[str, Any]) -> str:
    for task in body["tasks"]:
        for spec in task.values():
            arguments = spec.get("parameters") if isinstance(spec, dict) else None
            for name, value in itertools.pairwise(arguments or ()):
                if name in _PREFIX_OPTIONS:
                    return str(value)
    return ""


__all__ = [
    "COURSES",
    "RULES",
    "DatabricksServer",
    "check_cluster",
    "check_submission",
    "number_of",
    "refusal",
    "task_run_id",
]
