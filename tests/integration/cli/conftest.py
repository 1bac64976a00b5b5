"""The command line as a user has it: a home of its own, and a platform whose jobs are files."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.cli.shells import Shell

_HERE = Path(__file__).parent


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOARD_")}
    environment.update(
        OUTBOARD_HOME=str(tmp_path / "home"),
        OUTBOARD_AGENTS="folder_platform:Folders",
        PYTHONPATH=str(_HERE),
        PYTHONUNBUFFERED="1",
    )
    shell = Shell(tmp_path, environment, [])
    yield shell
    for process in shell.started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.fixture
def gates(tmp_path: Path) -> Path:
    """The folder of the jobs."""
    folder = tmp_path / "gates"
    folder.mkdir()
    return folder


@pytest.fixture
def gate(gates: Path) -> Callable[..., list[str]]:
    """The arguments that run a job which waits for its gate."""

    def arguments(*more: str, name: str = "job") -> list[str]:
        outputs = ("--output", "rows=int", "--output", "table=dataset(parquet)")
        return ["run", "gate", "--name", name, "-c", f"folder={gates}", *outputs, *more]

    return arguments
