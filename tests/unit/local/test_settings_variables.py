"""Variables, file and options make one document, whose every value has an origin, and no typo goes unnoticed."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

import outboard
from outboard.cli import main
from outboard.errors import InvalidSettings
from outboard.local.settings.gathering import gather
from outboard.local.settings.listing import list_settings
from outboard.local.settings.schema import attributes, settings_schema
from outboard.local.settings.sections import PLATFORMS, SECTIONS, PlatformModels, model_of
from outboard.local.settings.variables import OTHERS, SHORT, read_variables, variable_of
from outboard.local.settings_files import read_choice, read_service_settings

SHIPPED = Path(outboard.__file__).parent / "settings.schema.json"
PLATFORM = '''
from collections.abc import Mapping
from typing import Any
from pydantic import Field, SecretStr
from outboard.agent import Platform
from outboard.agent.platform import Settings

class MineSettings(Settings):
    """Mine.

    Attributes:
        code: A secret.
    """

    code: SecretStr = SecretStr("")
    url: str = ""
    free: Mapping[str, Any] = Field(default_factory=dict)

class Mine(Platform):
    name = "mine"
    settings_model = MineSettings
    def agents(self): return ()
'''


def said(**variables: str) -> Mapping[tuple[str, ...], Any]:
    found = read_variables({f"OUTBOARD_{name}": text for name, text in variables.items()}, PlatformModels())
    return {each.place: each.value for each in (*found.assignments, *found.short)}


@pytest.mark.parametrize(
    ("name", "text", "place", "value"),
    [
        ("SERVICE__MAX_CALLS", "500", "service.max_calls", 500),
        ("SERVICE__METRICS_PORT", "null", "service.metrics_port", None),
        ("SERVICE__ISOLATE", "sql, files", "service.isolate", ["sql", "files"]),
        ("SERVICE__ISOLATE", '["a:B"]', "service.isolate", ["a:B"]),
        ("HOST__INSTALLATION", "007", "host.installation", "007"),
        ("HOST__RECORDS", "", "host.records", ""),
        ("HOST__STATUS_LIMIT", "2.5", "host.status_limit", 2.5),
        ("HOST__SECRETS__DIRECTORY", "/run/s", "host.secrets.directory", "/run/s"),
        ("HOST__SECRETS__OVERRIDES__KEY", "1e5", "host.secrets.overrides.key", "1e5"),
        ("HOST__QUOTAS", '{"sql": {"a/b": {"burst": 2}}}', "host.quotas.sql.a/b.burst", 2),
        ("PLATFORMS__BIGQUERY__LOCATION", "EU", "platforms.bigquery.location", "EU"),
        ("PLATFORMS__BIGQUERY__ENABLED", "no", "platforms.bigquery.enabled", False),
        ("PLATFORMS__DATABRICKS__WORKSPACES__PROD__URL", "u", "platforms.databricks.workspaces.prod.url", "u"),
        ("ENGINE__MAX_LIVE", "7", "engine.max_live", 7),
        ("LOG__LEVEL", "debug", "log.level", "debug"),
        ("AGENTS__PLATFORMS", "sql,files", "agents.platforms", ["sql", "files"]),
        ("LISTEN_PORT", "81", "service.port", 81),
        ("ISOLATE", "a b", "service.isolate", ["a", "b"]),
    ],
)
def test_every_setting_has_a_variable_that_is_read_by_the_type_of_the_setting(
    name: str, text: str, place: str, value: object
) -> None:
    assert said(**{name: text}) == {tuple(place.split(".")): value}


def test_a_variable_that_is_empty_leaves_what_is_no_text_as_it_is() -> None:
    assert said(SERVICE__PORT="", SERVICE__ISOLATE="", HOST__QUOTAS="") == {}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("SERVICE__MAX_CALS", "OUTBOARD_SERVICE__MAX_CALLS"),
        ("SERVCE__MAX_CALLS", "OUTBOARD_SERVICE__MAX_CALLS"),
        ("SERVICE_MAX_CALLS", "OUTBOARD_SERVICE__MAX_CALLS"),
        ("HOST__SECRETS__DIRECTRY", "OUTBOARD_HOST__SECRETS__DIRECTORY"),
        ("PLATFORMS__SQL__ROOTT", "OUTBOARD_PLATFORMS__SQL__ROOT"),
        ("LISTEN_PROT", "OUTBOARD_LISTEN_PORT"),
        ("PORT", "OUTBOARD_LISTEN_PORT"),
        ("LOGLEVEL", "OUTBOARD_LOG_LEVEL"),
        ("SETTING", "OUTBOARD_SETTINGS"),
    ],
)
def test_a_variable_with_nearly_the_name_of_a_setting_is_refused_with_that_name(name: str, near: str) -> None:
    with pytest.raises(InvalidSettings, match=re.escape(near)):
        said(**{name: "8000"})


def test_a_variable_below_a_setting_that_holds_a_value_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="OUTBOARD_SERVICE__PORT__X"):
        said(SERVICE__PORT__X="1")


def test_what_kubernetes_sets_beside_a_service_of_our_name_is_no_typo_and_other_strangers_are_told() -> None:
    kubernetes = {
        "OUTBOARD_PORT": "tcp://10.0.0.1:8000",
        "OUTBOARD_SERVICE_HOST": "10.0.0.1",
        "OUTBOARD_SERVICE_PORT": "8000",
        "OUTBOARD_SERVICE_PORT_GRPC": "8000",
        "OUTBOARD_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "OUTBOARD_PORT_8000_TCP_ADDR": "10.0.0.1",
        "OUTBOARD_METRICS_SERVICE_HOST": "10.0.0.2",
    }
    found = read_variables({**kubernetes, "OUTBOARD_TEAM_COLOUR": "green", "OUTBOARD_TEST_HOLD": "x"}, PlatformModels())
    assert list(found.unknown) == ["OUTBOARD_TEAM_COLOUR", "OUTBOARD_TEST_HOLD"]
    assert not found.assignments
    assert not found.short


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"LISTEN_PORT": "1"}, {"SERVICE__PORT": "2"}),
        ({"HOST__SECRETS": "{directory: a}"}, {"HOST__SECRETS__DIRECTORY": "b"}),
        ({"HOST__QUOTAS": "{}"}, {"HOST__QUOTAS__SQL": "{a: {burst: 1}}"}),
    ],
)
def test_two_variables_for_one_setting_must_agree(one: dict[str, str], other: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="do not agree") as refused:
        said(**one, **other)
    assert all(f"OUTBOARD_{name}" in refused.value.message for name in (*one, *other))


def test_two_variables_that_agree_are_one() -> None:
    assert said(LISTEN_PORT="7", SERVICE__PORT="7") == {("service", "port"): 7}


def test_every_variable_that_our_code_names_is_known() -> None:
    root = Path(outboard.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    named = set(re.findall(r'"(OUTBOARD_[A-Z]+(?:_[A-Z]+)*)"', text))
    assert len(named) > 15
    assert named - {"OUTBOARD_HOST", "OUTBOARD_PORT"} <= {*SHORT, *OTHERS}


def test_short_names_mean_settings_that_there_are() -> None:
    for section, *names in SHORT.values():
        model: Any = model_of(section)
        for name in names:
            assert name in model.model_fields
            kinds = (model.model_fields[name].annotation, *get_args(model.model_fields[name].annotation))
            model = next((each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)), None)


def settings_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "outboard.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_variable_wins_over_the_file_one_value_at_a_time_and_an_option_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings_file(
        tmp_path,
        "service: {port: 1, max_calls: 10, drain_s: 5}\nhost: {secrets: {file_prefix: a, env_prefix: B_}}\n"
        "agents: {platforms: [files]}\nlog: {level: warning}\n",
    )
    monkeypatch.setenv("OUTBOARD_SERVICE__MAX_CALLS", "20")
    monkeypatch.setenv("OUTBOARD_HOST__SECRETS__FILE_PREFIX", "c")
    choice = read_choice(path, platforms=None, modules=None)
    service = read_service_settings(choice, port=3)
    assert (service.port, service.max_calls, service.drain_s) == (3, 20, 5)
    assert choice.host["secrets"] == {"file_prefix": "c", "env_prefix": "B_"}
    assert choice.platforms == ("files",)
    assert choice.log.level == "warning"
    assert read_choice(path, platforms="", modules=None).platforms == []


def test_what_is_wrong_is_told_with_the_line_or_the_variable_that_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings_file(tmp_path, "service:\n  port: 1\n  max_calls: none\n")
    with pytest.raises(
        InvalidSettings,
        match=re.escape(
            f"service.max_calls: this must be a valid integer, unable to parse string as an integer (from {path}:3)"
        ),
    ):
        read_service_settings(read_choice(path, platforms=None, modules=None))
    monkeypatch.setenv("OUTBOARD_SERVICE__MAX_CALLS", "-1")
    with pytest.raises(InvalidSettings, match=r"\(from variable OUTBOARD_SERVICE__MAX_CALLS\)"):
        read_service_settings(read_choice(path, platforms=None, modules=None))


def test_settings_of_a_platform_with_nearly_a_known_name_are_refused(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "platforms: {bigqery: {location: EU}}\n")
    with pytest.raises(InvalidSettings, match="did you mean 'bigquery'"):
        read_choice(path, platforms=None, modules=None)


KEY = base64.b64encode(b"k" * 32).decode()
CANARIES = (KEY, "canary-override", "canary-code", "canary-url-password", "canary-free")


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A settings file with secrets in all places that take one."""
    (tmp_path / "mine_platform.py").write_text(PLATFORM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OUTBOARD_SERVICE_KEYS", KEY)
    return settings_file(
        tmp_path,
        "host:\n  secrets:\n    overrides: {any: canary-override}\n  records: s3://me:canary-url-password@host/x\n"
        "agents: {modules: ['mine_platform:Mine']}\nplatforms:\n  Mine:\n    code: canary-code\n    url: u\n"
        "    free: {password: canary-free, api_key: [canary-free], in: {token: canary-free, port: 1},\n"
        "           list: [{token: canary-free}]}\n",
    )


def test_what_is_shown_has_an_origin_and_no_secret(full: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--settings", full, "--port", "99", "--json"]) == 0
    text = capsys.readouterr().out
    told = {each["name"]: (each["value"], each["origin"]) for each in json.loads(text)["settings"]}
    assert told["service.port"] == (99, "option --port")
    assert told["service.drain_s"] == (60.0, "default")
    assert told["host.service_keys"] == (["[redacted]"], "variable OUTBOARD_SERVICE_KEYS")
    assert told["host.secrets.overrides.any"] == ("[redacted]", f"{full}:3")
    assert told["platforms.Mine.code"] == ("[redacted]", f"{full}:8")
    assert told["platforms.Mine.url"] == ("u", f"{full}:9")
    assert told["platforms.Mine.free.api_key"] == ("[redacted]", f"{full}:10")
    assert told["platforms.Mine.free.in.port"] == (1, f"{full}:10")
    assert told["platforms.sql.enabled"] == (True, "default")
    assert main(["config", "--settings", full]) == 0
    text += "".join(capsys.readouterr())
    assert "host.secrets.overrides.any" in text
    assert [each for each in CANARIES if each in text] == []


def test_a_check_tells_all_that_is_wrong_at_once_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOARD_TEAM_COLOUR", "green")
    path = settings_file(
        tmp_path,
        "service: {port: x}\nhost: {service_keys: [short]}\nplatforms: {nosuch: {}, bigquery: {locaton: EU}}\nhots: {}\n",
    )
    assert main(["config", "--check", "--settings", path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(re.findall("^error: ", err, re.MULTILINE)) == 5
    for words in (
        "service.port",
        "32 bytes",
        "platforms.nosuch",
        "did you mean 'location'",
        "hots: there is no such section",
    ):
        assert words in err
    assert "warning: variable OUTBOARD_TEAM_COLOUR" in err
    assert main(["config", "--check"]) == 0


def test_the_schema_that_ships_is_that_of_the_models() -> None:
    known = PlatformModels()
    assert all(known.of(name).model is not None for name in known.names())
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == settings_schema(known), (
        "renew it: outboard config --schema > src/outboard/settings.schema.json"
    )


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("service: {port: 8000, linger_s: 15}\nhost: {status_limit: 0.5}\nplatforms: {sql: {enabled: false}}", True),
        ("agents: {platforms: [sql]}\nplatforms: {databricks: {workspaces: {prod: {url: 'https://x'}}}}", True),
        ("platforms: {somebodys: {anything: 1}}", True),
        ("service: {prot: 8000}", False),
        ("platforms: {bigquery: {locaton: EU}}", False),
        ("sevrice: {}", False),
        ("host: {status_limit: soon}", False),
    ],
)
def test_the_schema_knows_right_files_from_wrong_ones(text: str, is_right: bool) -> None:
    schema = settings_schema(PlatformModels())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert validator.is_valid(yaml.safe_load(text)) is is_right


def _models() -> list[type[BaseModel]]:
    known = PlatformModels()
    return [
        *(model_of(each) for each in SECTIONS if each != PLATFORMS),
        *filter(None, (known.of(n).model for n in known.names())),
    ]


@pytest.mark.parametrize("model", _models(), ids=lambda each: each.__name__)
def test_every_setting_is_explained_by_its_models_docstring(model: type[BaseModel]) -> None:
    assert set(model.model_fields) <= set(attributes(model))


def test_the_variable_of_every_setting_is_read_back_as_that_setting() -> None:
    for section in SECTIONS:
        if section == PLATFORMS:
            continue
        for name in model_of(section).model_fields:
            place = (section, name)
            found = read_variables({variable_of(place): "{a: {b: {}}}"}, PlatformModels())
            assert found.assignments[0].place[:2] == place


def test_without_variables_of_ours_the_environment_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [name for name in os.environ if name.startswith("OUTBOARD_")]
    monkeypatch.setattr("outboard.local.settings.gathering.read_variables", None)
    assert gather(None).document == {}
    assert list_settings(gather(None)).problems == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("service:\n  access: {callers: {}}\n  port: 1\nservice:\n  port: 2\n", "'service' twice.*line 4"),
        ('{"service": {"port": 1, "port": 2}}', "'port' twice"),
        ("host:\n  quotas: &q\n    x: *q\n", r"\*q inside itself.*line 3"),
        ("host:\n  quotas: &q [*q]\n", r"\*q inside itself"),
    ],
)
def test_a_file_that_does_not_say_what_is_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (file := tmp_path / "outboard.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSettings, match=said):
        gather(str(file), environment={})


def test_anchors_and_merged_mappings_are_taken(tmp_path: Path) -> None:
    text = "service: {tls: &files {certificate: a, key: b}}\nclient:\n  <<: *files\n  key: c\n"
    (file := tmp_path / "outboard.yaml").write_text(text, encoding="utf-8")
    assert gather(str(file), environment={}).document["client"] == {"certificate": "a", "key": "c"}


def test_the_section_that_is_read_late_is_checked_and_spelled_like_all_others(tmp_path: Path) -> None:
    text = "service:\n  access:\n    callers:\n      ci:\n        token_file: /t\n        task_tpes: [a]\n        burst: x\n"
    (file := tmp_path / "outboard.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(
        InvalidSettings, match=r"access\.callers\.ci\.task_tpes: .*'task_types'.*callers\.ci\.burst.*yaml:6"
    ):
        read_service_settings(read_choice(str(file), platforms=None, modules=None))
    with pytest.raises(InvalidSettings, match="did you mean 'OUTBOARD_SERVICE__ACCESS__METADATA'"):
        said(SERVICE__ACCESS__METADTA="anyone")
    assert said(SERVICE__ACCESS__CALLERS__CI__PROJECTS="123,b") == {
        ("service", "access", "callers", "ci", "projects"): ["123", "b"]
    }


def test_what_is_wrong_with_standard_input_is_told_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("service:\n  port: 70000\n"))
    with pytest.raises(InvalidSettings, match=r"standard input is wrong: service\.port: .*from standard input:2"):
        read_service_settings(read_choice("-", platforms=None, modules=None))


@pytest.mark.parametrize("value", [".inf", ".nan", "1e12"])
def test_a_time_that_nothing_can_wait_for_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (name for name, field in model_of("service").model_fields.items() if field.annotation is float):
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(variable_of(("service", name)), value)
            assert main(["config", "--check"]) == 2, name
        assert f"service.{name}: this must be" in capsys.readouterr().err
