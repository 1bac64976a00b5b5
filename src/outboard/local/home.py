"""Where Outboard keeps its own things: a folder per user, `$OUTBOARD_HOME`.

Without that variable it is `outboard` in the user's state folder, as the XDG base directory specification (0.8) has it:
`$XDG_STATE_HOME`, else `~/.local/state`. It is not the working directory: a run that was started in one folder must be found
from every other by `jobs`, `resume` and `cancel`, and no repository should fill up with journals.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder; it need not exist yet.

    >>> home({"OUTBOARD_HOME": "/data"}).as_posix()
    '/data'
    """
    chosen = environment.get("OUTBOARD_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    state = Path(environment.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return (state if state.is_absolute() else Path("~/.local/state").expanduser()) / "outboard"


def journal_path() -> Path:
    """Return where the journal lies unless --journal says otherwise."""
    return home() / "journal.db"


def outputs_base() -> str:
    """Return under what outputs go unless --output-prefix says otherwise."""
    return str(home() / "outputs")
