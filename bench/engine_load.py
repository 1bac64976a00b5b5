"""Section C: tasks of a no-op agent through our engine, in process, with the journal on."""

from __future__ import annotations

from typing import Any

from report import Row


def measure(tasks: int) -> tuple[list[Row], dict[str, Any]]:
    raise NotImplementedError
