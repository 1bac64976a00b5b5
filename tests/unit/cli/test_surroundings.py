"""Home, log lines and imports: what commands find around them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from outboard.errors import InvalidSettings
from outboard.local.home import home


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"OUTBOARD_HOME": "/data/ob", "XDG_STATE_HOME": "/state"}, Path("/data/ob")),
        ({"XDG_STATE_HOME": "/state"}, Path("/state/outboard")),
        ({"XDG_STATE_HOME": "not/absolute"}, Path("~/.local/state/outboard").expanduser()),
        ({}, Path("~/.local/state/outboard").expanduser()),
        ({"OUTBOARD_HOME": "here"}, Path("here").absolute()),
    ],
)
def test_home_is_the_users_own_and_not_the_working_directory(environment: dict[str, str], folder: Path) -> None:
    assert home(environment) == folder


def log_lines(code: str) -> list[dict[str, object]]:
    """Run code in a process of its own, since log settings are of the process, and return its log lines."""
    prelude = (
        "import logging, structlog; from outboard.cli.log_output import configure_logs;"
        "configure_logs(lambda text: text.replace('hunter2', '[redacted]'));"
    )
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_no_secret_gets_into_a_log_line_however_deep_it_stands() -> None:
    (line,) = log_lines("structlog.get_logger().info('it is hunter2', a={'b': ['hunter2', 3]})")
    assert (line["event"], line["a"], line["level"]) == ("it is [redacted]", {"b": ["[redacted]", 3]}, "info")


def test_what_other_libraries_log_comes_in_the_same_form_without_a_traceback() -> None:
    (line,) = log_lines(
        "\ntry:\n  1 / 0\nexcept ZeroDivisionError:\n  logging.getLogger('other').exception('hunter2 %s', 'fell')\n"
        "logging.getLogger('other').info('not shown')"
    )
    assert (line["event"], line["logger"], line["level"]) == ("[redacted] fell", "other", "error")
    assert line["cause"] == "ZeroDivisionError: division by zero"


def test_a_log_level_that_does_not_exist_is_refused() -> None:
    from outboard.cli.log_output import configure_logs

    before = logging.getLogger().handlers[:]
    with pytest.raises(InvalidSettings, match="choose one of debug, info, warning, error"):
        configure_logs(str, level="loud")
    assert logging.getLogger().handlers == before


def test_a_library_looks_missing_within_the_block_only() -> None:
    code = (
        "from outboard.cli.light_imports import without\n"
        "with without('colorsys'):\n"
        "  try:\n    import colorsys\n    print('there')\n"
        "  except ImportError:\n    print('missing')\n"
        "import colorsys; print(colorsys.rgb_to_hsv(0, 0, 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "missing\n(0.0, 0.0, 0)\n"
