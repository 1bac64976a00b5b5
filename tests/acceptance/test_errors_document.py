"""docs/errors.md has every error, as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from outboard.errors import OutboardError
from outboard.wire.codes import encode_error

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([\w ]+) \| (never|yes) \| [^|]+ \| [^|]+ \|$", re.MULTILINE)


def kinds(root: type[OutboardError]) -> Iterator[type[OutboardError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == "outboard.errors" and not kind.__name__.startswith("_"):
            yield kind
        yield from kinds(kind)


def test_the_table_has_every_error_with_its_code_its_actor_and_whether_to_retry() -> None:
    told = {name: (code, actor, retry) for name, code, actor, retry in ROW.findall(TEXT)}
    there = {
        kind.__name__: (encode_error(kind("a sentence")).code.name, kind.actor.value, kind.retry.value)
        for kind in set(kinds(OutboardError))
    }
    assert told == there
    assert len(there) > 25
