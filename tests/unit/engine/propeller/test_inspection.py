from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import outboard.engine.propeller
from outboard.domain.endpoints import AgentInfo
from outboard.domain.tasks import TaskType
from outboard.engine.propeller.draft import SERVICE_CONFIG
from outboard.engine.propeller.findings import Finding, Severity
from outboard.engine.propeller.inspection import inspect_engine
from outboard.engine.propeller.layouts import read_engine_files
from outboard.errors import InvalidSettings

SERVED = (
    AgentInfo(name="warehouse", task_types=[TaskType("snowflake"), TaskType("hive")]),
    AgentInfo(name="hook", task_types=[TaskType("webhook")], is_sync=True),
)

GOOD = f"""
tasks:
  task-plugins:
    enabled-plugins: [container, sidecar, connector-service]
plugins:
  connector-service:
    defaultConnector:
      endpoint: dns:///agents:8000
      defaultServiceConfig: '{SERVICE_CONFIG}'
      timeouts:
        - CreateTask: 15s
        - ListConnectors: 5s
        - ExecuteTaskSync: 60s
    connectors:
      other:
        endpoint: dns:///other:8000
        insecure: true
        defaultServiceConfig: '{SERVICE_CONFIG}'
        defaultTimeout: 10s
    supportedTaskTypes: [snowflake, hive, webhook]
    connectorForTaskTypes: {{elsewhere: other}}
    webApi:
      readRateLimiter: {{qps: 50, burst: 100}}
      caching: {{resyncInterval: 30s, workers: 20, size: 5000, maxSystemFailures: 2880}}
"""


def inspect(
    text: str,
    *,
    flyte: int | None = None,
    agents: Iterable[AgentInfo] | None = None,
    service: str | None = None,
    live_jobs: int | None = None,
) -> list[Finding]:
    files = read_engine_files([("engine.yaml", text)])
    return inspect_engine(files, generation=flyte, agents=agents, service=service, live_jobs=live_jobs)


def names(findings: Iterable[Finding]) -> list[str]:
    return [each.name for each in findings]


@pytest.mark.parametrize("flyte", [1, 2])
def test_a_good_configuration_has_no_findings(flyte: int) -> None:
    text = (
        GOOD if flyte == 1 else GOOD.replace("        - ExecuteTaskSync: 60s\n", "").replace("enabled-plugins", "other")
    )
    text = text.replace("[snowflake, hive, webhook]", "[snowflake, hive, webhook, elsewhere]") if flyte == 2 else text
    assert inspect(text, flyte=flyte, agents=SERVED, live_jobs=1000) == []


def replaced(old: str, new: str) -> str:
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


OTHER = "endpoint: dns:///other:8000"
ALL_ROUND = f"        insecure: true\n        defaultServiceConfig: '{SERVICE_CONFIG}'\n        defaultTimeout: 10s\n"

