from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outboard.engine.addresses import ServiceAddress, parse_target
from outboard.engine.propeller.config import PropellerConfig, parse_propeller_config, read_propeller_config
from outboard.engine.propeller.go_durations import parse_go_duration
from outboard.errors import InvalidSettings

AGENTS = """
admin: {endpoint: dns:///flyteadmin:81}
plugins:
  k8s: {default-cpus: 100m}
  agent-service:
    supportedTaskTypes: [sensor]
    pollInterval: 20s
    webApi: {caching: {resyncInterval: 1m30s}}
    defaultAgent:
      endpoint: "dns:///flyteagent.flyte.svc.cluster.local:8000"
      timeouts: {CreateTask: 5s, ListAgents: 4s}
    agents:
      bigquery:
        endpoint: localhost:8001
        insecure: true
        defaultServiceConfig: '{"loadBalancingConfig": [{"round_robin":{}}]}'
        timeouts: {GetTask: 0}
        defaultTimeout: 1m
      other: {endpoint: "k8s://other.agents:9000"}
    agentForTaskTypes:
      bigquery_query_job_task: bigquery
      spark: other
"""


def names(config: PropellerConfig) -> list[tuple[str, str]]:
    return [(warning.name, warning.path) for warning in config.warnings]


def test_a_propeller_file_yields_endpoints_routes_and_intervals() -> None:
    config = parse_propeller_config(AGENTS)
    assert list(config.addresses) == ["bigquery", "other", "defaultAgent"]
    assert config.default == "defaultAgent"
    assert config.routes == {"bigquery_query_job_task": "bigquery", "spark": "other"}
    assert config.default_task_types == {"sensor"}
    assert config.listing_interval == timedelta(seconds=20)
    assert config.status_interval == timedelta(seconds=90)


def test_the_default_deployment_gets_flytes_defaults_where_the_file_says_nothing() -> None:
    default = parse_propeller_config(AGENTS).addresses["defaultAgent"]
    assert default.insecure
    assert default.service_config == '{"loadBalancingConfig": [{"round_robin":{}}]}'
    assert default.timeout("CreateTask") == timedelta(seconds=5)
    assert default.timeout("GetTask") == timedelta(seconds=3)
    assert default.timeout("ListAgents") == default.timeout("ListConnectors") == timedelta(seconds=4)
    connectors = parse_propeller_config("plugins: {connector-service: {defaultConnector: {endpoint: 'h:1'}}}")
    assert connectors.addresses["defaultConnector"].timeout("GetTask") == timedelta(seconds=10)


def test_a_named_deployment_gets_flytes_zero_values_with_warnings_by_name() -> None:
    config = parse_propeller_config(AGENTS)
    other = config.addresses["other"]
    assert (other.insecure, other.service_config, other.timeout("CreateTask")) == (False, None, None)
    assert names(config) == [
        ("lost-case", "plugins.agent-service.defaultAgent.timeouts"),
        ("lost-case", "plugins.agent-service.agents.bigquery.timeouts"),
        ("cluster-name", "plugins.agent-service.agents.other.endpoint"),
        ("no-deadline", "plugins.agent-service.agents.other"),
        ("tls-by-default", "plugins.agent-service.agents.other"),
    ]


def test_a_timeout_of_zero_is_no_deadline_even_where_there_is_a_default() -> None:
    bigquery = parse_propeller_config(AGENTS).addresses["bigquery"]
    assert bigquery.timeout("GetTask") is None
    assert bigquery.timeout("CreateTask") == timedelta(minutes=1)


@pytest.mark.parametrize("section", ["agent-service", "connector-service"])
def test_both_names_of_the_listing_are_understood_and_the_ignored_one_is_named(section: str) -> None:
    word = section.partition("-")[0]
    text = f"""
plugins:
  {section}:
    default{word.capitalize()}: {{endpoint: 'h:1', timeouts: [{{ListAgents: 1s}}]}}
    {word}s: {{a: {{endpoint: 'h:2', insecure: true, defaultTimeout: 1s, timeouts: [{{ListConnectors: 2s}}]}}}}
"""
    config = parse_propeller_config(text)
    assert config.addresses[f"default{word.capitalize()}"].timeout("ListAgents") == timedelta(seconds=1)
    assert config.addresses["a"].timeout("ListAgents") == timedelta(seconds=2)
    ignored = f"plugins.{section}.{word}s.a.timeouts.ListConnectors"
    if word == "connector":
        ignored = "plugins.connector-service.defaultConnector.timeouts.ListAgents"
    assert names(config) == [("ignored-timeout", ignored)]


