"""Evidence: everything that leaves an agent during a run, and the canary that must not be in it.

Every secret that an agent or its connection declares has the same value here, the *canary*. Handles, submission
records, log lines, statuses, links and errors are kept as they would travel, read back into plain text where they are
packed; the engine's journal is a file. A canary anywhere, as it is or in the spellings that hide it from a plain search,
is a leak.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import secrets
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote

import structlog

from outboard.domain.handles import HandleCodec
from outboard.domain.keys import Key
from outboard.domain.records import RecordCodec
from outboard.errors import OutboardError
from outboard.host.stores import Store
from outboard.testing.stores import MemoryStores

RECORDS: Final = "/.outboard/"
"""What is part of the address of every submission record."""
_UNALIGNED: Final = 4


class Evidence:
    """What was seen of one agent.

    Attributes:
        canary: The value of every secret.
        leaks: Where it turned up, without repetition.
        is_offered: Whether the agent was given any secret at all.
    """

    def __init__(self) -> None:
        self.canary = f"canary-{secrets.token_hex(16)}"
        self.leaks: list[str] = []
        self.is_offered = False
        self._spellings = tuple(_spellings(self.canary))

    def see(self, where: str, what: object) -> None:
        """Look at something that leaves, as it would travel or as text."""
        data = what if isinstance(what, bytes) else repr(what).encode(errors="surrogatepass")
        if where not in self.leaks and any(spelling in data for spelling in self._spellings):
            self.leaks.append(where)

    def see_handle(self, handle: bytes) -> None:
        """Look at a handle and into it."""
        self.see("a handle", handle)
        with contextlib.suppress(OutboardError):
            self.see("a handle", HandleCodec().decode(handle))

    def see_error(self, error: BaseException) -> None:
        """Look at an error that an engine would get; causes never travel."""
        self.see("an error", [str(error), vars(error)])

    def see_records(self, store: Store, folder: Path) -> None:
        """Look at the submission records, in the store in memory and in files of the site."""
        if isinstance(store, MemoryStores):
            for uri in store.uris():
                self._see_object(uri, store.peek(uri) or b"")
        for path in folder.rglob("*"):
            if RECORDS in str(path) and path.is_file():
                self._see_object(str(path), path.read_bytes())

    def _see_object(self, uri: str, data: bytes) -> None:
        if RECORDS not in uri:
            return
        self.see("a submission record", data)
        with contextlib.suppress(OutboardError):
            record = RecordCodec().decode(data, Key.parse(uri.rpartition("/")[2]))
            self.see("a submission record", record)


def _spellings(canary: str) -> Iterator[bytes]:
    plain = canary.encode()
    yield plain
    yield plain.hex().encode()
    yield quote(canary, safe="").encode()
    for shift in range(3):  # base64 of a longer text that holds it, at each of the three alignments
        encoded = base64.b64encode(b"x" * shift + plain)
        yield encoded[_UNALIGNED:-_UNALIGNED]


@contextmanager
def captured_logs(evidence: Evidence) -> Iterator[None]:
    """Take the log lines of this process as evidence instead of writing them; the suite's faults would fill pages."""

    def keep(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> NoReturn:
        evidence.see("a log line", dict(event))
        raise structlog.DropEvent

    was_configured, config = structlog.is_configured(), structlog.get_config()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers[:] = [_Keep(evidence)]
    root.setLevel(logging.INFO)
    structlog.configure(processors=[keep], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
        if was_configured:
            structlog.configure(**config)


class _Keep(logging.Handler):
    """Takes the standard library's records."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__()
        self._evidence = evidence

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(TypeError, ValueError):
            self._evidence.see("a log line", record.getMessage())
        self._evidence.see("a log line", [record.args, str(record.exc_info[1]) if record.exc_info else ""])
