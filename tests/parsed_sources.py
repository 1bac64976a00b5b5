"""Python files as syntax trees, for tests that hold documents against the source."""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Python 3.11 counts how deep it is while it makes a tree, and takes what the garbage collector runs meanwhile for its own
    ("AST constructor recursion depth mismatch"); so that one waits.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        if was_on:
            gc.enable()
