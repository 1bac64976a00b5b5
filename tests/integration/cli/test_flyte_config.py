from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration.cli.shells import Shell


def write(shell: Shell, text: str) -> str:
    path = shell.folder / "engine.yaml"
    path.write_text(text, encoding="utf-8")
    return path.name


@pytest.mark.parametrize("flyte", ["1", "2", "agent-service"])
def test_what_a_service_gets_printed_passes_the_check_against_the_same_service(shell: Shell, flyte: str) -> None:
    process, address = shell.serve()
    printed = shell.run(
        "flyte-config", "--endpoint", address, "--address", "agents.flyte:8000", "--flyte", flyte, "--live-jobs", "5000"
    )
    assert (printed.code, printed.err) == (0, "")
    assert 'endpoint: "dns:///agents.flyte:8000"' in printed.out
    assert '- "gate"' in printed.out
    check = ("flyte-config", "--check", write(shell, printed.out), "--endpoint", address, "--flyte", flyte, "--strict")
    checked = shell.run(*check, "--live-jobs", "5000")
    assert (checked.code, checked.out) == (0, "")
    assert "nothing is wrong" in checked.err
    process.terminate()


def test_an_error_ends_with_1_and_a_warning_does_so_only_where_it_is_to(shell: Shell) -> None:
    shell.environment.pop("OUTBOARD_AGENTS")
    section = "plugins: {connector-service: {supportedTaskTypes: [a], defaultConnector: {endpoint: 'dns:///a:1'%s}}}"
    wrong = shell.run("flyte-config", "--check", write(shell, section % ", defaultTimeout: 10"))
    assert wrong.code == 1
    assert wrong.out.startswith("engine.yaml:1: error: ") or "engine.yaml:1: error: " in wrong.out
    assert "[bare-duration]" in wrong.out
    warned = ("flyte-config", "--check", write(shell, section % ""))
    assert shell.run(*warned).code == 0
    assert shell.run(*warned, "--strict").code == 1


def test_findings_are_one_json_document(shell: Shell) -> None:
    shell.environment.pop("OUTBOARD_AGENTS")
    done = shell.run("flyte-config", "--check", write(shell, "plugins: {k8s: {}}"), "--json")
    (finding,) = json.loads(done.out)["findings"]
    assert (done.code, done.err, finding["name"], finding["severity"]) == (1, "", "no-section", "error")
    assert set(finding) == {"name", "severity", "file", "line", "path", "wrong", "effect", "remedy"}


def test_all_three_engines_are_three_documents(shell: Shell) -> None:
    done = shell.run("flyte-config", "--flyte", "all", "--platforms", "")
    assert done.code == 0
    assert done.out.count("\n---\n") == 2
    assert "--address is not given" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--check", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--check", "other.yaml"], "holds no configuration of Flyte's engine"),
        (["--check", "other.yaml", "--flyte", "all"], "say which Flyte"),
        (["--flyte", "2", "--format", "helm-core"], "--format helm"),
        (["--name", "Capital"], "lower case"),
        (["--live-jobs", "600000"], "1 to 500000"),
        (["--live-jobs", "0"], "1 to 500000"),
        (["--address", "https://a"], "web address"),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_2(shell: Shell, arguments: list[str], words: str) -> None:
    Path(shell.folder / "other.yaml").write_text("a: 1", encoding="utf-8")
    done = shell.run("flyte-config", "--platforms", "", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_a_service_that_is_away_is_3(shell: Shell) -> None:
    assert shell.run("flyte-config", "--endpoint", "127.0.0.1:1").code == 3
