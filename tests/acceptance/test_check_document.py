"""The case that the document shows is one that its agent passes."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_guides_agent_passes_every_check_with_the_documents_case(tmp_path: Path) -> None:
    for document, module in (("write-an-agent.md", "acme_outboard"), ("check.md", "acme_case")):
        (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / document).read_text("utf-8"), re.DOTALL)
        (tmp_path / f"{module}.py").write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "outboard", "check", "acme_case:CASE", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^acme +\d\d ", done.stdout, re.MULTILINE)
