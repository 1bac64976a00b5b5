"""The chart and `outboard deploy`: what the tables of `make deploy-check` promise."""

from __future__ import annotations

import os
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
    assert charts.WRONG[expression] in charts.refusal(programs()["4"], expression)


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


def test_without_an_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(__import__("sys").modules, "helm_python", None)
    with pytest.raises(InvalidSettings, match=r"install helm, or `pip install 'outboard\[deploy\]'`"):
        render()


def test_values_belong_to_render(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "values", "--set", "a=b"]) != 0
    assert "--set" in capfd.readouterr().err
