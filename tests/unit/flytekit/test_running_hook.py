"""The hook and the settings: cheap, harmless, and by the names that the command line knows."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from flytekit.extend.backend import base_connector

from outboard.errors import InvalidSettings
from outboard.flytekit.running import hook
from outboard.flytekit.running.settings import read_settings
from outboard.flytekit.running.waiting import _Screen
from outboard.local.targets import kept_target


def test_flytekit_finds_the_hook_by_its_own_entry_points() -> None:
    (point,) = [each for each in entry_points(group="flytekit.plugins") if each.name == "outboard"]
    assert point.load() is hook


def test_a_flytekit_without_the_mixins_is_imported_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(base_connector, "SyncConnectorExecutorMixin")
    with pytest.raises(AttributeError):
        hook.install()
    importlib.reload(hook)


def test_importing_flytekit_imports_neither_our_engine_nor_our_agents() -> None:
    code = "import flytekit, sys; print(*sorted(name for name in sys.modules if name.startswith('outboard.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "outboard._version",
        "outboard.flytekit",
        "outboard.flytekit.running",
        "outboard.flytekit.running.hook",
    ]


@pytest.mark.parametrize("said", ["off", "OFF", "false", "0", "no"])
def test_off_goes_straight_to_flytekits_own(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTBOARD_FLYTEKIT", said)
    execute = hook._standing_in_for(lambda self, **inputs: (self, inputs))
    assert execute("task", n=1) == ("task", {"n": 1})


def test_the_variables_are_those_of_the_command_line(tmp_path: Path) -> None:
    settings = read_settings(
        {
            "OUTBOARD_ENDPOINT": "agents.example:8000",
            "OUTBOARD_AGENTS": "mine:One,mine:Two other:Three",
            "OUTBOARD_PLATFORMS": "embedded",
            "OUTBOARD_INSTALLATION": "here",
            "OUTBOARD_JOURNAL": str(tmp_path / "j.db"),
            "OUTBOARD_OUTPUT_BASE": "s3://bucket/base",
            "OUTBOARD_FLYTEKIT_HOSTED": "on",
        }
    )
    assert settings.target.endpoint == "agents.example:8000"
    assert settings.target.choice.modules == ["mine:One", "mine:Two", "other:Three"]
    assert settings.target.choice.platforms == ["embedded"]
    assert settings.engine.output_base == "s3://bucket/base"
    assert settings.has_own_base
    assert settings.journal == tmp_path / "j.db"
    assert not settings.is_quiet
    assert settings.target.choice.flytekit is not None
    assert kept_target(settings.target)["flytekit"] == dict(settings.target.choice.flytekit)


def test_a_settings_file_that_is_not_there_is_said() -> None:
    with pytest.raises(InvalidSettings, match=r"no file nowhere\.yaml"):
        read_settings({"OUTBOARD_SETTINGS": "nowhere.yaml"})


def test_threads_that_wait_at_once_share_one_view() -> None:
    screen = _Screen()
    views = []
    both = threading.Barrier(2)

    def look() -> None:
        with screen.shown(is_quiet=True) as view:
            both.wait(10)
            views.append(view._view)
            both.wait(10)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert views[0] is views[1]
    with screen.shown(is_quiet=True) as later:
        assert later._view is not views[0]
