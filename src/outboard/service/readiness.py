"""The readiness line: where a service answers, with what, and what could not be loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from outboard.agent.registry import LoadFailure


def readiness_line(address: str, agents: Iterable[str], failures: Sequence[LoadFailure], *, processes: str = "") -> str:
    """Return one line for people.

    >>> readiness_line("localhost:8000", ["b", "a"], [LoadFailure(source="c", reason="install it")], processes="2 processes")
    'outboard serves 2 agents on localhost:8000: a, b; 2 processes; not loaded: c (install it)'
    """
    names = sorted(agents)
    line = f"outboard serves {len(names)} agent{'' if len(names) == 1 else 's'} on {address}"
    if names:
        line += f": {', '.join(names)}"
    if processes:
        line += f"; {processes}"
    broken = "; ".join(f"{failure.source} ({failure.reason})" for failure in failures)
    return f"{line}; not loaded: {broken}" if broken else line
