"""Results to standard output, everything for people to standard error.

A reader that goes away (`outboard jobs | head`) ends the command quietly, with the code that shells expect.
"""

from __future__ import annotations

import os
import sys

import typer

from outboard.cli.exits import Exit


def write_result(text: str) -> None:
    """Write a line to standard output at once."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would try to flush again at exit and complain; there is nobody to complain to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.BROKEN_PIPE) from None


def write_note(text: str) -> None:
    """Write a line to standard error at once; nobody needs to read it."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        return
