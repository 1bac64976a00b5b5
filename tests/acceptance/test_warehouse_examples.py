"""What docs/platforms shows of the SDKs builds as it stands, with the SDKs and the plugins that are installed."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs" / "platforms"
PARTS = re.compile(r"^## (.*?)$|^```(?:py|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> list[tuple[str, str]]:
    """Return each example in Python: where it stands, and its text."""
    found = []
    for name in ("athena", "snowflake"):
        heading = ""
        for part in PARTS.finditer((DOCUMENTS / f"{name}.md").read_text("utf-8")):
            if part.group(2) is None:
                heading = part.group(1)
            else:
                found.append((f"{name}: {heading}", part.group(2)))
    return found


@pytest.mark.filterwarnings("ignore")  # of what the SDKs import
@pytest.mark.parametrize("text", [pytest.param(text, id=where) for where, text in examples()])
def test_an_example_builds(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in (
        "flytekit",
        "flyte",
        *sorted(set(re.findall(r"^from (flyte(?:kit)?plugins\.\w+)", text, re.MULTILINE))),
    ):
        if re.search(rf"^(?:from|import) {re.escape(root)}\b", text, re.MULTILINE):
            pytest.importorskip(root, reason=f"{root} is not installed")
    (tmp_path / "example_of_docs.py").write_text(text, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "example_of_docs", raising=False)
    module = importlib.import_module("example_of_docs")
    assert [name for name, value in vars(module).items() if not name.startswith("_") and callable(value)]


def test_both_sdks_are_shown_for_each_platform() -> None:
    texts = [text for where, text in examples() if where.startswith(("athena", "snowflake"))]
    assert sum("from flytekitplugins." in text for text in texts) >= 2
    assert sum("from flyte." in text or "import flyte\n" in text for text in texts) >= 2
