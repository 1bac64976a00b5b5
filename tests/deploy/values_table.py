"""The table of values in docs/deploy.md, made of the chart's schema and its defaults.

python tests/deploy/values_table.py writes it anew; a test compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

_ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = _ROOT / "deploy" / "chart"
DOCUMENT: Final = _ROOT / "docs" / "deploy.md"
_BEGIN: Final = "<!-- values: made by tests/deploy/values_table.py -->\n"
_END: Final = "<!-- end of values -->\n"


def table() -> str:
    """Return the table."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    rows = [
        f"| `{path}` | {_shown(default)} | {words} |" for path, default, words in _rows(schema, schema, defaults, "")
    ]
    return "\n".join(["| value | default | |", "|---|---|---|", *rows]) + "\n"


def _rows(schema: dict[str, Any], root: dict[str, Any], defaults: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, described in _in_order(schema["properties"], defaults):
        target = root["definitions"][described["$ref"].rpartition("/")[2]] if "$ref" in described else described
        path, default = f"{prefix}{name}", defaults.get(name)
        if "properties" in target and default:
            if "description" in described:
                yield path, ..., described["description"]
            yield from _rows(target, root, default, f"{path}.")
        elif name != "global":
            yield path, default, described["description"]


def _in_order(properties: dict[str, Any], defaults: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return properties in the order of the values, those without a default last."""
    order = {name: place for place, name in enumerate(defaults)}
    return sorted(properties.items(), key=lambda item: order.get(item[0], len(order)))


def _shown(default: Any) -> str:
    return "" if default is ... or default is None else f"`{json.dumps(default)}`"


def written(document: str) -> str:
    """Return the document with the table of today."""
    head, _, rest = document.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    return f"{head}{_BEGIN}{table()}{_END}{tail}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
