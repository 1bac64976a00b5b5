"""The subject of a checkup: settings, the host that they make, and whatever else somebody pointed at.

Work that blocks (name resolution, certificates' files, sockets) runs in daemon threads, which never hold up the end of the
process, however long a network drive or a resolver hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from outboard.domain.identity import Scope
from outboard.domain.secret_refs import redact_forms
from outboard.errors import OutboardError, StoreUnavailable
from outboard.host.pools import WorkerPool

if TYPE_CHECKING:
    from outboard.engine.addresses import ServiceAddress
    from outboard.host import Host
    from outboard.local.settings_files import AgentChoice

T = TypeVar("T")
_THREADS: Final = 16


@dataclass(slots=True, kw_only=True)
class Subject:
    """What is examined.

    Attributes:
        choice: The settings; None where they cannot be read, for which `unreadable` says why.
        unreadable: Why the settings cannot be read.
        file: The settings file, as it was named.
        modules: Further platforms that options name.
        host: The host that the settings make; None where they make none, or where a service is examined.
        wanted: Names of platforms that were asked for by option.
        scope: For which project and domain secrets are looked up.
        service: A running service to ask.
        metrics_url: Its page of metrics.
        output_prefix: Where to try the record store, where the settings name none.
        handle: A handle to read.
        limit_s: How long any one question may take.
        skews: How far other clocks were ahead of ours, by whose they are; found by the checks that talk to them.
    """

    choice: AgentChoice | None
    unreadable: OutboardError | None = None
    file: str | None = None
    modules: Sequence[str] | None = None
    host: Host | None = None
    wanted: frozenset[str] = frozenset()
    scope: Scope = field(default_factory=Scope)
    service: ServiceAddress | None = None
    metrics_url: str = ""
    output_prefix: str = ""
    handle: bytes | None = None
    limit_s: float = 10.0
    skews: dict[str, timedelta] = field(default_factory=dict)
    _pool: WorkerPool = field(default_factory=lambda: WorkerPool("checkup", _THREADS))

    def redact(self, text: str) -> str:
        """Return a text without secrets."""
        return self.host.redact(text) if self.host is not None else redact_forms(text)

    async def in_thread(self, function: Callable[[], T], what: str) -> T:
        """Return what a blocking function returns.

        Raises:
            StoreUnavailable: It took longer than `limit_s`; `what` says in words what was tried.
        """
        try:
            return await asyncio.wait_for(self._pool.run(function), self.limit_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise StoreUnavailable(f"{what} took longer than {self.limit_s:g} s") from None

    def section(self, name: str) -> dict[str, Any]:
        """Return a section of the settings file as it was written; empty where there is none."""
        return {} if self.choice is None else dict(getattr(self.choice, name) or {})

    @property
    def path(self) -> Path | None:
        """The settings file."""
        return None if self.choice is None else self.choice.path
