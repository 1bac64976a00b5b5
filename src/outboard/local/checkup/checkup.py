"""All checks, side by side, each within a bound of its own.

A check is an async generator of findings. One that breaks, hangs or is given up costs its own findings and nobody else's: what
it had found stands, and a finding of its own says what became of it. The clocks are compared last, since the others meet them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from outboard.errors import OutboardError
from outboard.host.invocation import deadline
from outboard.local.checkup import (
    certificates,
    clocks,
    handles,
    platforms,
    quotas,
    records,
    services,
    settings,
    surroundings,
    versions,
)
from outboard.local.checkup.findings import Finding, Mark
from outboard.local.checkup.subject import Subject

Check = Callable[[Subject], AsyncIterator[Finding]]

HERE: Final[Mapping[str, Check]] = {
    settings.CHECK: settings.check,
    versions.CHECK: versions.check,
    platforms.AGENTS: platforms.check_agents,
    platforms.SECRETS: platforms.check_secrets,
    platforms.PLATFORMS: platforms.check_platforms,
    clocks.CHECK: clocks.check,
    quotas.CHECK: quotas.check,
    records.CHECK: records.check,
    handles.CHECK: handles.check,
    surroundings.PORTS: surroundings.check_ports,
    certificates.CHECK: certificates.check,
    surroundings.MACHINE: surroundings.check_machine,
    surroundings.ENGINE: surroundings.check_engine,
}
"""What is examined of an installation, in the order in which it is told."""

THERE: Final[Mapping[str, Check]] = {
    services.CHECK: services.check,
    quotas.CHECK: quotas.check,
    surroundings.ENGINE: surroundings.check_engine,
}
"""What is examined of a running service."""

_NEEDS_HOST: Final = frozenset(
    {platforms.AGENTS, platforms.SECRETS, platforms.PLATFORMS, clocks.CHECK, quotas.CHECK, records.CHECK, handles.CHECK}
)
_ROOM: Final = 3.0
"""A check asks a few questions one after the other, each within the limit of one."""


async def examine(subject: Subject, only: Sequence[str] = ()) -> list[Finding]:
    """Return what all checks find, or those that are named; never raises, and never takes long.

    Args:
        subject: What to examine.
        only: Names of checks; none is all.
    """
    known = THERE if subject.service is not None else HERE
    chosen = [name for name in known if not only or name in only]
    last = [name for name in chosen if name == clocks.CHECK]
    first = [name for name in chosen if name not in last]
    found = dict(zip(first, await asyncio.gather(*(_run(name, known[name], subject) for name in first)), strict=True))
    for name in last:
        found[name] = await _run(name, known[name], subject)
    return [_clean(finding, subject) for name in chosen for finding in found[name]]


async def _run(name: str, check: Check, subject: Subject) -> list[Finding]:
    if subject.host is None and subject.service is None and name in _NEEDS_HOST:
        return [Finding(check=name, mark=Mark.SKIPPED, found="the settings make no host to look at")]
    found: list[Finding] = []
    limit_s = subject.limit_s * _ROOM
    try:
        async with deadline(limit_s):
            async for finding in check(subject):
                found.append(finding)  # noqa: PERF401 - what was found before the check breaks counts
    except (asyncio.TimeoutError, TimeoutError):
        words = f"the check did not end within {limit_s:g} s"
        found.append(Finding(check=name, mark=Mark.PROBLEM, found=words, remedy="see what hangs, or raise --limit"))
    except OutboardError as error:
        found.append(Finding(check=name, mark=Mark.PROBLEM, found=error.message, error=error))
    except Exception as error:  # noqa: BLE001 - somebody else's platform must not end the checkup
        words = f"the check broke ({type(error).__name__}); please report it"
        found.append(Finding(check=name, mark=Mark.PROBLEM, found=words))
    return found


def _clean(finding: Finding, subject: Subject) -> Finding:
    return replace(finding, found=subject.redact(finding.found), remedy=subject.redact(finding.remedy))
