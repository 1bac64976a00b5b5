"""`outboard doctor` as operators type it: real processes, broken settings of each kind, a real service over a socket."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from integration.cli.shells import Done, Shell
from outboard.cli import main
from outboard.cli.exits import Exit
from outboard.local.checkup.checkup import HERE

CANARY = "canary-5e1f0a2b3c4d"


def findings(done: Done) -> list[dict[str, Any]]:
    document = json.loads(done.out)
    assert document["version"] == 1
    listed: list[dict[str, Any]] = document["findings"]
    return listed


def test_an_installation_is_told_in_a_line_each(shell: Shell) -> None:
    done = shell.run("doctor")
    assert done.code == Exit.SUCCESS, done.out + done.err
    lines = done.out.splitlines()
    assert {line.split()[1] for line in lines} == set(HERE)
    assert {line.split()[0] for line in lines} <= {"ok", "warning", "skipped"}
    assert "2 warning" in done.err
    assert shell.run("doctor", "--strict").code == Exit.FAILED


@pytest.mark.parametrize(
    ("yaml", "check", "words", "code"),
    [
        ("host: [", "settings", "neither YAML nor JSON", Exit.USAGE),
        ("hots: {}", "settings", "did you mean 'host'", Exit.USAGE),
        ("host: {installatoin: x}", "settings", "did you mean 'installation'", Exit.USAGE),
        ("host: {service_keys: [short]}", "settings", "32 bytes", Exit.USAGE),
        ("host: {status_limit: soon}", "settings", "host.status_limit", Exit.USAGE),
        ("service: {port: 70000}", "settings", "service.port", Exit.USAGE),
        ("engine: {max_live: 0}", "settings", "engine.max_live", Exit.USAGE),
        ("platforms: {databricks: {defualt_instance: x}}", "agents", "default_instance", Exit.FAILED),
        ("host: {records: 'ftp://x/y'}", "records", "not supported", Exit.FAILED),
        ("host: {replicas_dns: nobody.invalid}", "quotas", "cannot be resolved", Exit.FAILED),
        ("service: {host: 203.0.113.9}", "ports", "cannot be listened on", Exit.USAGE),
    ],
    ids=lambda value: str(value)[:40],
)
def test_broken_settings_of_each_kind_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    yaml: str,
    check: str,
    words: str,
    code: Exit,
) -> None:
    monkeypatch.setenv("OUTBOARD_HOME", str(tmp_path))
    (tmp_path / "broken.yaml").write_text(yaml, encoding="utf-8")
    ended = main(["doctor", "--settings", str(tmp_path / "broken.yaml"), "--only", check, "--json"])
    told = capsys.readouterr()
    assert ended == code, told
    wrong = [each for each in json.loads(told.out)["findings"] if each["mark"] == "problem"]
    assert any(words in each["found"] for each in wrong), wrong
    assert all(each["remedy"] for each in wrong)


def test_all_that_is_wrong_shows_at_once(shell: Shell) -> None:
    text = "host: {status_limit: soon}\nservice: {port: 70000}\nplatforms: {bigqery: {}}\n"
    (shell.folder / "broken.yaml").write_text(text, encoding="utf-8")
    listed = findings(shell.run("doctor", "--settings", "broken.yaml", "--json"))
    told = " ".join(each["found"] + each["remedy"] for each in listed if each["check"] == "settings")
    assert "host.status_limit" in told
    assert "service.port" in told
    assert "did you mean 'bigquery'" in told
    assert any(each["check"] == "platforms" and each["mark"] == "skipped" for each in listed)


def test_a_platform_out_of_reach_is_told_and_no_secret_is(shell: Shell) -> None:
    settings = {
        "host": {"installation": "prod"},
        "platforms": {
            "databricks": {
                "default_instance": "x.cloud.databricks.com",
                "workspaces": {"x.cloud.databricks.com": {"url": "http://127.0.0.1:9"}},
            }
        },
    }
    (shell.folder / "prod.yaml").write_text(json.dumps(settings), encoding="utf-8")
    arguments = ("doctor", "--settings", "prod.yaml", "--platforms", "databricks", "--limit", "5")
    missing = shell.run(*arguments)
    assert missing.code == Exit.SUCCESS, "projects may have their own"
    assert missing.out.count("name one with --project") == 1
    missing = shell.run(*arguments, "--project", "shop")
    assert missing.code == Exit.USAGE, missing.out
    assert "_FSEC_SHOP_FLYTE_DATABRICKS_ACCESS_TOKEN" in missing.out
    assert "_FSEC_FLYTE_DATABRICKS_ACCESS_TOKEN" in missing.out
    lost = shell.run(*arguments, "--json", _FSEC_FLYTE_DATABRICKS_ACCESS_TOKEN=CANARY)
    assert lost.code == Exit.UNREACHABLE, lost.out
    assert "ok" in [each["mark"] for each in findings(lost) if each["check"] == "secrets"]
    (problem,) = [each for each in findings(lost) if each["mark"] == "problem"]
    assert (problem["check"], problem["error"]) == ("platforms", "Unavailable")
    assert CANARY not in lost.out + lost.err


def test_nothing_hangs(shell: Shell) -> None:
    shell.environment["OUTBOARD_AGENTS"] = "hanging_platform:Hanging"
    began = time.monotonic()
    done = shell.run("doctor", "--platforms", "", "--limit", "0.5", "--json")
    assert time.monotonic() - began < 30, "a thread that hangs holds nobody up"
    assert done.code == Exit.UNREACHABLE, done.out + done.err
    (hanging,) = [each for each in findings(done) if each["check"] == "platforms"]
    assert "did not answer within 0.5 s" in hanging["found"]


def test_a_running_service_is_asked(shell: Shell) -> None:
    process, address = shell.serve()
    done = shell.run("doctor", "--endpoint", address, "--json")
    assert done.code == Exit.SUCCESS, done.out + done.err
    about = {each["about"]: each for each in findings(done) if each["check"] == "service"}
    assert about["agents"]["mark"] == "ok"
    assert "gate" in about["agents"]["found"]
    assert about["health"]["found"].startswith("SERVING")
    assert "flyteidl.service.AsyncAgentService" in about["reflection"]["found"]
    assert about["latency"]["seconds"] > 0
    process.kill()
    process.communicate()
    gone = shell.run("doctor", "--endpoint", address, "--limit", "5")
    assert gone.code == Exit.UNREACHABLE, gone.out


def test_a_service_with_certificates_is_asked_as_its_clients_ask(shell: Shell) -> None:
    authority = trustme.CA()
    issued, own = authority.issue_cert("localhost", "127.0.0.1"), authority.issue_cert("operator")
    issued.private_key_and_cert_chain_pem.write_to_path(shell.folder / "service.pem")
    own.private_key_and_cert_chain_pem.write_to_path(shell.folder / "own.pem")
    authority.cert_pem.write_to_path(shell.folder / "ca.crt")
    for name, file in (("CERTIFICATE", "service.pem"), ("KEY", "service.pem"), ("CLIENT_CA", "ca.crt")):
        shell.environment[f"OUTBOARD_LISTEN_TLS_{name}"] = str(shell.folder / file)
    _, address = shell.serve()
    shown = ("--tls-certificate", "own.pem", "--tls-key", "own.pem")
    done = shell.run("doctor", "--endpoint", address, "--tls-ca", "ca.crt", *shown)
    assert done.code == Exit.SUCCESS, done.out + done.err
    without = shell.run("doctor", "--endpoint", address, "--tls-ca", "ca.crt", "--limit", "5")
    assert without.code == Exit.UNREACHABLE, without.out
    (shell.folder / "client.yaml").write_text(
        "client: {ca: ca.crt, certificate: own.pem, key: own.pem}\n", encoding="utf-8"
    )
    by_file = shell.run("doctor", "--endpoint", address, "--settings", "client.yaml")
    assert by_file.code == Exit.SUCCESS, by_file.out + by_file.err


def test_a_handle_of_another_service_is_read(shell: Shell, gate: Any) -> None:
    shell.start(*gate())
    wait_until(lambda: '"handle": "' in shell.run("jobs", "--json").out)
    (task,) = json.loads(shell.run("jobs", "--json").out)["runs"][0]["tasks"]
    (shell.folder / "handle").write_text(task["handle"], encoding="utf-8")
    done = shell.run("doctor", "--only", "handles", "--handle", "handle", "--json")
    (given,) = [each for each in findings(done) if each["about"] == "given"]
    assert given["mark"] == "ok", given
    assert "gate" in given["found"]


def test_a_name_of_a_check_that_is_none_is_refused(shell: Shell) -> None:
    done = shell.run("doctor", "--only", "everything")
    assert done.code == Exit.USAGE
    assert "known: settings" in done.err
    of_a_service = shell.run("doctor", "--endpoint", "localhost:9", "--only", "secrets")
    assert of_a_service.code == Exit.USAGE
    assert "known: service" in of_a_service.err


def wait_until(is_so: Any) -> None:
    for _ in range(100):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


def test_a_missing_handle_file_is_refused(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("doctor", "--handle", str(tmp_path / "gone"))
    assert done.code == Exit.USAGE
    assert "no such file" in done.err