# Name, text, the line of the path where it stands, words of the remedy: each is GOOD with one thing changed.
FINDINGS = [
    ("refused-value", replaced("- CreateTask: 15s", "- CreateTask: 15 s"), "timeouts.CreateTask", "such as"),
    ("refused-value", replaced("resyncInterval: 30s", "resyncInterval: 1d"), "resyncInterval", "such as"),
    ("refused-value", replaced("insecure: true", "insecure: yes"), "other.insecure", "true or false"),
    ("refused-value", replaced("{elsewhere: other}", "{elsewhere: [other]}"), "elsewhere", "string"),
    ("bare-duration", replaced("- CreateTask: 15s", "- CreateTask: 15"), "timeouts.CreateTask", "'15s'"),
    ("out-of-range", replaced("qps: 50", "qps: 0.5"), "readRateLimiter.qps", "greater than or equal to 1"),
    ("out-of-range", replaced("burst: 100", "burst: 4"), "readRateLimiter.burst", "5"),
    ("out-of-range", replaced("resyncInterval: 30s", "resyncInterval: 4s"), "resyncInterval", "5 seconds"),
    ("out-of-range", replaced("workers: 20", "workers: 10001"), "caching.workers", "10000"),
    ("out-of-range", replaced("size: 5000", "size: 500001"), "caching.size", "500000"),
    ("out-of-range", replaced("    webApi:", "    pollInterval: 0s\n    webApi:"), "pollInterval", "greater than"),
    ("out-of-range", replaced("- CreateTask: 15s", "- CreateTask: -1s"), "timeouts", "positive"),
    ("bad-address", replaced(OTHER, "endpoint: https://other:443"), "other.endpoint", "host:port"),
    ("bad-service-config", GOOD.replace(f"'{SERVICE_CONFIG}'", "'{'", 1), "defaultServiceConfig", "JSON"),
    ("bad-service-config", GOOD.replace('"maxBackoff": "4s", ', "", 1), "defaultServiceConfig", "maxBackoff"),
    (
        "bad-service-config",
        GOOD.replace('"maxAttempts": 5', '"maxAttempts": 1', 1),
        "defaultServiceConfig",
        "2 attempts",
    ),
    ("unknown-key", replaced("supportedTaskTypes", "suportedTaskTypes"), "suportedTaskTypes", "`supportedTaskTypes`"),
    ("unknown-key", replaced("workers: 20", "wrokers: 20"), "caching.wrokers", "`workers`"),
    ("unknown-key", replaced(OTHER, f"{OTHER}\n        project: p"), "other.project", "--flyte 2"),
    ("unknown-key", replaced("    webApi:", "    logs: {}\n    webApi:"), "connector-service.logs", "--flyte 2"),
    (
        "other-plugins-key",
        replaced("    webApi:", "    defaultAgent: {}\n    webApi:"),
        "defaultAgent",
        "`defaultConnector`",
    ),
    (
        "other-plugins-key",
        replaced("connectorForTaskTypes", "agentForTaskTypes"),
        "agentForTaskTypes",
        "connectorForTaskTypes",
    ),
    ("duplicate-key", GOOD + "plugins: {}\n", "plugins", "one of them"),
    (
        "no-service",
        replaced("endpoint: dns:///agents:8000", "endpoint: ''").replace("connectors:", "ignored:"),
        "",
        "endpoint",
    ),
    ("no-address", replaced(OTHER, "domain: ''"), "connectors.other", "endpoint"),
    ("k8s-resolver", replaced(OTHER, "endpoint: k8s://other.flyte:8000"), "other.endpoint", "dns:///"),
    ("no-dns-scheme", replaced(OTHER, "endpoint: other:8000"), "other.endpoint", "dns:///other:8000"),
    ("tls-by-default", GOOD.replace("        insecure: true\n", ""), "connectors.other", "insecure: true"),
    (
        "pick-first",
        GOOD.replace('[{"round_robin": {}}]', '[{"pick_first": {}}]', 1),
        "defaultServiceConfig",
        "round_robin",
    ),
    ("no-retry", GOOD.replace('["UNAVAILABLE"]', '["ABORTED"]', 1), "defaultServiceConfig", "flyte-config"),
    ("wrong-operation", replaced("ListConnectors", "ListAgents"), "timeouts.ListAgents", "ListConnectors"),
    ("wrong-operation", replaced("- CreateTask", "- createTask"), "timeouts.createTask", "CreateTask"),
    ("no-deadline", GOOD.replace("        defaultTimeout: 10s\n", ""), "connectors.other", "defaultTimeout"),
    ("no-deadline", replaced("defaultTimeout: 10s", "defaultTimeout: 0s"), "other.defaultTimeout", "defaultTimeout"),
    ("short-deadline", replaced("- CreateTask: 15s", "- CreateTask: 1s"), "timeouts.CreateTask", "at least 3s"),
    ("long-deadline", replaced("- CreateTask: 15s", "- CreateTask: 5m"), "timeouts.CreateTask", "15s"),
    ("placeholder", replaced("[snowflake,", "[task_type_1, snowflake,"), "supportedTaskTypes", "real|serves"),
    ("unknown-service", replaced("{elsewhere: other}", "{elsewhere: nobody}"), "elsewhere", "other"),
    ("lost-case", replaced("{elsewhere: other}", "{Elsewhere: other}"), "Elsewhere", "- Elsewhere: other"),
    ("plugin-disabled", replaced(", connector-service]", "]"), "enabled-plugins", "connector-service"),
    ("claimed-twice", replaced("sidecar,", "sidecar, athena,"), "supportedTaskTypes", "hive: connector-service"),
    ("polling-given-up", replaced(", maxSystemFailures: 2880", ""), "caching", "2880"),
    ("rate-too-low", replaced("qps: 50", "qps: 10"), "readRateLimiter.qps", "qps: 50"),
    ("too-few-workers", replaced("workers: 20", "workers: 2"), "caching.workers", "workers: "),
    ("cache-too-small", replaced("size: 5000", "size: 500"), "caching.size", "500000"),
    ("few-workflow-retries", GOOD + "propeller: {max-workflow-retries: 3}\n", "propeller.max-workflow-retries", "30"),
]


