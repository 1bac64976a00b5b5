"""Flyte 2's half of the service: its dialect, and the handlers that are made with its first call.

The messages of flyteidl2 take memory and some milliseconds. A service that only Flyte 1 calls does not load them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from outboard.service.dialects import FLYTE2_AGENTS, FLYTE2_JOBS

if TYPE_CHECKING:
    import grpc

    from outboard.service.dialects import Dialect

_PREFIXES: Final = (f"/{FLYTE2_JOBS}/", f"/{FLYTE2_AGENTS}/")


class LateHandlers:
    """The handlers of Flyte 2's methods, made when the first of them is called.

    Args:
        make: Makes handlers for a dialect.
    """

    __slots__ = ("_handlers", "_make")

    def __init__(self, make: Callable[[Dialect], Mapping[str, grpc.RpcMethodHandler]]) -> None:
        self._make = make
        self._handlers: Mapping[str, grpc.RpcMethodHandler] | None = None

    def find(self, method: str) -> grpc.RpcMethodHandler | None:
        """Return the handler of a method; None for one that Flyte 2 does not have."""
        if not method.startswith(_PREFIXES):
            return None
        if self._handlers is None:
            from outboard.service.flyte2.dialect import FLYTE2  # noqa: PLC0415 - only who serves Flyte 2 pays for it

            self._handlers = self._make(FLYTE2)
        return self._handlers.get(method)
