"""What the documents show works as it is shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def run_outboard(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OUTBOARD_HOME": str(home / "state"), "PYTHONPATH": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "outboard", *arguments],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_readmes_agent_runs_as_the_readme_says(tmp_path: Path) -> None:
    (block,) = python_blocks("README.md")
    assert len([line for line in block.splitlines() if line.strip()]) <= 30
    (tmp_path / "naps.py").write_text(block, encoding="utf-8")
    done = run_outboard(tmp_path, "run", "nap", "--config", "seconds=0.1", "--agents", "naps:Naps", "--json")
    assert done.returncode == 0, done.stderr
    assert '"SUCCEEDED"' in done.stdout


@pytest.mark.parametrize("document", ["docs/write-an-agent.md"])
def test_the_guides_platform_can_be_loaded(document: str, tmp_path: Path) -> None:
    (block,) = python_blocks(document)
    (tmp_path / "acme_outboard.py").write_text(block, encoding="utf-8")
    done = run_outboard(tmp_path, "agents", "--agents", "acme_outboard:Acme", "--platforms", "", "--json")
    assert done.returncode == 0, done.stderr
    assert '"acme"' in done.stdout
