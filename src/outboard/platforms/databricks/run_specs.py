"""The body of `runs/submit`: from a Flyte task to a one-time run of the Jobs API 2.2.

A task's `databricksConf` may be written for the Jobs API 2.0 or 2.1, where a run of one task has cluster, libraries and script at
the top. 2.2 documents a list of tasks only, so what belongs to a task moves into one; what is not known stays at the top,
for Databricks to judge. What runs is, in this order:

* a notebook, where the task says so;
* what `databricksConf` says (`tasks`, or one of `spark_python_task`, `python_wheel_task`, `notebook_task` ...);
* the task's function, through the entrypoint script that its SDK expects, with the container's arguments as they were rendered.

The function gets the container's variables and `FLYTE_FAIL_ON_ERROR`, by which a failing function fails the run. Arguments
go where a script or a wheel was named without any. Names of runs end with the submission key: so they are found again.

Sources: https://docs.databricks.com/api/workspace/jobs/submit (2.2), https://docs.databricks.com/aws/en/reference/jobs-2.0-api
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from outboard.agent import Key, Task
from outboard.errors import InvalidTask
from outboard.platforms.databricks.config import COMPUTE, RunConfig
from outboard.platforms.databricks.settings import DatabricksSettings, Entrypoint

FUNCTION_KEY: Final = "flyte_task"
NOTEBOOK_KEY: Final = "flyte_notebook_task"
_FAIL_ON_ERROR: Final = "FLYTE_FAIL_ON_ERROR"
_RUN_NAME_BYTES: Final = 4_096
_FLYTE_2_COMMAND: Final = "a0"
_KINDS: Final[tuple[str, ...]] = (
    *(
        "spark_python_task",
        "python_wheel_task",
        "notebook_task",
        "spark_jar_task",
        "spark_submit_task",
        "pipeline_task",
    ),
    *("sql_task", "dbt_task", "run_job_task", "condition_task", "for_each_task", "dashboard_task", "power_bi_task"),
)
"""Keys that say what a task of a run does."""
_OF_A_TASK: Final[tuple[str, ...]] = (
    *("existing_cluster_id", "new_cluster", "job_cluster_key", "libraries", "max_retries", "min_retry_interval_millis"),
    *("retry_on_timeout", "disable_auto_optimization", "compute"),
)
"""Keys of the older single-task form that belong to the task."""


def submission_of(
    task: Task[RunConfig], key: Key, tags: Mapping[str, str], settings: DatabricksSettings
) -> dict[str, Any]:
    """Return the body that starts the run of a task.

    Args:
        task: The task.
        key: Becomes the idempotency token, and the end of the run's name.
        tags: For clusters that the run makes.
        settings: The operator's.

    Raises:
        InvalidTask: It says not where to run, or not what.
    """
    config = task.config
    conf: dict[str, Any] = copy.deepcopy(config.conf)
    if not any(conf.get(name) for name in COMPUTE) and not _has_own_compute(conf):
        raise InvalidTask(
            "custom.databricksConf names no compute; give existing_cluster_id, new_cluster, environment_key or environments",
            field="custom.databricksConf",
        )
    variables = {**(task.container.env if task.container is not None else {}), _FAIL_ON_ERROR: "true"}
    environment = _environment(conf, variables) if config.is_serverless else None
    for cluster in _clusters(conf):
        _complete(cluster, task, variables, tags)
    conf["tasks"] = _tasks(task, conf, environment, settings)
    for name in ("python_file", "environment_key"):
        conf.pop(name, None)
    conf["run_name"] = _run_name(conf.get("run_name"), key)
    conf["idempotency_token"] = key.token(max_len=64)
    return conf


def _tasks(
    task: Task[RunConfig], conf: dict[str, Any], environment: str | None, settings: DatabricksSettings
) -> list[dict[str, Any]]:
    arguments = list(task.container.args) if task.container is not None else []
    common: dict[str, Any] = {name: conf.pop(name) for name in _OF_A_TASK if name in conf}
    if environment is not None:
        common["environment_key"] = environment
    kind = next((name for name in _KINDS if name in conf), None)
    given: list[dict[str, Any]] = conf.pop("tasks", [])
    if task.config.notebook_path:
        if kind is not None:
            conf.pop(kind)
        return [{"task_key": NOTEBOOK_KEY, **common, "notebook_task": _notebook(task.config, conf)}]
    if given:
        return [_with_arguments({**_missing(common, each), **each}, arguments) for each in given]
    if kind is not None:
        return [_with_arguments({"task_key": FUNCTION_KEY, **common, kind: conf.pop(kind)}, arguments)]
    script = _function(task, conf, arguments, settings, is_serverless=environment is not None)
    return [{"task_key": FUNCTION_KEY, **common, "spark_python_task": script}]


def _notebook(config: RunConfig, conf: Mapping[str, Any]) -> dict[str, Any]:
    notebook: dict[str, Any] = {"notebook_path": config.notebook_path}
    if config.notebook_parameters:
        notebook["base_parameters"] = dict(config.notebook_parameters)
    if conf.get("git_source"):
        notebook["source"] = "GIT"
    return notebook


def _function(
    task: Task[RunConfig],
    conf: dict[str, Any],
    arguments: Sequence[str],
    settings: DatabricksSettings,
    *,
    is_serverless: bool,
) -> dict[str, Any]:
    """Return the script that runs the task's function; its repository becomes the run's."""
    if not arguments:
        raise InvalidTask(
            "the task has neither a container with arguments nor a notebook; there is nothing to run",
            field="container.args",
        )
    entrypoint = settings.flyte_entrypoint if arguments[0] == _FLYTE_2_COMMAND else settings.flytekit_entrypoint
    parameters = list(arguments)
    if is_serverless:
        provider = task.config.service_access or settings.service_credential_provider
        parameters += [f"--flyte-credential-provider={provider}"] if provider else []
    file = conf.get("python_file") or _script(entrypoint, is_serverless=is_serverless)
    if not conf.get("git_source") and _is_absolute(file):
        return {"python_file": file, "source": "WORKSPACE", "parameters": parameters}
    if not conf.get("git_source"):
        conf["git_source"] = {
            "git_url": entrypoint.git_url,
            "git_provider": entrypoint.git_provider,
            "git_commit": entrypoint.git_commit,
        }
    return {"python_file": file, "source": "GIT", "parameters": parameters}


def _is_absolute(file: object) -> bool:
    """Tell whether a script is named by where it lies in the workspace or in a store, not in a repository."""
    return isinstance(file, str) and (file.startswith("/") or ":/" in file)


def _script(entrypoint: Entrypoint, *, is_serverless: bool) -> str:
    if not is_serverless:
        return entrypoint.python_file
    if not entrypoint.serverless_file:
        raise InvalidTask(
            "custom.databricksConf asks for serverless compute, for which the task's SDK has no entrypoint script; "
            "name one by python_file and git_source, or the operator sets the entrypoint's serverless_file",
            field="custom.databricksConf",
        )
    return entrypoint.serverless_file


def _with_arguments(task: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """Return a task whose script or wheel gets the container's arguments where it names none of its own."""
    for kind in ("spark_python_task", "python_wheel_task"):
        spec = task.get(kind)
        if isinstance(spec, dict) and arguments and not spec.get("parameters") and not spec.get("named_parameters"):
            return {**task, kind: {**spec, "parameters": list(arguments)}}
    return task


