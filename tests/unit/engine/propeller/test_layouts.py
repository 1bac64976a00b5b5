from __future__ import annotations

import textwrap

import pytest

from outboard.engine.propeller.inspection import inspect_engine
from outboard.engine.propeller.layouts import EngineFiles, read_engine_files
from outboard.errors import InvalidSettings

SECTION = """
connector-service:
  defaultConnector: {endpoint: "k8s://flyteconnector.flyte:8000", insecure: true, timeouts: {ListAgents: 3s}}
"""


def read(*texts: str, flyte: int | None = None) -> EngineFiles:
    return read_engine_files([(f"{number}.yaml", text) for number, text in enumerate(texts)], generation=flyte)


def found(files: EngineFiles) -> dict[str, tuple[str, int]]:
    return {each.name: (each.place.file, each.place.line) for each in inspect_engine(files)}


def test_the_texts_of_a_configmap_are_one_configuration_with_the_lines_of_the_file() -> None:
    text = """\
apiVersion: v1
kind: ConfigMap
data:
  plugins.yaml: |
    plugins:
      connector-service:
        defaultConnector:
          endpoint: dns:///agents:8000
          timeouts:
            - ListAgents: 3s
  enabled_plugins.yaml: |
    tasks: {task-plugins: {enabled-plugins: [container]}}
  notes: just a text
"""
    places = found(read(text))
    assert places["wrong-operation"] == ("0.yaml", 10)
    assert places["plugin-disabled"] == ("0.yaml", 12)


def test_a_list_of_manifests_and_several_documents_are_read_too() -> None:
    manifest = "{apiVersion: v1, kind: Secret, stringData: {a.yaml: 'plugins: {connector-service: {pollInterval: 1}}'}}"
    assert "bare-duration" in found(read(f"apiVersion: v1\nkind: List\nitems: [{manifest}]\n"))
    assert "bare-duration" in found(read(f"{manifest}\n---\n{{apiVersion: v1, kind: Pod}}\n"))


def values_of_flyte_binary(enabled: str) -> str:
    return f"""
configuration:
  connectorService:
    defaultConnector: {{endpoint: "k8s://flyteconnector.flyte:8000", insecure: true, timeouts: {{GetTask: 10s, ListAgents: 3s}}}}
flyteconnector: {{enabled: {enabled}}}
enabled_plugins:
  tasks: {{task-plugins: {{enabled-plugins: [container, sidecar, k8s-array, connector-service, echo]}}}}
"""


def test_the_values_that_flyte_1_ships_have_the_faults_they_are_known_for() -> None:
    shipped = found(read(values_of_flyte_binary("false")))
    assert set(shipped) == {
        "not-rendered", "k8s-resolver", "wrong-operation", "timeouts-as-map", "no-retry", "polling-given-up",
    }  # fmt: skip
    assert "not-rendered" not in found(read(values_of_flyte_binary("yes")))


def test_the_values_that_flyte_2_ships_reach_nobody() -> None:
    text = values_of_flyte_binary("true") + "flyte-core-components: {runs: {}}\n"
    files = read(text)
    assert files.generation == 2
    severities = {each.name: each.severity.value for each in inspect_engine(files)}
    assert severities["not-rendered"] == severities["k8s-resolver"] == severities["placeholder"] == "error"


def test_inline_configuration_goes_over_the_charts_own() -> None:
    text = values_of_flyte_binary("true").replace(
        "configuration:",
        "configuration:\n  inline: {plugins: {Connector-Service: {defaultConnector: {endpoint: 'dns:///a:1'}}}}",
    )
    files = read(text)
    assert "k8s-resolver" not in found(files)
    endpoint = files.root.get("plugins", "connector-service", "defaultconnector", "ENDPOINT")
    assert endpoint is not None
    assert (endpoint.scalar, endpoint.place.path.lower()) == (
        "dns:///a:1", "plugins.connector-service.defaultconnector.endpoint",
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "flyte:\n"])
def test_the_values_of_flyte_core_are_many_files(prefix: str) -> None:
    text = """
flyteconnector:
  enabled: false
  plugin_config: {plugins: {connector-service: {defaultConnector: {endpoint: "dns:///a:1"}, supportedTaskTypes: []}}}
configmap:
  core: {propeller: {max-workflow-retries: 2}}
  enabled_plugins: {tasks: {task-plugins: {enabled-plugins: [container]}}}
"""
    text = prefix + (textwrap.indent(text, "  ") if prefix else text)
    places = found(read(text))
    assert {"not-rendered", "no-task-types", "few-workflow-retries", "plugin-disabled"} <= set(places)


def test_a_list_over_a_map_is_dropped_by_flyte_and_found() -> None:
    first = "plugins: {connector-service: {defaultConnector: {endpoint: 'dns:///a:1', timeouts: {GetTask: 10s}}}}"
    second = "plugins: {connector-service: {defaultConnector: {timeouts: [{GetTask: 7s}]}}}"
    places = found(read(first, second))
    assert places["shapes-differ"] == ("1.yaml", 1)
    assert places["timeouts-as-map"] == ("0.yaml", 1)
    assert "shapes-differ" not in found(read(second, second))


def test_later_files_win_key_by_key() -> None:
    root = read("plugins: {a: {x: 1, y: [1]}}", "Plugins: {A: {X: 2, y: [3]}, b: null}").root
    assert root.plain() == {"plugins": {"a": {"x": 2, "y": [3]}, "b": None}}


def test_booleans_are_those_of_go_in_the_engines_own_files_and_those_of_helm_in_values() -> None:
    plain = read("plugins: {connector-service: {connectors: {a: {insecure: on}}}}")
    helm = read("configuration: {inline: {plugins: {connector-service: {connectors: {a: {insecure: on}}}}}}")
    assert [
        files.root.plain()["plugins"]["connector-service"]["connectors"]["a"]["insecure"] for files in (plain, helm)
    ] == [
        "on",
        True,
    ]


def test_anchors_and_merge_keys_are_followed() -> None:
    text = (
        "x: &x {defaultConnector: {endpoint: 'dns:///a:1'}}\nplugins: {connector-service: {<<: *x, pollInterval: 3s}}\n"
    )
    section = read(text).root.get("plugins", "connector-service")
    assert section is not None
    assert section.plain() == {"defaultConnector": {"endpoint": "dns:///a:1"}, "pollInterval": "3s"}


def test_an_escaped_character_of_two_halves_is_one_and_half_a_one_is_no_text() -> None:
    root = read('{"plugins": {"a": "\\ud83d\\ude80"}}').root
    assert root.plain() == {"plugins": {"a": "\U0001f680"}}
    with pytest.raises(InvalidSettings, match="odd values"):
        read('{"plugins": {"a": "\\ud83d"}}')


def test_a_character_that_yaml_forbids_is_an_error_of_the_file() -> None:
    with pytest.raises(InvalidSettings, match=r"0\.yaml is no YAML"):
        read("plugins: \0")


def test_aliases_that_stand_for_millions_of_values_are_refused_without_unfolding_them() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 22))]
    with pytest.raises(InvalidSettings, match="aliases"):
        read("\n".join([*lines, "plugins: {connector-service: {supportedTaskTypes: *a21}}"]))