@pytest.mark.parametrize(("name", "text", "path", "remedy"), FINDINGS)
def test_one_thing_wrong_is_found_with_its_place_and_remedy(name: str, text: str, path: str, remedy: str) -> None:
    found = [each for each in inspect(text, flyte=1, agents=SERVED, live_jobs=1000) if each.name == name]
    assert found, names(inspect(text, flyte=1, agents=SERVED, live_jobs=1000))
    assert any(each.place.path.endswith(path) for each in found), found
    assert any(re.search(remedy, each.remedy) for each in found), found
    key = path.rpartition(".")[2]
    if key:
        assert any(key in text.splitlines()[each.place.line - 1] for each in found), found


def test_timeouts_in_a_map_hold_nowhere_which_a_service_without_a_default_shows() -> None:
    as_map = GOOD.replace("        defaultTimeout: 10s\n", "        timeouts: {CreateTask: 5s, GetTask: 5s}\n")
    found = [
        each for each in inspect(as_map) if each.place.path.startswith("plugins.connector-service.connectors.other")
    ]
    assert names(found) == ["no-deadline", "timeouts-as-map"]
    assert "CreateTask, GetTask" in found[0].wrong
    as_list = as_map.replace("{CreateTask: 5s, GetTask: 5s}", "[{CreateTask: 5s}, {GetTask: 5s}]")
    (endless,) = inspect(as_list)
    assert endless.name == "no-deadline"
    assert "CreateTask" not in endless.wrong
    assert "DeleteTask" in endless.wrong


def test_capital_letters_in_a_list_of_maps_are_kept() -> None:
    text = replaced("{elsewhere: other}", "[{Elsewhere: other}]")
    assert inspect(text) == []


def test_a_name_with_capital_letters_is_lost_only_where_a_route_names_it() -> None:
    renamed = GOOD.replace("      other:\n", "      Other:\n").replace("{elsewhere: other}", "{elsewhere: Other}")
    (finding,) = inspect(renamed)
    assert (finding.name, finding.remedy) == ("lost-case", "write other in both places")
    assert inspect(renamed.replace("{elsewhere: Other}", "{}")) == []


def test_an_empty_list_of_task_types_stops_the_engine_unless_routes_name_one() -> None:
    empty = replaced("[snowflake, hive, webhook]", "[]")
    assert inspect(empty) == []
    (finding,) = inspect(empty.replace("{elsewhere: other}", "{}"))
    assert (finding.name, finding.severity) == ("no-task-types", Severity.ERROR)


def test_two_plugins_may_claim_a_type_where_one_is_chosen() -> None:
    text = replaced(
        "sidecar, connector-service]", "sidecar, athena, connector-service]\n    default-for-task-types: {hive: athena}"
    )
    assert inspect(text) == []
    (finding,) = inspect(text, agents=SERVED)
    assert (finding.name, finding.place.path) == ("routed-elsewhere", "tasks.task-plugins.default-for-task-types.hive")


