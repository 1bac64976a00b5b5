from __future__ import annotations

from pathlib import Path

import pytest

from outboard.cli import main
from outboard.cli.entry import COMMANDS


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTBOARD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OUTBOARD_DEBUG", raising=False)
    (tmp_path / "bad.yaml").write_text("{type: echo", encoding="utf-8")
    (tmp_path / "typo.yaml").write_text("{type: echo, retires: 2}", encoding="utf-8")
    (tmp_path / "two.yaml").write_text("[{name: a, type: x}, {name: b, type: x}]", encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("run nowhere.yaml", 2, "there is no file nowhere.yaml"),
        ("run typo.yaml", 2, "typo.yaml is wrong: retires: there is no such key; did you mean 'retries'?"),
        ("run two.yaml --retries 1", 2, "holds 2 tasks, and options can be for one only"),
        ("run echo -i n", 2, "--input 'n' gives no value: write --input name=value"),
        ("run echo --endpoint http://x", 2, "is a web address: write host:port"),
        ("run echo --endpoint x:1 --engine-config bad.yaml", 2, "exclude each other"),
        ("run echo --engine-config bad.yaml", 2, "bad.yaml is no YAML"),
        ("run", 2, "missing argument"),
        ("jobs --journal bad.yaml", 4, "is no journal: move it away"),
        ("jobs nosuch", 2, "there is no run 'nosuch'"),
        ("logs nosuch", 2, "there is no task 'nosuch'"),
        ("resume nosuch", 2, "there is no run 'nosuch'"),
        ("cancel nosuch", 2, "there is no task 'nosuch'"),
        ("cancel", 2, "say what to cancel"),
        ("cancel --handle ???", 2, "--handle is no base64"),
        ("cancel --handle AAAA", 2, "name its task type with --type"),
        ("cancel --handle AAAA --type t:²", 2, "--type 't:²' is no task type: write name or name:1"),
        ("explain AAAA --type :1", 2, "--type ':1' is no task type: write name or name:1"),
        ("serve --settings typo.yaml", 2, "type: there is no such key"),
        ("serve --settings bad.yaml", 2, "neither YAML nor JSON"),
        ("serve --prot 1", 2, "no such option: --prot"),
        ("jops", 2, "no such command 'jops'; did you mean 'jobs'?"),
    ],
)
def test_whatever_is_wrong_is_one_sentence_and_a_code(
    capsys: pytest.CaptureFixture[str], arguments: str, code: int, words: str
) -> None:
    assert main(arguments.split()) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert words in err


def test_a_service_says_which_variables_are_none_of_its_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOARD_TEAM_COLOUR", "green")
    assert main(["serve", "--port", "70000"]) == 2
    assert "warning: variable OUTBOARD_TEAM_COLOUR is none of Outboard's settings" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_blamed_on_the_user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMMANDS, "jobs", "outboard.cli.printing")
    assert main(["jobs"]) == 70
    err = capsys.readouterr().err
    assert "a fault of Outboard itself" in err
    assert "Traceback" not in err


def test_debugging_shows_the_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOARD_DEBUG", "1")
    assert main(["run", "nowhere.yaml"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_the_journal_is_not_made_by_looking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--json"]) == 0
    assert main(["resume"]) == 0
    assert capsys.readouterr().out == '{\n  "runs": []\n}\n'
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["serve", "agents", "run", "jobs", "logs", "cancel", "resume", "demo"])
def test_the_help_of_every_command_has_examples(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main([name, "--help"]) == 0
    assert f"outboard {name}" in capsys.readouterr().out.split("Examples:")[1]


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("serve", "agents", "run", "jobs", "logs", "cancel", "resume", "demo"))
