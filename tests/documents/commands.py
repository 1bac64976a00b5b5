"""Our commands, and what can be said to them."""

from __future__ import annotations

from typing import Any

from outboard.cli import entry


def parameters(name: str) -> dict[str, Any]:
    """Return a command's parameters by option, as click has them.

    Raises:
        AssertionError: There is no such command.
    """
    command = entry._group().get_command(None, name)
    assert command is not None, f"there is no command {name}"
    return {option: each for each in command.params for option in (*each.opts, *each.secondary_opts)}
