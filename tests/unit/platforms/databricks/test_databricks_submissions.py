"""What is submitted for the tasks that flytekit and Flyte 2 send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outboard.agent import Container, Key, Task
from outboard.errors import InvalidTask
from outboard.platforms.databricks.config import RunConfig
from outboard.platforms.databricks.connections import connection_of
from outboard.platforms.databricks.run_specs import submission_of
from outboard.platforms.databricks.settings import DatabricksSettings, Entrypoint
from outboard.testing.platforms.databricks import check_submission
from unit.platforms.databricks.databricks_sdk_tasks import CORPUS, HOST, essentials, flyte_tasks, flytekit_tasks

TASKS: dict[str, Any] = json.loads(CORPUS.read_text("utf-8"))
KEY = Key("ob-f3a-n0-0-qilvvfbmnr54tfbudsjhdzhlqu")
TAGS = {"outboard-key": KEY.text, "project": "p"}
SETTINGS = DatabricksSettings()
ENTRYPOINT = SETTINGS.flytekit_entrypoint
GIT = {
    "git_url": ENTRYPOINT.git_url,
    "git_provider": ENTRYPOINT.git_provider,
    "git_commit": ENTRYPOINT.git_commit,
}


def task_of(name: str, **more: Any) -> Task[RunConfig]:
    sent = TASKS[name]
    custom = {**sent["custom"], **more}
    container = Container(image=sent["image"], args=sent["args"], env=sent["env"])
    return Task(type=sent["type"], config=RunConfig.model_validate(custom), container=container)


def conf_of(conf: dict[str, Any], args: tuple[str, ...] = ("pyflyte-execute", "x"), **more: Any) -> Task[RunConfig]:
    config = RunConfig.model_validate({"databricksConf": conf, **more})
    return Task(type="databricks", config=config, container=Container(image="img", args=args, env={"A": "1"}))


def submitted(task: Task[RunConfig], settings: DatabricksSettings = SETTINGS) -> dict[str, Any]:
    body = submission_of(task, KEY, TAGS, settings)
    check_submission(body)
    return body


@pytest.mark.parametrize("name", TASKS)
def test_every_task_of_both_sdks_becomes_a_run_that_the_jobs_api_takes(name: str) -> None:
    body = submitted(task_of(name))
    assert body["idempotency_token"] == KEY.token(max_len=64)
    assert len(body["idempotency_token"]) == 64
    assert body["run_name"].endswith(KEY.text) or body["run_name"].endswith(f"({KEY.text})")
    json.dumps(body)
    assert not task_of(name).config.unknown_fields()


def test_the_corpus_is_what_the_sdks_send_today() -> None:
    pytest.importorskip("flytekitplugins.spark")
    pytest.importorskip("flyteplugins.databricks")
    assert essentials({**flytekit_tasks(), **flyte_tasks()}) == TASKS


def test_a_classic_task_runs_its_function_on_a_cluster_of_its_own() -> None:
    body = submitted(task_of("flytekit classic"))
    (task,) = body["tasks"]
    assert body["timeout_seconds"] == 3600
    assert body["git_source"] == GIT
    assert task["max_retries"] == 1
    assert task["spark_python_task"] == {
        "python_file": "flytekitplugins/databricks/entrypoint.py",
        "source": "GIT",
        "parameters": TASKS["flytekit classic"]["args"],
    }
    assert task["new_cluster"] == {
        "spark_version": "15.4.x-scala2.12",
        "node_type_id": "m5.xlarge",
        "num_workers": 2,
        "docker_image": {"url": "img:1"},
        "spark_conf": {"spark.driver.memory": "2g"},
        "spark_env_vars": {"A": "1", "FLYTE_FAIL_ON_ERROR": "true"},
        "custom_tags": TAGS,
    }


def test_numbers_of_machines_are_whole_again_at_any_depth() -> None:
    cluster = submitted(task_of("flytekit autoscale"))["tasks"][0]["new_cluster"]
    assert [type(n) for n in cluster["autoscale"].values()] == [int, int]


def test_a_serverless_task_gets_its_variables_by_its_environment_and_its_credentials_by_an_argument() -> None:
    body = submitted(task_of("flytekit serverless"))
    (task,) = body["tasks"]
    assert task["environment_key"] == "default"
    assert task["spark_python_task"]["python_file"].endswith("entrypoint_serverless.py")
    assert task["spark_python_task"]["parameters"][-1] == "--flyte-credential-provider=s3-access"
    assert body["environments"][0]["spec"]["environment_vars"] == {"A": "1", "FLYTE_FAIL_ON_ERROR": "true"}
    assert "environment_key" not in body


def test_an_environment_that_is_only_named_is_made() -> None:
    body = submitted(conf_of({"environment_key": "ml"}))
    assert [each["environment_key"] for each in body["environments"]] == ["ml"]


def test_serverless_environments_without_a_key_use_the_first() -> None:
    listed = [{"environment_key": "first", "spec": {"client": "2"}}]
    body = submitted(conf_of({"environments": listed}))
    assert body["tasks"][0]["environment_key"] == "first"
    assert len(body["environments"]) == 1


def test_a_notebook_runs_with_its_parameters_and_without_a_script() -> None:
    body = submitted(task_of("flytekit notebook"))
    (task,) = body["tasks"]
    assert task["notebook_task"] == {"notebook_path": "/Shared/report", "base_parameters": {"day": "2026-01-01"}}
    assert "git_source" not in body
    assert "spark_python_task" not in task


def test_a_notebook_in_a_repository_says_so() -> None:
    git = {"git_url": "https://git.example/x", "git_provider": "gitHub", "git_branch": "main"}
    body = submitted(conf_of({"existing_cluster_id": "c", "git_source": git}, notebookPath="nb/report"))
    assert body["tasks"][0]["notebook_task"]["source"] == "GIT"
    assert body["git_source"] == git


def test_flyte_2_gets_an_entrypoint_of_its_own() -> None:
    body = submitted(task_of("flyte token"))
    assert body["tasks"][0]["spark_python_task"]["python_file"] == "flyteplugins/databricks/entrypoint.py"
    assert body["git_source"]["git_commit"] == SETTINGS.flyte_entrypoint.git_commit


def test_flyte_2_on_serverless_needs_a_script_that_somebody_names() -> None:
    task = conf_of({"environment_key": "e"}, args=("a0", "x"))
    with pytest.raises(InvalidTask, match="no entrypoint script"):
        submitted(task)
    named = SETTINGS.flyte_entrypoint.model_copy(update={"serverless_file": "s.py"})
    body = submitted(task, DatabricksSettings(flyte_entrypoint=named))
    assert body["tasks"][0]["spark_python_task"]["python_file"] == "s.py"


def test_an_operator_may_bring_the_entrypoint_from_elsewhere() -> None:
    own = Entrypoint(git_url="https://git.acme.example/e", git_provider="gitLab", git_commit="abc", python_file="e.py")
    body = submitted(task_of("flytekit classic"), DatabricksSettings(flytekit_entrypoint=own))
    assert body["git_source"]["git_url"] == "https://git.acme.example/e"


@pytest.mark.parametrize(
    ("file", "source"), [("dbfs:/x.py", "WORKSPACE"), ("/Workspace/x.py", "WORKSPACE"), ("jobs/x.py", "GIT")]
)
def test_a_script_of_the_users_own_is_looked_for_where_its_name_says(file: str, source: str) -> None:
    body = submitted(conf_of({"existing_cluster_id": "c", "python_file": file}))
    assert body["tasks"][0]["spark_python_task"]["source"] == source
    assert ("git_source" in body) == (source == "GIT")
    assert "python_file" not in body


def test_a_wheel_gets_the_arguments_unless_it_has_some() -> None:
    wheel = {"package_name": "acme", "entry_point": "run"}
    body = submitted(
        conf_of({"existing_cluster_id": "c", "python_wheel_task": wheel, "libraries": [{"whl": "/w.whl"}]})
    )
    (task,) = body["tasks"]
    assert task["python_wheel_task"] == {**wheel, "parameters": ["pyflyte-execute", "x"]}
    assert task["libraries"] == [{"whl": "/w.whl"}]
    own = {**wheel, "named_parameters": {"day": "1"}}
    body = submitted(conf_of({"existing_cluster_id": "c", "python_wheel_task": own}))
    assert body["tasks"][0]["python_wheel_task"] == own


def test_a_users_own_tasks_stay_and_take_the_compute_that_they_lack() -> None:
    tasks = [
        {"task_key": "a", "notebook_task": {"notebook_path": "/a"}, "existing_cluster_id": "own"},
        {"task_key": "b", "notebook_task": {"notebook_path": "/b"}, "depends_on": [{"task_key": "a"}]},
    ]
    body = submitted(conf_of({"tasks": tasks, "new_cluster": {"spark_version": "15"}}))
    assert "new_cluster" not in body["tasks"][0]
    assert body["tasks"][1]["new_cluster"]["spark_env_vars"]["A"] == "1"


def test_what_the_user_says_of_a_cluster_goes_first_but_for_variables() -> None:
    own = {
        "spark_version": "15",
        "docker_image": {"url": "mine"},
        "spark_conf": {"mine": "1"},
        "spark_env_vars": {"A": "user", "B": "2"},
        "custom_tags": {"project": "mine", "team": "x"},
    }
    cluster = submitted(conf_of({"new_cluster": own}, sparkConf={"other": "2"}))["tasks"][0]["new_cluster"]
    assert (cluster["docker_image"], cluster["spark_conf"]) == ({"url": "mine"}, {"mine": "1"})
    assert cluster["spark_env_vars"] == {"A": "1", "B": "2", "FLYTE_FAIL_ON_ERROR": "true"}
    assert cluster["custom_tags"] == {"outboard-key": KEY.text, "project": "mine", "team": "x"}


def test_the_longest_name_still_ends_with_the_key() -> None:
    body = submitted(conf_of({"existing_cluster_id": "c", "run_name": "ü" * 5000}))
    assert len(body["run_name"].encode()) <= 4096
    assert body["run_name"].endswith(f"({KEY.text})")


def test_a_body_is_the_same_however_often_it_is_made_and_the_task_is_left_alone() -> None:
    task = task_of("flytekit serverless")
    before = task.config.model_dump_json()
    assert submitted(task) == submitted(task)
    assert task.config.model_dump_json() == before


@pytest.mark.parametrize(
    ("conf", "field"),
    [
        ({"run_name": "x"}, "custom.databricksConf"),
        ({"environments": []}, "custom.databricksConf"),
    ],
)
def test_a_task_that_says_not_where_to_run_is_told_so(conf: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidTask) as raised:
        submitted(conf_of(conf))
    assert raised.value.field == field


def test_a_task_with_nothing_to_run_is_told_so() -> None:
    with pytest.raises(InvalidTask, match="nothing to run"):
        submitted(conf_of({"existing_cluster_id": "c"}, args=()))


@pytest.mark.parametrize(
    "conf",
    [{"new_cluster": []}, {"tasks": {}}, {"environments": ["x"]}, {"existing_cluster_id": "c", "new_cluster": {}}],
)
def test_a_configuration_of_another_form_is_refused(conf: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Jobs API|exclude"):
        RunConfig.model_validate({"databricksConf": conf})


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("flytekit")])
def test_flytekits_own_connector_would_ask_for_the_same(name: str) -> None:
    """The request of the installed connector in the newer form, but for token, tags and the name's end."""
    connector = pytest.importorskip("flytekitplugins.spark.connector")
    sent = json.loads(json.dumps(TASKS[name]))

    class Template:
        custom = sent["custom"]

        class container:  # noqa: N801 - as flytekit's model has it
            image, args, env = sent["image"], sent["args"], sent["env"]

    theirs = connector._get_databricks_job_spec(Template)
    ours = submitted(task_of(name))
    (task,) = ours["tasks"]
    task.get("new_cluster", {}).pop("custom_tags", None)
    if "tasks" in theirs:
        assert theirs.pop("tasks") == [task]
    else:
        assert {"task_key": "flyte_task" if "spark_python_task" in task else "flyte_notebook_task"} | {
            name: theirs.pop(name) for name in task if name != "task_key"
        } == task
    theirs.pop("run_name", None)
    assert theirs == {k: v for k, v in ours.items() if k not in ("tasks", "run_name", "idempotency_token")}


def test_a_task_of_every_kind_goes_to_its_workspace() -> None:
    logins = {name: connection_of(task_of(name), task_of(name).config, SETTINGS) for name in TASKS}
    assert {each.host for each in logins.values()} == {HOST}
    keys = {name: each.token.key if each.token else each.login for name, each in logins.items()}
    assert keys["flytekit classic"] == "flyte_databricks_access_token"
    assert keys["flytekit notebook"] == "databricks-team-a"
    assert keys["flytekit oauth"] == "oauth_m2m"
    assert keys["flyte token"] == "databricks_token"
    assert keys["flyte no token"] == "flyte_databricks_access_token"