def test_a_choice_of_a_disabled_plugin_or_of_a_type_in_capitals_is_wrong() -> None:
    chosen = "connector-service]\n    default-for-task-types: {Hive: connector-service, spark: spark}"
    found = inspect(replaced("connector-service]", chosen))
    assert names(found) == ["lost-case", "default-disabled"]


def test_both_plugins_enabled_is_a_warning_and_one_type_claimed_by_both_an_error() -> None:
    second = "\n  agent-service: {defaultAgent: {endpoint: dns:///agents:8000}, supportedTaskTypes: [snowflake]}"
    text = replaced("connector-service]", "connector-service, agent-service]").replace(
        "plugins:\n  c", f"plugins:{second}\n  c"
    )
    found = names(inspect(text))
    assert "both-plugins" in found
    assert "claimed-twice" in found
    assert "both-plugins" not in names(inspect(text.replace(", agent-service]", "]")))


class TestAgainstTheService:
    def test_types_that_are_not_listed_are_a_warning_in_flyte_1_and_unreachable_in_flyte_2(self) -> None:
        text = replaced("[snowflake, hive, webhook]", "[snowflake]")
        for flyte, severity in ((1, Severity.WARNING), (2, Severity.ERROR)):
            (found,) = [each for each in inspect(text, flyte=flyte, agents=SERVED) if each.name == "unrouted-type"]
            assert (found.severity, found.remedy) == (severity, "add hive, webhook")

    def test_types_that_it_does_not_serve_are_found_where_it_is_the_only_one(self) -> None:
        text = GOOD.replace("    connectorForTaskTypes: {elsewhere: other}\n", "").replace("hive, ", "hive, unheard, ")
        text = re.sub(r"    connectors:\n(      .*\n)+", "", text)
        (found,) = inspect(text, agents=SERVED)
        assert (found.name, "unheard" in found.wrong) == ("unserved-type", True)

    def test_a_sync_type_by_route_becomes_a_create(self) -> None:
        text = replaced("{elsewhere: other}", "{webhook: other}").replace("[snowflake, hive, webhook]", "[snowflake]")
        found = inspect(text, agents=SERVED[1:], service="other")
        assert names(found) == ["sync-by-route"]
        assert "sync-by-route" not in names(inspect(text, flyte=2, agents=SERVED[1:], service="other"))

    def test_several_versions_go_astray_for_a_named_service_alone(self) -> None:
        agents = [AgentInfo(name="a", task_types=[TaskType("elsewhere"), TaskType("elsewhere", 1)])]
        assert "several-versions" in names(inspect(GOOD, agents=agents, service="other"))
        assert "several-versions" not in names(inspect(GOOD, flyte=2, agents=agents, service="other"))
        assert "several-versions" not in names(inspect(GOOD, agents=agents))

    def test_a_type_that_a_route_sends_elsewhere_is_named(self) -> None:
        found = inspect(replaced("{elsewhere: other}", "{hive: other}"), agents=SERVED)
        assert names(found) == ["routed-elsewhere"]

    def test_a_name_that_the_configuration_does_not_have_is_an_error(self) -> None:
        assert names(inspect(GOOD, agents=SERVED, service="nobody")) == ["unknown-service"]


class TestFlyte2:
    def test_its_own_quirks_are_found(self) -> None:
        text = re.sub(r"    supportedTaskTypes.*\n", "", GOOD).replace(OTHER, "endpoint: k8s://other.flyte:8000")
        text = text.replace("qps: 50", "qps: 50.5")
        found = {each.name: each for each in inspect(text, flyte=2)}
        assert {"placeholder", "k8s-resolver", "whole-qps", "wrong-operation"} == set(found)
        assert found["k8s-resolver"].severity is Severity.ERROR
        assert "50 holds" in found["whole-qps"].effect

    def test_it_has_no_plugin_agent_service(self) -> None:
        found = inspect("plugins: {agent-service: {defaultAgent: {endpoint: dns:///a:1}}}", flyte=2)
        assert "no-such-plugin" in names(found)


