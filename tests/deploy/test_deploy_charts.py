"""The chart and `outboard deploy`: what the tables of `make deploy-check` promise."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from deploy import charts
from deploy.tools import CHART, VALUES, programs
from outboard.cli import main
from outboard.deploying.charts import copy_chart, whole_chart
from outboard.deploying.rendering import as_text, render
from outboard.errors import InvalidSettings
from real_parts import tried
from tables.sections import assert_kept


@pytest.fixture(autouse=True)
def helm(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tried(programs)["4"]
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_all_engines_render_all_releases_alike() -> None:
    assert_kept(charts.linted_and_rendered())


@pytest.mark.parametrize("expression", list(charts.WRONG))
def test_wrong_values_are_refused_with_the_name_of_the_field(expression: str) -> None:
    for engine, folder in charts.engines().items():
        if engine != "Helm 3":  # which `make deploy-check` asks
            assert not list(charts.told_badly(charts.refusal(folder, expression), charts.WRONG[expression])), engine


def test_a_service_has_its_own_values_in_place_of_the_defaults(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "defaults: {platforms: [embedded], podLabels: {a: b}, disruptionBudget: {enabled: true}, ports: {metrics: 9090}}\n"
        "services: {one: {platforms: [], disruptionBudget: {enabled: false}, ports: {metrics: 0}}, two: {}}\n"
    )
    manifests = render(files=[values])
    budgets = [found.name for found in manifests if found.kind == "PodDisruptionBudget"]
    one, two = (found.document["spec"]["template"] for found in manifests if found.kind == "Deployment")
    assert budgets == ["outboard-two"]
    assert [port["name"] for port in one["spec"]["containers"][0]["ports"]] == ["grpc", "admin"]
    assert "--platforms=embedded" not in one["spec"]["containers"][0]["args"]
    assert "--platforms=embedded" in two["spec"]["containers"][0]["args"]
    assert one["metadata"]["labels"]["a"] == "b"


def test_later_files_win_and_single_values_over_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("defaults: {replicas: 1, logLevel: debug, installation: one}\n")
    two.write_text("defaults: {replicas: 2, logLevel: error}\n")
    for engine, folder in charts.engines().items():
        text = charts.rendered(folder, [one, two], "defaults.replicas=3")
        said = [words for words in ("replicas: 3", "--log-level=error", "installation: one") if words in text]
        assert len(said) == 3, f"{engine}: only {said}"


def test_the_library_says_that_it_reads_no_indices() -> None:
    pytest.importorskip("helm_python")
    with pytest.raises(InvalidSettings, match=r"an index needs the helm program; write a file for --values"):
        charts.rendered(None, [], "defaults.env[0].name=a")


def test_names_that_yaml_takes_for_something_else_stay_names(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("services: {'on': {serviceKeys: {secret: '123'}}}\n")
    manifests = render(files=[values], name="n", namespace="123")
    [deployment] = [found.document for found in manifests if found.kind == "Deployment"]
    assert deployment["metadata"]["namespace"] == "123"
    assert deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] == "on"
    assert deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "n"


def test_render_prints_what_helm_would(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "deploy",
                "render",
                "--namespace",
                "flyte",
                "--values",
                str(VALUES / "flyte1.yaml"),
                "--set",
                "defaults.replicas=7",
            ]
        )
        == 0
    )
    documents = [each for each in yaml.safe_load_all(capfd.readouterr().out) if each]
    [deployment] = [each for each in documents if each["kind"] == "Deployment"]
    assert deployment["spec"]["replicas"] == 7
    assert {each["metadata"]["namespace"] for each in documents} == {"flyte"}


def test_render_writes_a_file_per_object(tmp_path: Path) -> None:
    assert (
        main(
            ["deploy", "render", "--values", str(VALUES / "two_services_mtls.yaml"), "--output", str(tmp_path / "out")]
        )
        == 0
    )
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 18
    assert "16-deployment-agents-production.yaml" in names
    assert (
        next(name for name in names if "-role-" in name)
        == "08-role-flytesnacks-production-agents-production-secrets.yaml"
    )


def test_files_that_are_not_there_are_named() -> None:
    for folder in charts.engines().values():
        with pytest.raises(InvalidSettings, match=r"nowhere\.yaml"):
            charts.rendered(folder, [Path("nowhere.yaml")])


@pytest.mark.parametrize("what", ["render", "chart"])
def test_folders_that_cannot_be_written_are_named(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["deploy", what, "--output", str(tmp_path / "file" / "out")]) == 2
    assert "out" in (said := capfd.readouterr().err)
    assert "cannot be written (Not a directory): name another folder" in said


@pytest.mark.parametrize(
    ("names", "job"),
    [
        ([], "outboard"),
        (["services.production.replicas=1"], "outboard-production"),
        (["fullnameOverride=agents", "nameOverride=agents"], "outboard-agents"),
    ],
)
def test_alerts_look_at_the_job_of_a_service_however_it_is_called(names: list[str], job: str) -> None:
    manifests = render(sets=[*names, "defaults.serviceMonitor.enabled=true", "prometheusRule.enabled=true"])
    [monitor] = [found.document for found in manifests if found.kind == "ServiceMonitor"]
    [rules] = [found.text for found in manifests if found.kind == "PrometheusRule"]
    looked_at = set(re.findall(r'job=~"([^"]+)"', rules))
    assert monitor["spec"]["endpoints"][0]["relabelings"] == [{"targetLabel": "job", "replacement": job}]
    assert looked_at
    assert all(re.fullmatch(pattern, job) for pattern in looked_at)


def test_values_are_the_charts_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "values"]) == 0
    assert yaml.safe_load(capfd.readouterr().out) == yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_chart_can_be_written_out_once(tmp_path: Path) -> None:
    assert main(["deploy", "chart", "--output", str(tmp_path)]) == 0
    written = {path.relative_to(tmp_path / "outboard") for path in (tmp_path / "outboard").rglob("*")}
    assert written == {path.relative_to(CHART) for path in CHART.rglob("*")}
    with pytest.raises(InvalidSettings, match="exists already"):
        copy_chart(tmp_path)


def test_values_that_render_no_yaml_are_told_with_their_template(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("extraManifests: ['a: [']\n")
    with pytest.raises(InvalidSettings, match=r"extra\.yaml"):
        render(files=[values])


def test_a_document_of_comments_is_none(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("extraManifests: ['# nothing yet']\n")
    assert as_text(render(files=[values])) == as_text(render())


def test_a_helm_that_cannot_be_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helm").write_bytes(b"\x7fELF")
    (tmp_path / "helm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidSettings, match=r"helm did not render the chart \(OSError\)"):
        render()


def test_a_chart_with_links_is_rendered_like_one_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = copy_chart(tmp_path / "whole")
    linked = copy_chart(tmp_path / "linked")
    (tmp_path / "values.yaml").write_bytes((linked / "values.yaml").read_bytes())
    (linked / "values.yaml").unlink()
    (linked / "values.yaml").symlink_to(tmp_path / "values.yaml")
    texts = []
    for folder in (whole, linked):
        monkeypatch.setattr("outboard.deploying.charts.chart", lambda folder=folder: folder)
        texts.append(as_text(render()))
    assert texts[0] == texts[1]
    with whole_chart() as folder:
        assert not [path for path in folder.rglob("*") if path.is_symlink()]


def test_rules_and_dashboard_that_are_not_in_the_chart_are_missed_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = copy_chart(tmp_path)
    shutil.rmtree(bare / "files", ignore_errors=True)
    monkeypatch.setattr("outboard.deploying.charts.chart", lambda: bare)
    for value, file in (("prometheusRule", "alerts.yaml"), ("dashboard", "dashboard.json")):
        with pytest.raises(InvalidSettings, match=rf"{value}\.enabled: this chart holds no files/{file}"):
            render(sets=[f"{value}.enabled=true"])


def test_an_extra_manifest_that_is_no_object_is_refused(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("extraManifests: ['just words']\n")
    with pytest.raises(InvalidSettings, match=r"extra\.yaml"):
        render(files=[values])


@pytest.mark.parametrize(
    ("values", "said", "unsaid"),
    [
        (
            "",
            ["flyte-config --endpoint", "plain text", "serviceKeys.secret is not set", "installation is not set"],
            ["policy is off"],
        ),
        ("{tls: {enabled: true, secret: a}}", ["flyte-config --tls --endpoint"], ["plain text"]),
        (
            "{tls: {enabled: true, secret: a, clientCA: {secret: b}}, test: {enabled: false}}",
            ["certificates of tls.clientCA"],
            ["flyte-config"],
        ),
        ("{networkPolicy: {enabled: false}}", ["every pod of this cluster reaches it, and may call it."], []),
        (
            "{networkPolicy: {enabled: false}, access: {callers: {a: {token_file: /x}}}, test: {enabled: false}}",
            ["every pod of this cluster reaches it."],
            ["may call it"],
        ),
        ("{envFrom: [{secretRef: {name: keys}}], installation: acme}", [], ["serviceKeys", "installation"]),
    ],
)
def test_after_an_installation_helm_says_what_is_open(values: str, said: list[str], unsaid: list[str]) -> None:
    notes = charts.notes(f"defaults: {values or '{}'}")
    assert notes.startswith("outboard answers at dns:///outboard-headless.flyte.svc.cluster.local:8000\n")
    assert not [words for words in said if words not in notes], notes
    assert not [words for words in unsaid if words in notes], notes


def test_without_an_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(__import__("sys").modules, "helm_python", None)
    with pytest.raises(InvalidSettings, match=r"install helm, or `pip install 'outboard\[deploy\]'`"):
        render()


def test_values_belong_to_render(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "values", "--set", "a=b"]) != 0
    assert "--set" in capfd.readouterr().err