def test_every_map_may_be_a_list_of_maps_as_in_flytes_guide() -> None:
    text = """
plugins:
  agent-service:
    agents:
      - Custom: {endpoint: "h:1", insecure: true, defaultTimeout: 5s, timeouts: [{CreateTask: 2s}, {GetTask: 3s}]}
    agentForTaskTypes:
      - First: Custom
      - second: Custom
"""
    config = parse_propeller_config(text)
    assert config.routes == {"First": "Custom", "second": "Custom"}
    assert config.addresses["Custom"].timeout("GetTask") == timedelta(seconds=3)
    assert config.warnings == ()


def test_what_flytes_loader_would_lose_in_a_map_is_kept_here_with_a_warning() -> None:
    text = """
plugins:
  connector-service:
    connectors:
      Custom: {endpoint: "h:1", insecure: true, defaultTimeout: 5s, timeouts: {CreateTask: 2s}}
    connectorForTaskTypes: {First: Custom}
"""
    config = parse_propeller_config(text)
    assert config.routes == {"First": "Custom"}
    assert config.addresses["Custom"].timeout("CreateTask") == timedelta(seconds=2)
    assert names(config) == [
        ("lost-case", "plugins.connector-service.connectorForTaskTypes"),
        ("lost-case", "plugins.connector-service.connectors"),
        ("lost-case", "plugins.connector-service.connectors.Custom.timeouts"),
    ]


def test_what_only_flyte_2_knows_is_known() -> None:
    text = """
plugins:
  connector-service:
    logs: {kubernetes-enabled: true}
    defaultConnector: {endpoint: "h:1", project: p, domain: d}
    connectorApps: {app: {endpoint: "h:2", insecure: true, defaultTimeout: 1s}}
"""
    config = parse_propeller_config(text)
    assert (list(config.addresses), config.warnings) == (["app", "defaultConnector"], ())


def test_keys_match_without_case_and_unknown_ones_are_named() -> None:
    text = """
Plugins:
  Agent-Service:
    defaultagent: {ENDPOINT: "h:1", defaulttimeout: 7s, retires: 3}
    webapi: {Caching: {wrokers: 3}}
    agnets: {}
"""
    config = parse_propeller_config(text)
    assert config.addresses["defaultAgent"].timeout("GetTask") == timedelta(seconds=7)
    assert sorted(names(config)) == [
        ("unknown-key", "plugins.agent-service.agnets"),
        ("unknown-key", "plugins.agent-service.defaultAgent.retires"),
        ("unknown-key", "plugins.agent-service.webApi.caching.wrokers"),
    ]
    assert "agnets" in str(config.warnings[0])


def test_the_connector_section_goes_before_the_agent_section() -> None:
    text = """
plugins:
  agent-service:
    defaultAgent: {endpoint: "old:1"}
    agents: {a: {endpoint: "old:2", insecure: true, defaultTimeout: 1s}}
    agentForTaskTypes: {t: a}
  connector-service:
    defaultConnector: {endpoint: "new:1"}
    connectors: {b: {endpoint: "new:2", insecure: true, defaultTimeout: 1s}}
    connectorForTaskTypes: {t: b}
"""
    config = parse_propeller_config(text)
    assert config.default == "defaultConnector"
    assert list(config.addresses) == ["b", "a", "defaultConnector", "defaultAgent"]
    assert config.routes == {"t": "b"}
    assert [warning.name for warning in config.warnings] == ["two-defaults", "ignored-route"]


