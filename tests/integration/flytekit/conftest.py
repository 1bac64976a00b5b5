"""A home, a journal and a platform of its own for every test that runs flytekit's tasks in this process."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.flytekit import running_tasks
from outboard.testing.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    from outboard.flytekit.running.shared_engine import close_engine

    for name in [each for each in os.environ if each.startswith("OUTBOARD_")]:
        monkeypatch.delenv(name)
    settings = tmp_path / "settings.yaml"
    settings.write_text("engine: {retry_pause: 0.01, cancel_wait: 60}", encoding="utf-8")
    monkeypatch.setenv("OUTBOARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OUTBOARD_SETTINGS", str(settings))
    monkeypatch.setenv("OUTBOARD_AGENTS", running_tasks.AGENTS)
    yield running_tasks.begin_anew()
    close_engine()
    gc.collect()  # what flytekit leaves to it, while the test's filter for that is in force
