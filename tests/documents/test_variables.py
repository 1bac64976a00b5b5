"""A variable that a document names beside an option is that option's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from documents.blocks import ROOT
from documents.commands import parameters
from outboard.cli.entry import COMMANDS

_PAIR: Final = re.compile(r"(?<!, )`[^`\n]*(--[a-z-]+)[^`\n]*` (?:\(|\| )`(OUTBOARD_[A-Z_]+)`")
_PAIRS: Final = [
    (path.relative_to(ROOT), option, variable)
    for path in sorted(ROOT.glob("docs/**/*.md"))
    for option, variable in _PAIR.findall(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("path", "option", "variable"), _PAIRS)
def test_a_variable_beside_an_option_is_the_options(path: Path, option: str, variable: str) -> None:
    commands = [parameters(name) for name in COMMANDS]
    takes = {command[option].envvar for command in commands if option in command}
    assert variable in takes, f"{path}: {option} is {takes}"