def section(text: str) -> str:
    return f"plugins: {{agent-service: {{{text}}}}}"


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("a: [", None, "line 1, column 5"),
        ("just text", "plugins", "add a section"),
        ("plugins: {k8s: {}}", "plugins", "add a section"),
        (section("pollInterval: 10"), "pollInterval", "nanoseconds"),
        (section("pollInterval: 10 s"), "pollInterval", "such as '1m30s'"),
        (section("pollInterval: [1]"), "pollInterval", "such as '10s'"),
        (section("pollInterval: 0s"), "pollInterval", "greater than"),
        (section("defaultAgent: {endpoint: 'http://h:80'}"), "defaultAgent.endpoint", "web address"),
        (section("defaultAgent: {endpoint: h}"), "defaultAgent.endpoint", "host:port"),
        (section("defaultAgent: {insecure: perhaps}"), "defaultAgent.insecure", "true or false"),
        (section("defaultAgent: {defaultServiceConfig: '{'}"), "defaultAgent.defaultServiceConfig", "JSON"),
        (section("defaultAgent: {defaultServiceConfig: '[]'}"), "defaultAgent.defaultServiceConfig", "JSON object"),
        (section("defaultAgent: {timeouts: {GetTask: -1s}}"), "defaultAgent.timeouts", "negative"),
        (section("defaultAgent: {timeouts: {GetTask: x}}"), "defaultAgent.timeouts.GetTask", "no duration"),
        (section("defaultAgent: text"), "defaultAgent", "mapping"),
        (section("agents: {a: {}}"), "agents.a.endpoint", "is missing"),
        (section("agents: {defaultAgent: {endpoint: 'h:1'}}"), "agents.defaultAgent", "rename"),
        (section("agentForTaskTypes: {t: nobody}"), "agentForTaskTypes.t", "no endpoint 'nobody'"),
        (section("agentForTaskTypes: [t]"), "agentForTaskTypes", "mapping of names"),
        (section("webApi: {caching: {resyncInterval: 1s}}"), "webApi.caching.resyncInterval", "greater than"),
        (section("webApi: {caching: {workers: 0}}"), "webApi.caching.workers", "greater than"),
        ("plugins: {agent-service: [1]}", "", "mapping"),
    ],
)
def test_a_wrong_value_is_named_by_its_path_with_the_remedy(text: str, field: str | None, words: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        parse_propeller_config(text, source="propeller.yaml")
    assert words in caught.value.message
    if field not in (None, "plugins"):
        assert caught.value.field == f"plugins.agent-service.{field}".rstrip(".")
        assert caught.value.field in caught.value.message
    else:
        assert "propeller.yaml" in caught.value.message


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_no_content_of_a_section_brings_anything_but_a_config_or_invalid_settings(value: object) -> None:
    import json

    try:
        parse_propeller_config(json.dumps({"plugins": {"agent-service": value}}))
    except InvalidSettings:
        return


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"missing\.yaml cannot be read"):
        read_propeller_config(tmp_path / "missing.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidSettings, match="not UTF-8"):
        read_propeller_config(binary)
    good = tmp_path / "good.yaml"
    good.write_text(AGENTS)
    assert read_propeller_config(good) == parse_propeller_config(AGENTS)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("localhost:8000", "localhost:8000"),
        ("[::1]:8000", "[::1]:8000"),
        ("dns:///agents:8000", "dns:///agents:8000"),
        ("dns://10.0.0.1/agents:8000", "dns://10.0.0.1/agents:8000"),
        ("dns:///agents", "dns:///agents:443"),
        ("dns:agents:8000", "agents:8000"),
        ("passthrough:///10.0.0.1:8000", "10.0.0.1:8000"),
        ("unix:/run/agents.sock", "unix:/run/agents.sock"),
        ("unix:///run/agents.sock", "unix:///run/agents.sock"),
        ("k8s://agents.flyte:8000", "dns:///agents.flyte.svc.cluster.local:8000"),
        ("k8s:///agents.flyte:8000", "dns:///agents.flyte.svc.cluster.local:8000"),
        ("k8s://flyte/agents:8000", "dns:///agents.flyte.svc.cluster.local:8000"),
        ("k8s://agents.flyte.svc.cluster.local:8000", "dns:///agents.flyte.svc.cluster.local:8000"),
    ],
)
def test_every_form_of_address_becomes_what_grpc_dials(address: str, target: str) -> None:
    assert parse_target(address) == target


@pytest.mark.parametrize(
    "address",
    ["", "host", "host:", ":1", "host:0", "host:65536", "a b:1", "::1:80", "https://h:1", "ftp://h:1", "k8s://agents:1",
     "k8s://agents.flyte", "dns://h:1", "unix:", "host:1/path"],
)  # fmt: skip
def test_an_address_of_no_known_form_is_refused(address: str) -> None:
    with pytest.raises(InvalidSettings, match="write"):
        ServiceAddress.at(address)


def test_an_endpoint_typed_by_a_user_is_plain_on_loopback_and_tls_elsewhere() -> None:
    local = ["localhost:1", "127.0.0.9:1", "[::1]:1", "dns:///localhost:1", "unix:/run/a.sock"]
    assert all(ServiceAddress.at(address).insecure for address in local)
    assert not ServiceAddress.at("agents.example.org:443").insecure
    assert ServiceAddress.at("agents.example.org:443", insecure=True).insecure


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1.5h", 5400), ("1h2m3.5s", 3723.5), ("-3s", -3), ("+3s", 3), ("0", 0), ("", 0), (".5s", 0.5), ("1.s", 1),
     ("1us", 1e-6), ("1\u00b5s", 1e-6), ("1\u03bcs", 1e-6), ("5ms", 0.005)],
)  # fmt: skip
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["3", "3 s", "1d", "s", ".s", "-", "1s2", "\u0663s", "9999999h", "1e3s"])
def test_what_go_refuses_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_go_duration(text)
