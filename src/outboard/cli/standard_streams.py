"""Standard streams: those that are closed, and the one that results go to.

Some supervisors start commands with closed streams. The system gives the lowest free number to the next file that is opened, so
the journal or the event loop would become the standard error that libraries write to, and libuv ends the process where it has to
close such a number. A closed stream is therefore opened on the null device before anything else is opened.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def open_closed_streams() -> None:
    """Put the null device in the place of every standard stream that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(number, True)
    # Python set these to None when it found them closed.
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def result_stream() -> Any:
    """Return where results go: standard output, also while agents' code is given another one (`log_output.prints_aside`)."""
    return getattr(sys.stdout, "results", None) or sys.stdout
