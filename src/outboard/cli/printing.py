"""Results to standard output, everything for people to standard error.

A reader that goes away (`outboard jobs | head`) ends the command quietly, with the code that shells expect. Words of jobs
and platforms are shown to people without control characters, which would play tricks on a terminal. Results stay as they are.
"""

from __future__ import annotations

import os

import typer

from outboard.cli.exits import Exit
from outboard.cli.standard_streams import result_stream
from outboard.errors import OutboardError


def write_result(text: str) -> None:
    """Write a line to standard output at once.

    Raises:
        OutboardError: It cannot be written: the disk is full, say.
    """
    stream = result_stream()
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError as problem:
        # Python would try to flush again at exit and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(problem, BrokenPipeError):
            raise typer.Exit(Exit.BROKEN_PIPE) from None
        reason = (problem.strerror or "unwritable").lower()
        raise OutboardError(f"standard output cannot be written ({reason}): write it elsewhere") from None