def _missing(common: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a task of the user's own takes from the top: compute only if it has none."""
    compute = {*COMPUTE, "job_cluster_key"}
    has_compute = any(name in task for name in compute)
    return {name: value for name, value in common.items() if not (has_compute and name in compute)}


def _has_own_compute(conf: Mapping[str, Any]) -> bool:
    tasks = conf.get("tasks") or ()
    return bool(tasks) and all(any(name in each for name in _KINDS) for each in tasks)


def _clusters(conf: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the clusters that the run makes, wherever they are described."""
    holders = [conf, *conf.get("tasks", ()), *conf.get("job_clusters", ())]
    return [each["new_cluster"] for each in holders if isinstance(each.get("new_cluster"), dict)]


def _complete(
    cluster: dict[str, Any], task: Task[RunConfig], variables: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    """Add image, Spark configuration, variables and tags; what the user says goes first, but for variables."""
    config = task.config
    if not cluster.get("docker_image") and task.container is not None and task.container.image:
        cluster["docker_image"] = {"url": task.container.image}
    if not cluster.get("spark_conf"):
        hadoop = {f"spark.hadoop.{name}": value for name, value in config.hadoop_conf.items()}
        cluster["spark_conf"] = {**hadoop, **config.spark_conf}
    cluster["spark_env_vars"] = {**_object(cluster, "spark_env_vars"), **variables}
    cluster["custom_tags"] = {**tags, **_object(cluster, "custom_tags")}


def _environment(conf: dict[str, Any], variables: Mapping[str, str]) -> str:
    """Put the variables into the environment that the task runs in, and return its key; it is made where it is missing."""
    listed: list[dict[str, Any]] = conf.setdefault("environments", [])
    first = listed[0].get("environment_key") if listed else None
    key = str(conf.get("environment_key") or first or "default")
    chosen = next((each for each in listed if each.get("environment_key") == key), None)
    if chosen is None:
        chosen = {"environment_key": key, "spec": {"client": "1"}}
        listed.append(chosen)
    spec = _object(chosen, "spec")
    chosen["spec"] = {**spec, "environment_vars": {**_object(spec, "environment_vars"), **variables}}
    return key


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a member that must be an object; nothing where it is not there."""
    value = holder.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidTask(
            f"custom.databricksConf: {name} must be an object, as the Jobs API has it", field="custom.databricksConf"
        )
    return value


def _run_name(name: object, key: Key) -> str:
    if not isinstance(name, str) or not name.strip():
        return key.text
    tail = f" ({key.text})"
    room = _RUN_NAME_BYTES - len(tail)
    return name.encode()[:room].decode("utf-8", "ignore") + tail