def test_quotas_count_with_redis_alone() -> None:
    assert inspect(GOOD, live_jobs=1500) == []
    found = inspect(GOOD + "propeller: {resourcemanager: {type: redis}}\n", live_jobs=1500)
    assert names(found) == ["quota-too-low"] * 3


def test_several_refused_values_are_all_found_and_the_rest_is_checked_still() -> None:
    text = (
        replaced("burst: 100", "burst: 4").replace("workers: 20", "workers: 0").replace("ListConnectors", "ListAgents")
    )
    assert sorted(names(inspect(text))) == ["out-of-range", "out-of-range", "wrong-operation"]


def test_a_file_about_something_else_of_the_engine_has_no_section() -> None:
    (finding,) = inspect("plugins: {k8s: {}}")
    assert (finding.name, finding.severity) == ("no-section", Severity.ERROR)


def test_a_file_about_something_else_altogether_is_refused() -> None:
    for text in ("a: 1", "[]", "", "just text"):
        with pytest.raises(InvalidSettings, match="holds no configuration"):
            inspect(text)
    with pytest.raises(InvalidSettings, match="line 2, column"):
        inspect("plugins:\n  a: [")


def test_every_kind_of_finding_that_is_made_is_tried_here_and_told_in_the_document() -> None:
    folder = Path(outboard.engine.propeller.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    made = set(re.findall(r'(?:error|warning)\(\s*"([a-z0-9-]+)"', source)) | {"bad-address", "bad-service-config"}
    tried = Path(__file__).read_text(encoding="utf-8") + (Path(__file__).parent / "test_layouts.py").read_text(
        encoding="utf-8"
    )
    root = Path(__file__).resolve().parents[4]
    told = (root / "docs" / "flyte-config.md").read_text(encoding="utf-8")
    assert {each for each in made if f'"{each}"' not in tried} == set()
    assert {each for each in made if f"`{each}`" not in told} == set()
    assert len(made) > 35


_KEYS = st.sampled_from(
    ["defaultConnector", "connectors", "connectorForTaskTypes", "supportedTaskTypes", "webApi", "caching", "readRateLimiter",
     "qps", "resourceQuotas", "default", "timeouts", "CreateTask", "endpoint", "insecure", "defaultServiceConfig",
     "defaultTimeout", "pollInterval", "resourceConstraints", "ProjectScopeResourceConstraint", "Value",
     "connectorApps", "a", "B.c", ""]
)  # fmt: skip
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from(["1s", "dns:///a:1", "{}", '{"methodConfig": [{"retryPolicy": {"maxAttempts": "x"}}, 1]}', "a,b", "yes"])
)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=10
)


@given(_VALUES, _VALUES, st.sampled_from([1, 2]))
def test_no_content_brings_anything_but_findings(section: object, rest: object, flyte: int) -> None:
    document = {
        "plugins": {"connector-service": section, "agent-service": rest},
        "tasks": {"task-plugins": rest},
        "propeller": rest,
    }
    found = inspect(json.dumps(document), flyte=flyte, agents=SERVED, service="a", live_jobs=10)
    assert all(each.wrong and each.effect and each.remedy for each in found)


def test_the_good_configuration_is_yaml_as_others_read_it() -> None:
    assert yaml.safe_load(GOOD)["plugins"]["connector-service"]["connectors"]["other"]["insecure"] is True


def test_a_choice_of_plugin_is_compared_with_what_is_served_also_without_a_section() -> None:
    found = inspect("tasks: {task-plugins: {default-for-task-types: {snowflake: container}}}", agents=SERVED)
    assert {"no-section", "routed-elsewhere"} <= {each.name for each in found}


def test_a_password_in_an_address_is_not_repeated() -> None:
    found = inspect("plugins: {connector-service: {defaultConnector: {endpoint: 'https://me:hunter2@host:443'}}}")
    assert "bad-address" in {each.name for each in found}
    assert "hunter2" not in repr(found)
