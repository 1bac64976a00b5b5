"""Whom a command talks to, with the process's log lines cleaned of what that one knows to be secret."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from outboard.cli.log_output import configure_logs, prints_aside, redact_prints
from outboard.domain.secret_refs import redact_forms
from outboard.local import connections
from outboard.local.connections import Found
from outboard.local.targets import Target


@asynccontextmanager
async def find(target: Target, recorded: Iterable[str] = (), *, with_unsent: bool = False) -> AsyncIterator[Found]:
    """Give whom a target means; see `outboard.local.connections.find`."""
    with prints_aside(redact_forms):  # agents' code prints also when it is imported, and when it is closed
        async with connections.find(target, recorded, with_unsent=with_unsent) as found:
            configure_logs(found.redact, level="error", form="pretty")
            redact_prints(found.redact)
            yield found
