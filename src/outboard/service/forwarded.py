"""Errors that another process has answered already: they pass through the edge as they are."""

from __future__ import annotations

from outboard.wire.codes import WireError


class ForwardedError(Exception):
    """An error that a child answered, to be passed on with its code, sentence and metadata."""

    def __init__(self, wire: WireError) -> None:
        super().__init__(wire.details)
        self.wire = wire
