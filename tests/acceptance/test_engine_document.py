"""What docs/engine.md shows works as it is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from outboard import errors
from outboard.engine import EngineSettings
from outboard.engine.propeller.config import parse_propeller_config

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "engine.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_examples_run_as_pasted_one_after_the_other(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    shown = blocks("python")
    assert len(shown) == 2
    (tmp_path / "pasted.py").write_text("".join(shown), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "pasted.py"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("SUCCEEDED")]
    assert (done.returncode, len(said)) == (0, 2), done.stderr
    assert said[0].startswith("SUCCEEDED 1000 ")
    assert (tmp_path / "journal.db").exists()
    assert len(list((tmp_path / "runs").glob("*/*/0/squares*"))) == 1


def test_the_configuration_shown_is_read_without_a_warning() -> None:
    (shown,) = blocks("yaml")
    config = parse_propeller_config(shown)
    assert config.routes == {"snowflake": "warehouse"}
    assert config.warnings == ()
    assert config.addresses["warehouse"].timeout("CreateTask") == timedelta(seconds=30)


def test_every_setting_is_told_and_every_error_named_exists() -> None:
    told = set(re.findall(r"`(\w+)`", TEXT))
    assert set(EngineSettings.model_fields) - told == set()
    row = re.compile(r"^\| CreateTask: (.*?) \|", re.MULTILINE)
    named = {name for cell in row.findall(TEXT) for name in re.findall(r"`(\w+)`", cell)}
    assert len(named) > 10
    assert all(issubclass(getattr(errors, name), errors.OutboardError) for name in named)
