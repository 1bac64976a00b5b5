"""Tables on standard output: coloured and fitted on a terminal, plain columns in full width elsewhere.

A table in a pipe is text to be searched and cut, so nothing in it is wrapped or shortened.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from outboard.cli.standard_streams import result_stream
from outboard.local.notes import one_line
from outboard.local.views import PHASE_STYLES


@dataclass(frozen=True, slots=True)
class Column:
    """A column; a flexible one gives way when the terminal is narrow."""

    title: str
    is_flexible: bool = False


def render(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str) -> str:
    """Return a table as text for standard output; `empty` where there are no rows."""
    is_terminal = result_stream().isatty()
    if not rows:
        return empty
    if not is_terminal:
        return _plain(columns, rows)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        if column.is_flexible:
            table.add_column(column.title, no_wrap=True, overflow="ellipsis", ratio=1)
        else:
            table.add_column(column.title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell), style=PHASE_STYLES.get(cell, "")) for cell in row))
    out = io.StringIO()
    width = shutil.get_terminal_size().columns
    Console(file=out, force_terminal=True, width=width, legacy_windows=False).print(table)
    return out.getvalue().rstrip("\n")


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    lines = [[column.title for column in columns], *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
