"""What it means that a signal ended a job which nobody asked us to end."""

from __future__ import annotations

import signal
from typing import Final

from outboard.agent import Cause, Failure, Retry
from outboard.detached.jobs import JobSnapshot

_CRASHES: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
)
"""What a program brings upon itself; the same will most likely happen again."""


def killed_failure(snapshot: JobSnapshot, *, is_own_doing: bool) -> Failure:
    """Return why a signal ended a job.

    Args:
        snapshot: The job.
        is_own_doing: The program is the user's, so that a crash is for the user to mend.
    """
    name = _name(snapshot.signal)
    if snapshot.signal in _CRASHES and is_own_doing:
        return Failure(code=name, message=f"the program crashed ({name}); its log may say why")
    words = f"{name} ended the job; the machine may be out of memory, or an operator killed it"
    return Failure(code=name, message=words, retry=Retry.YES, cause=Cause.PLATFORM)


def _name(number: int | None) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:
        return f"signal {number}"
