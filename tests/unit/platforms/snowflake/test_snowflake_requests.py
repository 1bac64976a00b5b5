"""From what both SDKs send to the body of a statement, and to where it goes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from outboard.agent import Inputs, Key, SecretRef, SecretScope, Sql, Task
from outboard.domain.identity import ExecutionIdentity
from outboard.domain.provided import Provided
from outboard.domain.types import Interface, ListType, SimpleType, StructuredDatasetType, ValueType
from outboard.errors import InvalidTask
from outboard.platforms.snowflake.accounts import account_of, host_of, snowsight_of, token_name_of
from outboard.platforms.snowflake.config import SnowflakeConfig
from outboard.platforms.snowflake.connections import connection_of
from outboard.platforms.snowflake.history import FIND
from outboard.platforms.snowflake.settings import AccountSettings, SnowflakeSettings
from outboard.platforms.snowflake.statements import body_of, output_of, query_tag
from unit.platforms.snowflake import snowflake_sdk_tasks

SDK_TASKS: dict[str, dict[str, Any]] = json.loads(snowflake_sdk_tasks.CORPUS.read_text("utf-8"))
KEY = Key("ob-f3a-n0-0-qilvvfbmnr54tfbudsjhdzhlqu")
LABELS = {"outboard-key": KEY.text, "project": "shop", "team": "BI"}
DAY = datetime(2026, 3, 1, tzinfo=timezone.utc)
INPUTS: dict[str, dict[str, Any]] = {
    "select": {"day": DAY, "regions": ["EU", "US"]},
    "insert": {"id": 1, "name": "x"},
    "batch": {"id": [1, 2], "name": ["x", "y"]},
}
SELECT = "SELECT * FROM orders WHERE day = ? AND region IN (?, ?) AND note LIKE 'a%'"
TEXTS = {
    "select": SELECT,
    "insert": "INSERT INTO users (id, name) VALUES (?, ?)",
    "batch": "INSERT INTO users (id, name) VALUES (?, ?), (?, ?)",
}
BOUND = {"select": ["TEXT"] * 3, "insert": ["FIXED", "TEXT"], "batch": ["FIXED", "TEXT"] * 2}


def task_of(sql: str = "SELECT 1", inputs: dict[str, Any] | None = None, **config: Any) -> Task[SnowflakeConfig]:
    place = {"user": "FLYTE", "account": "myorg-prod", "warehouse": "wh", **config}
    return Task(
        type="snowflake",
        config=SnowflakeConfig.model_validate(place),
        sql=Sql(statement=sql),
        inputs=Inputs(inputs or {}),
    )


def body(task: Task[SnowflakeConfig], **settings: Any) -> dict[str, Any]:
    return body_of(task, KEY, LABELS, SnowflakeSettings(**settings))


@pytest.mark.parametrize("name", list(SDK_TASKS))
def test_a_task_of_either_sdk_becomes_the_statement_that_its_author_wrote(name: str) -> None:
    sent, kind = SDK_TASKS[name], name.rpartition(" ")[2]
    types: dict[str, ValueType] = {"regions": ListType(SimpleType.STRING), "day": SimpleType.DATETIME}
    task = Task(
        type=sent["type"],
        config=SnowflakeConfig.model_validate({**sent["config"], **sent["custom"]}),
        sql=Sql(statement=sent["sql"]),
        inputs=Inputs(INPUTS[kind]),
        interface=Interface(inputs=types),
    )
    assert task.config.unknown_fields() == {}
    made = body(task)
    assert made["statement"] == TEXTS[kind]
    assert [each["type"] for each in made["bindings"].values()] == BOUND[kind]
    assert list(made["bindings"]) == [str(n) for n in range(1, len(BOUND[kind]) + 1)]
    assert (made["database"], made["schema"], made["warehouse"]) == ("SALES", "PUBLIC", "LOADING")
    if name == "flyte2 select":
        assert (made["role"], made["parameters"]["TIMEZONE"]) == ("LOADER", "UTC")
        assert json.loads(made["parameters"]["QUERY_TAG"])["tag"] == "nightly"
        connection = connection_of(task, SnowflakeSettings())
        assert (connection.private_key, connection.passphrase) == (
            SecretRef("snowflake_private_key"),
            SecretRef("snowflake_private_key_passphrase"),
        )


def test_the_corpus_is_what_the_task_classes_send_today() -> None:
    pytest.importorskip("flytekitplugins.snowflake", reason="flytekitplugins-snowflake is not installed")
    pytest.importorskip("flyteplugins.snowflake", reason="flyteplugins-snowflake is not installed")
    assert {**snowflake_sdk_tasks.flytekit_tasks(), **snowflake_sdk_tasks.flyte2_tasks()} == SDK_TASKS


def test_names_are_folded_as_sql_folds_them_and_kept_where_they_are_quoted() -> None:
    made = body(task_of(database="sales", schema='"my Schema"', warehouse="my-wh", role="$x"))
    assert (made["database"], made["schema"], made["warehouse"], made["role"]) == ("SALES", "my Schema", "my-wh", "$x")


@pytest.mark.parametrize(
    ("own", "task_s", "most", "expected"),
    [(None, None, None, None), (60, None, None, 60), (60, 30, None, 30), (None, 90, 40, 40), (None, None, 5, 5)],
)
def test_the_shortest_time_limit_is_the_statements(
    own: int | None, task_s: int | None, most: int | None, expected: int | None
) -> None:
    task = task_of(statement_timeout_s=own)
    timed = replace(task, timeout=timedelta(seconds=task_s)) if task_s else task
    assert body(timed, longest_statement_s=most).get("timeout") == expected


def test_several_statements_say_how_many_and_take_no_inputs() -> None:
    assert body(task_of("SELECT 1; SELECT 2", statement_count="2"))["parameters"]["MULTI_STATEMENT_COUNT"] == "2"
    arguments = {"session_parameters": {"MULTI_STATEMENT_COUNT": 0.0}}
    assert (
        body(task_of("SELECT 1; SELECT 2", connection_kwargs=arguments))["parameters"]["MULTI_STATEMENT_COUNT"] == "0"
    )
    with pytest.raises(InvalidTask, match="several statements"):
        body(task_of("SELECT %(a)s; SELECT 2", {"a": 1}, statement_count=2))


def test_parameters_of_operator_and_task_are_the_same_whatever_their_case_and_none_is_none() -> None:
    arguments = {"session_parameters": {"timezone": "UTC", "QUERY_TAG": None}}
    made = body(task_of(connection_kwargs=arguments), session_parameters={"TimeZone": "CET", "query_tag": "ours"})
    parameters = made["parameters"]
    assert (parameters.keys(), parameters["TIMEZONE"]) == ({"TIMEZONE", "QUERY_TAG"}, "UTC")
    assert json.loads(parameters["QUERY_TAG"])["tag"] == "ours"


def test_a_query_tag_keeps_its_key_whatever_else_there_is() -> None:
    tag = query_tag(KEY, {"outboard-key": "forged", "project": "p", "long": "x" * 1_990, "last": "y"}, "ü" * 100)
    assert len(tag) <= 2_000
    assert json.loads(tag) == {"outboard-key": KEY.text, "tag": "ü" * 100, "project": "p", "last": "y"}
    assert tag.startswith(f'{{"outboard-key":"{KEY.text}"')


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"connection_kwargs": {"password": "hunter2"}}, "clear text"),
        ({"connection_kwargs": {"token": "hunter2"}}, "clear text"),
        ({"connection_kwargs": {"host": "evil.example"}}, "operator's to say"),
        ({"connection_kwargs": {"private_key_file": "/etc/x"}}, "operator's to say"),
        ({"connection_kwargs": {"authenticator": "externalbrowser"}}, "authenticator"),
        ({"connection_kwargs": {"authenticator": ["hunter2"]}}, "authenticator"),
        ({"connection_kwargs": {"role": {"hunter2": 1}}}, "role must be a text"),
        ({"connection_kwargs": {"role": "x" * 300}}, "role must be a text"),
        ({"connection_kwargs": {"session_parameters": "hunter2"}}, "must be a dict"),
        ({"connection_kwargs": {"session_parameters": {"A B": "hunter2"}}}, "names as"),
        ({"connection_kwargs": {"session_parameters": {"A": ["hunter2"]}}}, "text, a number"),
        ({"session_parameters": {"A B": "x"}}, "names as"),
        ({"session_parameters": {"A": {}}}, "text, a number"),
        ({"statement_timeout_s": 0}, "greater than or equal to 1"),
    ],
)
def test_what_may_not_be_configured_is_refused_without_its_value(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        SnowflakeConfig.model_validate(config)
    message = raised.value.errors(include_input=False)[0]["msg"]
    assert words in message
    assert "hunter2" not in message


def test_an_output_is_one_structured_dataset() -> None:
    task = task_of()
    assert output_of(task) == ""
    assert output_of(replace(task, interface=Interface(outputs={"rows": StructuredDatasetType()}))) == "rows"
    two = Interface(outputs={"a": StructuredDatasetType(), "b": StructuredDatasetType()})
    for interface, long in ((two, "x"), (Interface(outputs={"n": SimpleType.INTEGER}), "x")):
        with pytest.raises(InvalidTask, match="outputs"):
            output_of(replace(task_of(database=long), interface=interface))
    with pytest.raises(InvalidTask, match="200"):
        output_of(replace(task_of(database="x" * 200), interface=Interface(outputs={"a": StructuredDatasetType()})))


@pytest.mark.parametrize(
    ("account", "host", "named", "page"),
    [
        ("MyOrg-Prod_1", "myorg-prod-1.snowflakecomputing.com", "MYORG-PROD_1", "app.snowflake.com/myorg/prod_1"),
        ("xy12345", "xy12345.snowflakecomputing.com", "XY12345", "app.snowflake.com/us-west-2/xy12345"),
        ("xy1.eu-central-1", "xy1.eu-central-1.snowflakecomputing.com", "XY1", "app.snowflake.com/eu-central-1/xy1"),
        ("xy1.us-central1.gcp", "xy1.us-central1.gcp.snowflakecomputing.com", "XY1", "app.snowflake.com/us-central1.gcp/xy1"),
        ("xy1.cn-north-1", "xy1.cn-north-1.snowflakecomputing.cn", "XY1", "app.snowflake.cn/cn-north-1/xy1"),
        ("o-a.privatelink", "o-a.privatelink.snowflakecomputing.com", "O-A", "app-o-a.privatelink.snowflakecomputing.com"),
        ("https://o-a.snowflakecomputing.com/", "o-a.snowflakecomputing.com", "O-A", "app.snowflake.com/o/a"),
    ],
)  # fmt: skip
def test_an_account_identifier_has_its_host_its_name_in_tokens_and_its_page(
    account: str, host: str, named: str, page: str
) -> None:
    known = account_of(account)
    assert (host_of(known), token_name_of(known), snowsight_of(known)) == (host, named, f"https://{page}")


@pytest.mark.parametrize(
    "account",
    [
        *("evil.example/x", "a@evil.example", "a:443", "evil.example#", "a..b", "-a", "a b", "a?b=c"),
        *("127.0.0.1:80", "[::1]", "\uff41", "a" * 300, "a" * 64, "a." + "b" * 64),
    ],
)
def test_nothing_but_an_account_identifier_makes_a_host(account: str) -> None:
    with pytest.raises(ValueError, match="account identifier"):
        account_of(account)


def test_every_host_is_snowflakes_own() -> None:
    for account in ("evil.example", "169.254.169.254", "localhost", "metadata.google.internal"):
        assert host_of(account_of(account)).endswith(".snowflakecomputing.com")


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        ({"account": ""}, {}, "account is missing"),
        ({"account": "a/b"}, {}, "account identifier"),
        ({"account": "theirs-x"}, {"allowed_accounts": ("myorg-*",)}, "allowed_accounts"),
        ({"account": "theirs-x"}, {"account": "myorg-prod"}, "no credentials"),
        ({"user": ""}, {}, "user is missing"),
        ({}, {"accounts": {"myorg-prod": AccountSettings(projects=("ml",))}}, "not for project shop"),
    ],
)
def test_a_task_goes_only_where_the_operator_lets_it(
    config: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    task = replace(task_of(**config), identity=ExecutionIdentity(project="shop", domain="production"))
    with pytest.raises(InvalidTask, match=words):
        connection_of(task, SnowflakeSettings(**settings))


def test_the_services_credentials_are_by_account_and_a_provided_key_goes_first() -> None:
    entry = AccountSettings(auth="pat", token_secret="pat_prod", user="SERVICE", projects=("shop-production",))  # noqa: S106 - a name
    settings = SnowflakeSettings(account="myorg-dev", accounts={"MYORG_PROD": entry}, passphrase_secret="pass")  # noqa: S106 - a name
    task = replace(task_of(user=""), identity=ExecutionIdentity(project="shop", domain="production"))
    own = connection_of(task, settings)
    assert (own.account, own.user, own.login) == ("myorg-prod", "SERVICE", "pat")
    assert own.token == SecretRef("pat_prod", scope=SecretScope.PROJECT)
    default = connection_of(replace(task, config=SnowflakeConfig(user="A")), settings)
    assert (default.account, default.passphrase) == ("myorg-dev", SecretRef("pass", scope=SecretScope.PROJECT))
    elsewhere = replace(task_of(account="other-x"), provided=Provided(secrets={"snowflake_private_key": "PEM"}))
    assert connection_of(elsewhere, settings).private_key == SecretRef("snowflake_private_key")


@pytest.mark.parametrize(
    "settings",
    [
        {"accounts": {"a/b": {}}},
        {"accounts": {"a": {"url": "https://x/path"}}},
        {"accounts": {"a": {"url": "http://x"}}},
        {"accounts": {"a_b": {}, "A-B": {}}},
        {"session_parameters": {"A B": "x"}},
        {"account": "a b"},
        {"price_per_credit": -1},
    ],
)
def test_settings_that_are_wrong_are_told(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SnowflakeSettings.model_validate(settings)


def test_of_a_request_with_several_statements_the_history_is_asked_for_the_first_alone() -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as history:
        history.execute("CREATE TABLE history (query_id TEXT, query_tag TEXT, session_id INT, start_time INT)")
        rows = [("child", 1, 2), ("parent", 1, 1), ("earlier", 2, 0), ("another key's", 3, 0)]
        for name, session, at in rows:
            tag = "ob-2" if session == 3 else "ob-1"
            history.execute("INSERT INTO history VALUES (?, ?, ?, ?)", [name, tag, session, at])
        begin, end = FIND.index("TABLE("), FIND.index(" WHERE ")
        found = history.execute(f"{FIND[:begin]}history{FIND[end:]}", ["ob-1"]).fetchall()
    assert found == [("earlier",), ("parent",)]
