"""Which hosts get whose credentials."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.agent import SecretScope, Task, TaskType
from outboard.domain.identity import ExecutionIdentity
from outboard.errors import InvalidSettings, InvalidTask
from outboard.platforms.databricks.agent import DatabricksAgent, DatabricksRun
from outboard.platforms.databricks.config import DatabricksConfig
from outboard.platforms.databricks.connections import DatabricksConnection, connection_of
from outboard.platforms.databricks.platform import Databricks
from outboard.platforms.databricks.settings import DatabricksSettings, WorkspaceSettings, host_of

HOME = "acme.cloud.databricks.com"
OTHER = "other.azuredatabricks.net"
CORPUS = Path(__file__).parents[3] / "migration" / "handles" / "flytekit-1.16.31" / "handles.json"


def connect(settings: DatabricksSettings, project: str = "p", **custom: Any) -> DatabricksConnection:
    task: Task[Any] = Task(
        type="databricks", config={}, identity=ExecutionIdentity(project=project, domain="development")
    )
    return connection_of(task, DatabricksConfig.model_validate(custom), settings)


@pytest.mark.parametrize(
    "host",
    [
        HOME,
        "dbc-1.cloud.databricks.com",
        "adb-12.3.azuredatabricks.net",
        "123.4.gcp.databricks.com",
        f"https://{HOME}/",
    ],
)
def test_workspaces_where_databricks_serves_them_are_allowed(host: str) -> None:
    assert connect(DatabricksSettings(), databricksInstance=host).host == host_of(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "cloud.databricks.com",
        "acme.cloud.databricks.com.evil.example",
        "evilcloud.databricks.com",
        "acme.cloud.databricks.com@evil.example",
        "acme.cloud.databricks.com:8443",
        "acme.cloud.databricks.com/x",
        "evil.example#.cloud.databricks.com",
        "evil.example?.cloud.databricks.com",
        "http://acme.cloud.databricks.com",
        "169.254.169.254",
        "localhost",
        "a\n.cloud.databricks.com",
        "*.cloud.databricks.com",
    ],
)
def test_credentials_go_to_no_other_host(host: str) -> None:
    with pytest.raises(InvalidTask) as raised:
        connect(DatabricksSettings(), databricksInstance=host)
    assert raised.value.field == "custom.databricksInstance"


@given(st.text(max_size=60))
def test_no_text_becomes_an_address_outside_of_what_is_allowed(text: str) -> None:
    try:
        host = connect(DatabricksSettings(), databricksInstance=text).host
    except InvalidTask:
        return
    assert host.endswith((".cloud.databricks.com", ".azuredatabricks.net", ".gcp.databricks.com"))
    assert not set(host) & set("@/#?:\\ ")


def test_an_operator_may_allow_other_hosts_or_fewer() -> None:
    private = DatabricksSettings(allowed_hosts=("*.databricks.acme.example",))
    assert connect(private, databricksInstance="one.databricks.acme.example").host == "one.databricks.acme.example"
    with pytest.raises(InvalidTask):
        connect(private, databricksInstance=HOME)


def test_a_task_without_a_workspace_goes_to_the_default_one() -> None:
    assert connect(DatabricksSettings(default_instance=HOME)).host == HOME
    with pytest.raises(InvalidTask, match="default_instance"):
        connect(DatabricksSettings())


def test_the_services_own_token_is_bound_to_the_operators_workspaces() -> None:
    settings = DatabricksSettings(default_instance=HOME, workspaces={OTHER: WorkspaceSettings(token_secret="other")})  # noqa: S106 - a name
    assert connect(settings).token == connect(settings, databricksInstance=HOME).token
    token = connect(settings, databricksInstance=OTHER).token
    assert token is not None
    assert token.key == "other"
    with pytest.raises(InvalidTask, match="no credentials for stranger"):
        connect(settings, databricksInstance="stranger.cloud.databricks.com")
    own = connect(settings, databricksInstance="stranger.cloud.databricks.com", databricksTokenSecret="databricks-x")
    assert own.token is not None
    assert own.token.key == "databricks-x"


def test_tokens_are_looked_up_for_the_project_first() -> None:
    token = connect(DatabricksSettings(default_instance=HOME)).token
    assert token is not None
    assert token.scope is SecretScope.PROJECT


def test_a_task_may_not_send_any_secret_to_databricks() -> None:
    settings = DatabricksSettings(default_instance=HOME)
    for name in ("flyte_openai_api_key", "snowflake_private_key"):
        with pytest.raises(InvalidTask) as raised:
            connect(settings, databricksTokenSecret=name)
        assert name not in raised.value.message
    own = connect(DatabricksSettings(default_instance=HOME, task_secrets=("team-*",)), databricksTokenSecret="team-a")
    assert own.token is not None


def test_a_workspace_may_be_for_some_projects_only() -> None:
    settings = DatabricksSettings(workspaces={HOME: WorkspaceSettings(projects=("a", "b-development"))})
    for project in ("a", "b"):
        assert connect(settings, project, databricksInstance=HOME).host == HOME
    with pytest.raises(InvalidTask, match="not for project c"):
        connect(settings, "c", databricksInstance=HOME)


def test_service_principals_come_from_the_task_or_from_the_operator() -> None:
    settings = DatabricksSettings(default_instance=HOME, auth="oauth_m2m", client_id="ours")
    ours = connect(settings)
    assert (ours.login, ours.client_id, ours.token) == ("oauth_m2m", "ours", None)
    assert ours.client_secret is not None
    assert connect(settings, databricksClientId="theirs").client_id == "theirs"
    federated = connect(settings, databricksAuthType="oidc_federation")
    assert federated.subject is not None
    with pytest.raises(InvalidTask, match="databricksClientId"):
        connect(DatabricksSettings(default_instance=HOME), databricksAuthType="oauth_m2m")


def test_a_connection_holds_names_only() -> None:
    text = json.dumps(connect(DatabricksSettings(default_instance=HOME)).to_json())
    assert "flyte_databricks_access_token" in text
    assert len(text) < 160


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"default_instance": "https://x/y"}, "default_instance"),
        ({"allowed_hosts": ["*"]}, "allowed_hosts"),
        ({"allowed_hosts": ["*com"]}, "allowed_hosts"),
        ({"workspaces": {"not a host": {}}}, "workspaces"),
        ({"workspaces": {HOME: {"url": "https://h/path?x=1"}}}, "workspaces"),
        ({"workspaces": {HOME: {"tokn_secret": "x"}}}, "workspaces"),
        ({"token_secret": "../x"}, "token_secret"),
        ({"auth": "password"}, "auth"),
    ],
)
def test_settings_that_are_wrong_name_their_field(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSettings, match=field):
        Databricks.configure(settings)


def agent_of(settings: DatabricksSettings) -> DatabricksAgent:
    agent = Databricks(settings).agents()[0]
    assert isinstance(agent, DatabricksAgent)
    return agent


@pytest.mark.parametrize(
    "case",
    [case for case in json.loads(CORPUS.read_text("utf-8")) if "Databricks" in case["name"]],
    ids=lambda c: c["name"],
)
def test_flytekits_handles_are_followed_by_their_ids_and_never_by_their_token(case: dict[str, Any]) -> None:
    meta = json.loads(base64.b64decode(case["handle"]))
    read = agent_of(DatabricksSettings()).read_flytekit(meta, TaskType(case["task_type"]))
    assert read is not None
    connection, run = read
    assert (connection.host, run) == (meta["databricks_instance"], DatabricksRun(id=meta["run_id"]))
    assert "not-a-real-token" not in json.dumps([connection.to_json(), run.to_json()])
    assert connection.login == (meta["auth_type"] or "pat")


@pytest.mark.parametrize(
    "meta",
    [
        {"databricks_instance": HOME},
        {"databricks_instance": HOME, "run_id": "../1"},
        {"databricks_instance": HOME, "run_id": True},
        {"run_id": "1"},
    ],
)
def test_handles_that_name_no_run_are_not_read(meta: dict[str, Any]) -> None:
    assert agent_of(DatabricksSettings()).read_flytekit(meta, TaskType("databricks")) is None


def test_a_handle_of_a_strange_host_is_refused() -> None:
    meta = {"databricks_instance": "evil.example", "run_id": "1", "auth_token": "x"}
    with pytest.raises(InvalidTask):
        agent_of(DatabricksSettings()).read_flytekit(meta, TaskType("databricks"))
    stranger = {"databricks_instance": OTHER, "run_id": "1"}
    with pytest.raises(InvalidTask, match="no credentials"):
        agent_of(DatabricksSettings(default_instance=HOME)).read_flytekit(stranger, TaskType("databricks"))


def test_spark_tasks_for_kubernetes_are_told_apart() -> None:
    agent = agent_of(DatabricksSettings(default_instance=HOME))
    task: Task[Any] = Task(type="spark", config=agent.config_model.model_validate({"sparkConf": {}}))
    with pytest.raises(InvalidTask, match="for Kubernetes"):
        agent.connection(task)
    assert "spark" in Databricks(DatabricksSettings(serve_spark=False)).withheld()
    assert not Databricks().withheld()
