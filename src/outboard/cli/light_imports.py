"""Keeping a library out of a process that could do without it.

structlog imports rich wherever that is installed, to draw tracebacks, which we never log. For a service that is a fifth of its
start and 4 MB for good (measured: 55 of 240 ms), so `serve` imports structlog while rich looks missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(name: str) -> Iterator[None]:
    """Let a library look missing to imports within the block; afterwards it can be imported as ever.

    One that is imported already stays as it is.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what `import` takes for "there is none" (importlib's documentation)
    try:
        yield
    finally:
        del sys.modules[name]
